"""The KDL 2 reader on documents with mistakes: what it blames, and how it goes on."""

from __future__ import annotations

import pytest

from unit.vmfile.kdl_blame import problem_at_mark, problems_at_marks
from vm_manager.vmfile.kdl2 import read


def test_three_independent_errors_give_three_problems() -> None:
    problems_at_marks(
        """
vm "web" {
    hostname ⟦"⟧web
    vcpus ⟦2x⟧
    image "a"
    read-only ⟦true⟧
}
"""
    )


def test_errors_on_one_line_are_all_found() -> None:
    problems_at_marks("n ⟦0x⟧ ok ⟦1.⟧ k=⟦#yes⟧ ⟦/a⟧ 3")


def test_what_is_right_around_an_error_is_read() -> None:
    nodes, _ = read('a 1\nb 2x\nc { d "x }\ne 5\n')
    assert [node.name for node in nodes] == ["a", "b", "c", "e"]
    assert nodes[2].children[0].name == "d"


# Braces


def _long_document(broken: str) -> str:
    block = 'vm "vm{}" {{\n    cloud-init {{\n        hostname "x"\n    }}\n    vcpus 2\n}}\n'
    return broken + "".join(block.format(number) for number in range(33))


def test_an_open_block_is_blamed_on_its_brace_though_later_blocks_are_balanced() -> None:
    broken = (
        'vm "a" {\n    vcpus 2\n    network "user" ⟦{⟧\n        forward host=1\n    ssh {\n        port 1\n    }\n}\n'
    )
    problem = problem_at_mark(_long_document(broken))
    assert problem.help == "put a } where the block ends"
    assert [note for _, note in problem.related] == ["this } is where an outer block ends"]


def test_an_open_outermost_block_is_blamed_on_its_brace() -> None:
    problem_at_mark(_long_document('// web\n\nvm "a" ⟦{⟧\n    network "user" {\n    }\n\n'))


def test_an_open_block_at_the_end_of_the_text_is_blamed_on_its_brace() -> None:
    problem_at_mark("a {\n    b ⟦{⟧\n        c\n}\n")
    problems_at_marks("a ⟦{⟧ b ⟦{⟧ c")


def test_two_open_blocks_give_two_problems() -> None:
    problems_at_marks("a {\n    b ⟦{⟧\n        c\n}\nd {\n    e ⟦{⟧\n        f\n}\n")


def test_a_stray_brace_is_blamed_on_itself() -> None:
    problem_at_mark("a {\n    b\n}\n⟦}⟧\nc {\n}\n")
    problem_at_mark("a { b } ⟦}⟧; c")


def test_a_stray_brace_is_found_by_its_indentation() -> None:
    problem_at_mark("a {\n    b {\n        c\n    }\n    d\n        ⟦}⟧\n    e\n}\n")


def test_without_indentation_each_brace_is_paired_with_its_nearest() -> None:
    problem_at_mark("a ⟦{⟧\nb {\nc {\n}\n}\n")


def test_a_block_on_the_line_after_its_node_is_one_problem() -> None:
    problem = problem_at_mark('vm "web"\n⟦{⟧\n    vcpus 2\n}\nnext\n')
    assert problem.help == "move it to the end of the line of its node, or write a name before it"


# Strings and comments


def test_a_string_without_an_end_is_blamed_on_its_opening_quote() -> None:
    problem_at_mark('a ⟦"⟧web\nb "x"\n')
    problem_at_mark('a ⟦"⟧web')
    problem_at_mark('a ⟦#"⟧web"\nb "x"\n')


def test_braces_behind_a_string_without_an_end_still_count() -> None:
    problem_at_mark('a { b ⟦"⟧web }\nc { d }\n')
    problem_at_mark('a ⟦"⟧web {\n    b\n}\n')


def test_a_missing_quote_in_the_middle_of_a_line_is_blamed_on_the_string_that_lacks_it() -> None:
    problem_at_mark('forward host=⟦"⟧8080 guest="80"\nb "x"\n')
    problem_at_mark('mount ⟦"⟧./src "/srv" {\n}\n')


def test_a_missing_opening_quote_is_blamed_on_the_quote_behind_the_word() -> None:
    problem_at_mark('image web.img⟦"⟧\nb "x"\n')


def test_an_escaped_closing_quote_is_explained() -> None:
    problem = problem_at_mark('path ⟦"⟧C:\\dir\\"\nnext\n')
    assert problem.help == 'the \\" at its end stands for a quote; write \\\\ for a backslash, or a raw string: #"…"#'


def test_a_string_in_plain_quotes_over_several_lines_is_one_problem() -> None:
    problem = problem_at_mark('script ⟦"⟧echo one\n  f() { echo; }\n"\nnext "x"\n')
    assert problem.help == 'open it with """ and close it with """, each on a line without the text'
    problem_at_mark('script ⟦#"⟧one\ntwo\n"#\nnext "x"\n')


def test_lines_of_text_without_an_end_are_blamed_on_their_opening_quotes() -> None:
    problem_at_mark('a {\n    b ⟦"""⟧\n        text }\n}\n')
    problem_at_mark('a ⟦"""⟧\n  text\nb """\n  text\n  """\n')
    problem_at_mark('a ⟦#"""⟧\n  text"""\n')


def test_a_comment_without_an_end_is_blamed_on_its_opening() -> None:
    problem_at_mark("a {\n    b ⟦/*⟧ c\n}\n")
    problem_at_mark("⟦/*⟧ a /* b */")


def test_misplaced_quotes_around_lines_are_blamed() -> None:
    problem_at_mark('a ⟦"""⟧one"""\n')
    problem_at_mark('a """⟦one⟧\n  """\n')
    problem_at_mark('a """\n  one⟦"""⟧\nb\n')


def test_a_line_with_less_indentation_than_the_closing_quotes_is_blamed() -> None:
    problem = problem_at_mark('a """\n    one\n⟦  ⟧two\n    """\n')
    assert problem.related[0][1] == "these quotes set the indentation"


@pytest.mark.parametrize(
    ("text", "help_text"),
    [
        (r'"⟦\/⟧"', "write / alone"),
        (r'"⟦\U⟧sers"', 'write \\\\ for a backslash, or a raw string: #"…"#'),
        (r'"⟦\u00e9⟧"', r"write \u{…} with one to six hexadecimal digits: \u{00e9}"),
        (r'"⟦\u{}⟧"', r"write \u{…} with one to six hexadecimal digits"),
        (r'"⟦\u{1234567}⟧"', r"write \u{…} with one to six hexadecimal digits"),
        (r'"⟦\u{d800}⟧"', "code points range from 0 to 10FFFF, without the surrogates D800 to DFFF"),
        (r'"⟦\u{110000}⟧"', "code points range from 0 to 10FFFF, without the surrogates D800 to DFFF"),
    ],
)
def test_a_wrong_escape_is_blamed(text: str, help_text: str) -> None:
    assert problem_at_mark(f"n {text} 1").help == help_text


@pytest.mark.parametrize("char", list("\x00\x08\x0e\x1f\x7f\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\ud800\udfff"))
def test_a_disallowed_code_point_is_refused_wherever_it_stands(char: str) -> None:
    problems_at_marks(f'n⟦{char}⟧ k⟦{char}⟧=⟦{char}⟧v "x⟦{char}⟧y" // z⟦{char}⟧\n/* ⟦{char}⟧ */')


# What people are used to


@pytest.mark.parametrize(
    ("text", "help_text"),
    [
        ("read-only=⟦true⟧", 'write #true for the value, or "true" for the text'),
        ("⟦null⟧", 'write #null for the value, or "null" for the text'),
        ("⟦#True⟧", "write #true"),
        ("⟦#none⟧", "write #null"),
        (r'⟦r"C:\new"⟧', r'write #"C:\new"#'),
        ('⟦r#"a"b"#⟧', 'write it without the r: #"…"#'),
        ("⟦/srv/www⟧", 'write "/srv/www"'),
        ("⟦~/disk.img⟧", 'write "~/disk.img"'),
        (r"⟦C:\disk⟧", r'write #"C:\disk"#'),
        ("path=⟦./a⟧", 'write "./a"'),
        ("⟦2GiB⟧", 'a string that starts like a number needs quotes: "2GiB"'),
        ("⟦192.168.0.0/24⟧", 'write "192.168.0.0/24"'),
        ("⟦1,⟧ 2", "values are separated by white space only: write 1"),
        ('"a"⟦,⟧ "b"', "remove the comma"),
        ("⟦.5⟧", "a digit is required before the point: write 0.5"),
        ("⟦5.⟧", "a digit is required after the point: write 5.0"),
        ("⟦0XFF⟧", "write 0xff"),
        ("⟦[80, 443]⟧ x", "write the values one after the other, with white space between them"),
        ("1 ⟦#⟧ the first", "write // instead"),
        ("1 ⟦\\⟧ 2", "remove it, or put what follows on the next line"),
        ("⟦k=⟧", "write it after the ="),
        ("k=⟦=⟧1", "remove this one"),
        ("⟦(t)k⟧=1", "move it before the value"),
        ("⟦1⟧=1", 'put the key in quotes: "1"'),
        ('"a"⟦"⟧b"', "put a space before it"),
    ],
)
def test_a_habit_from_elsewhere_gets_the_kdl_2_for_it(text: str, help_text: str) -> None:
    assert problem_at_mark(f"node {text}\nnext 1\n").help == help_text


@pytest.mark.parametrize(
    ("text", "help_text"),
    [
        ("⟦vcpus=⟧2", "write it as a node, without the =: vcpus 2"),
        ('⟦image =⟧ "x"', 'write it as a node, without the =: image "x"'),
        ("⟦#⟧ a comment's text", "write // instead"),
        ("⟦80⟧ x", 'write a name first, or put this one in quotes: "80"'),
        ("a {} ⟦b⟧", "put it on the next line"),
        ("a {} ⟦{⟧ b }", "put its nodes into the first one"),
        ("a /-{} ⟦b⟧", "put it before the {"),
        ("⟦;⟧", "remove it"),
        ("a ⟦/-⟧", "remove it"),
    ],
)
def test_a_misplaced_part_gets_the_place_where_it_belongs(text: str, help_text: str) -> None:
    assert problem_at_mark(f"first 1\n{text}").help == help_text
