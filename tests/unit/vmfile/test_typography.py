"""Quotation marks, dashes and spaces as web pages and word processors write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.vmfile.vmfiles import IMAGE, loaded, problem, problems
from vm_manager.diagnostics.errors import VmFileParseFailed

_EVERYWHERE = "replace such characters throughout the file: a web page or a word processor has put them there"


@pytest.mark.parametrize(
    ("line", "mark", "label", "mended"),
    [
        ("inline “sudo apt-get update”", "“", 'use " instead', 'inline "sudo apt-get update"'),
        ("inline „a b“", "„", 'use " instead', 'inline "a b"'),
        ("inline «a b»; inline ‘c d’", "«", 'use " instead', 'inline "a b"; inline "c d"'),
        ("inline ‘it’s a b’", "‘", 'use " instead', 'inline "it’s a b"'),
        ('inline “a b"', "“", 'use " instead', 'inline "a b"'),
        ('inline "a b”', "”", 'use " instead', 'inline "a b"'),
        ('inline “echo "hi there"”', "“", 'use " instead', 'inline #"echo "hi there""#'),
        ("inline “a b” // “c”", "“", 'use " instead', 'inline "a b" // “c”'),
        ("inline “if true { a”", "“", 'use " instead', 'inline "if true { a"'),
    ],
)
def test_they_are_the_one_problem_and_come_with_the_line_as_it_was_meant(
    tmp_path: Path, line: str, mark: str, label: str, mended: str
) -> None:
    found = problem(tmp_path, f'provision "shell" {{\n{line}\n}}')
    assert (found.code, found.marked, found.labels) == (VmFileParseFailed.entry.code, [mark], [label])
    assert found.help == (f"write it like this: {mended}",)


def test_dashes_and_invisible_characters_are_named_like_quotes(tmp_path: Path) -> None:
    found = problem(tmp_path, "memory –512")
    assert found.message == "– is a typographic dash; KDL uses -"
    assert (found.labels, found.help) == (["use - instead"], ("write it like this: memory -512",))
    found = problem(tmp_path, "\u200bmemory 512")
    assert found.message == "U+200B is an invisible character, and no white space in KDL"
    assert (found.labels, found.help) == (["remove it"], ("write it like this: memory 512",))


def test_a_mended_line_and_the_edits_make_a_vmfile_that_is_right(tmp_path: Path) -> None:
    text = 'vm “web” {\nimage “disk.qcow2”\nprovision “shell” { inline “echo "a b"” }\n}\n'
    (found,) = problems(tmp_path, text)
    assert found.message == '“ is a typographic quotation mark; KDL uses "'
    assert found.help == ('write it like this: vm "web" {', _EVERYWHERE)
    for edit in sorted(found.diagnostic.suggestions[0].edits, key=lambda edit: -edit.span.start):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    assert loaded(tmp_path, text).specs[0].provisioners


def test_a_file_of_which_hardly_a_line_can_be_read_has_this_one_problem_too(tmp_path: Path) -> None:
    text = "".join(f"vm “web{number}” {{\nimage “a/b.qcow2”\n}}\n" for number in range(20))
    (found,) = problems(tmp_path, text)
    assert found.help == ('write it like this: vm "web0" {', _EVERYWHERE)


@pytest.mark.parametrize(
    "value", ["“hunter2 and more”", "“abc{hunter2 more”", "“abc; hunter2 more”", '‘a"hunter2 b’', "“a “hunter2” b”"]
)
def test_a_secret_in_them_is_not_quoted(tmp_path: Path, value: str) -> None:
    for name in ('"TOKEN"', "“TOKEN”"):
        found = problem(tmp_path, f'provision "shell" {{\nenv {name} {value}\ninline "a"\n}}')
        assert "typographic" in found.message
        assert found.help == (_EVERYWHERE,)
        assert "hunter2" not in repr(found.diagnostic) + found.diagnostic.labels[0].source.text


def test_where_they_belong_they_are_not_to_blame(tmp_path: Path) -> None:
    body = f'{IMAGE} // “a b”\n/* “c d” */ provision "shell" {{ inline "echo “a b” – c" }}\nlabel "a\u200bb"\n'
    right = body.replace('label "a\u200bb"\n', f'provision "shell" {{ inline #"“a “b"# }}\n{_LINES}')
    assert len(loaded(tmp_path, f'vm "web" {{\n{right}}}\n').specs[0].provisioners) == 3
    (found,) = problems(tmp_path, f'vm "web" {{\n{body}}}\n')
    assert "label" in found.message


_LINES = 'provision "shell" {\n inline """\n  “a b”\n  """\n}\n'


def test_a_problem_elsewhere_is_not_laid_to_a_word_that_has_one(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f'vm "web" {{\n{IMAGE}\nprovision "shell" {{ inline «ls» }}\nmemroy 2\n}}\n')
    assert "memroy" in found.message


def test_a_no_break_space_is_white_space(tmp_path: Path) -> None:
    assert loaded(tmp_path, f'vm\u00a0"web"\u00a0{{\n{IMAGE}\n memory\u00a0512\n}}\n').specs[0].memory_mib == 512
