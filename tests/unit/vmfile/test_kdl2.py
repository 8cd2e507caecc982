"""The KDL 2 reader on documents that are KDL 2, and on the test cases of the KDL project."""

from __future__ import annotations

import math
import os
from decimal import Decimal
from pathlib import Path

import pytest

from unit.vmfile.kdl_printer import print_document
from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.kdl2 import read
from vm_manager.vmfile.nodes import Node, Scalar, Value

CASES_VARIABLE = "VMCTL_KDL_TEST_CASES"


def _cases(*, refused: bool) -> list[object]:
    directory = os.environ.get(CASES_VARIABLE)
    if not directory:
        reason = f"lacks the KDL project's test cases: {CASES_VARIABLE} does not name their directory"
        return [pytest.param(Path(), marks=pytest.mark.skip(reason=reason), id="none")]
    paths = sorted((Path(directory) / "input").glob("*.kdl"))
    return [pytest.param(path, id=path.stem) for path in paths if path.stem.endswith("_fail") == refused]


def nodes_of(text: str) -> tuple[Node, ...]:
    nodes, problems = read(text)
    assert problems == ()
    return nodes


def node_of(text: str) -> Node:
    (node,) = nodes_of(text)
    return node


def values_of(text: str) -> list[Scalar]:
    return [argument.value for argument in node_of(text).arguments]


def at(text: str, part: str) -> Span:
    """Where the only occurrence of a part stands."""
    assert text.count(part) == 1
    return Span(text.index(part), text.index(part) + len(part))


@pytest.mark.parametrize("path", _cases(refused=False))
def test_a_valid_case_of_the_kdl_project_prints_as_expected(path: Path) -> None:
    nodes, problems = read(path.read_bytes().decode())
    assert problems == ()
    expected = path.parent.parent / "expected_kdl" / path.name
    assert print_document(nodes) == expected.read_bytes().decode()


@pytest.mark.parametrize("path", _cases(refused=True))
def test_an_invalid_case_of_the_kdl_project_is_refused(path: Path) -> None:
    _, problems = read(path.read_bytes().decode())
    assert problems


def test_names_and_arguments_have_the_span_in_which_they_are_written() -> None:
    text = '// é😀\nvm "web" (mib)2048 #"raw"# {\n  image 0x1F\n}\nnext\n'
    node, following = nodes_of(text)
    assert node.name_span == at(text, "vm")
    assert [value.span for value in node.arguments] == [at(text, part) for part in ('"web"', "(mib)2048", '#"raw"#')]
    assert node.children[0].arguments[0].span == at(text, "0x1F")
    assert following.span == at(text, "next")


def test_a_property_has_spans_for_its_key_and_for_its_value_with_the_type() -> None:
    text = 'mount "key" = (type) "value"'
    (prop,) = node_of(text).properties
    assert (prop.key, prop.key_span) == ("key", at(text, '"key"'))
    assert prop.value == Value("value", at(text, '(type) "value"'), "type")


def test_a_node_extends_from_its_type_to_its_last_entry_or_closing_brace() -> None:
    text = "(t)a 1 /- 2 ; b { c 3 } /- {} \\\n"
    first, second = nodes_of(text)
    assert first.span == at(text, "(t)a 1")
    assert (first.tag, first.name_span) == ("t", at(text, "a"))
    assert second.span == at(text, "b { c 3 }")
    assert second.children[0].span == at(text, "c 3")


def test_an_empty_block_is_told_from_none() -> None:
    assert node_of("a {}").has_block
    assert not node_of("a").has_block
    assert not node_of("a /-{}").has_block


def test_repeated_properties_are_all_kept() -> None:
    assert [prop.value.value for prop in node_of("a x=1 x=2").properties] == [1, 2]


def test_numbers_are_exact_and_of_the_type_in_which_they_are_written() -> None:
    values = values_of("n 4 -0x1F 0b1_0 +0o17 12345678901234567890123 0.1 1e3 1.50 1e400")
    decimals = [Decimal("0.1"), Decimal("1e3"), Decimal("1.50"), Decimal("1e400")]
    assert values == [4, -31, 2, 15, 12345678901234567890123, *decimals]
    assert [type(value) for value in values] == [int] * 5 + [Decimal] * 4


def test_keywords_become_python_values() -> None:
    yes, no, nothing, *floats = values_of("n #true #false #null #inf #-inf #nan")
    assert yes is True
    assert no is False
    assert nothing is None
    assert all(isinstance(value, float) for value in floats)
    assert floats[:2] == [math.inf, -math.inf]
    assert str(floats[2]) == "nan"


@pytest.mark.parametrize(
    "text",
    ["+", "-", ".", "+.", "--1", "-a", ".md", "+.x", "?15", "<a>", "a,b", "'", "😁", "_1", "r", "truest", "-infinite"],
)
def test_bare_words_that_resemble_something_else_are_strings(text: str) -> None:
    assert values_of(f"n {text}") == [text]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x85", "\x0b", "\x0c", "\u2028", "\u2029"])
def test_every_kind_of_newline_ends_nodes_and_comments_and_becomes_a_line_feed_in_strings(newline: str) -> None:
    text = 'a // comment\nb \\\n 1\nc """\n  x\n\n   y\n  """'.replace("\n", newline)
    nodes = nodes_of(text)
    assert [node.name for node in nodes] == ["a", "b", "c"]
    assert [[value.value for value in node.arguments] for node in nodes] == [[], [1], ["x\n\n y"]]


@pytest.mark.parametrize("space", list("\t \u00a0\u1680\u2000\u2001\u200a\u202f\u205f\u3000"))
def test_every_kind_of_white_space_separates(space: str) -> None:
    assert values_of(f"n{space}1{space}x{space}") == [1, "x"]
    assert node_of(f"n{space}k{space}={space}v").properties[0].value.value == "v"


def test_escapes_stand_for_their_characters() -> None:
    assert values_of(r'n "\n\r\t\\\"\b\f\s\u{1F600}\u{41}"') == ['\n\r\t\\"\b\f 😀A']


def test_escaped_white_space_is_left_out() -> None:
    assert values_of('n "a\\ \t b\\\n\r\n   c"') == ["abc"]


def test_a_raw_string_keeps_backslashes_quotes_and_fewer_hashes() -> None:
    assert values_of('n #"C:\\new"# ##"a"#b"## #""#') == ["C:\\new", 'a"#b', ""]


def test_lines_of_a_string_lose_the_indentation_of_the_closing_quotes() -> None:
    assert values_of('n """\n    a\n  \\tb\n\n \n  """') == ["  a\n\tb\n\n"]


def test_a_line_break_in_lines_can_be_escaped() -> None:
    assert values_of('n """\n  a \\\n     b\n  c\n  \\   """') == ["a b\nc"]


def test_a_slashdash_leaves_out_nodes_arguments_properties_and_blocks() -> None:
    text = "/- kdl-version 2\n/- gone { a }\nn /- 1 2 /-k=1 /- { x } { y } /- { z }\n"
    node = node_of(text)
    assert [value.value for value in node.arguments] == [2]
    assert node.properties == ()
    assert [child.name for child in node.children] == ["y"]


def test_a_byte_order_mark_may_come_first_and_counts_as_a_character() -> None:
    assert node_of("\ufeffnode").name_span == Span(1, 5)


def test_comments_may_nest_and_stand_wherever_white_space_may() -> None:
    assert print_document(nodes_of("/*a/*b*/*/n/**/(/**/t/**/)/**/1/**/k/**/=/**/2/**/{}//c")) == "n (t)1 k=2\n"


def test_an_empty_document_has_no_nodes() -> None:
    assert read("") == ((), ())
    assert read("\ufeff \n// nothing") == ((), ())
