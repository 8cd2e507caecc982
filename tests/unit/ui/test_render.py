"""A diagnostic as a text, for programs that use the library."""

from __future__ import annotations

import json
import re

import pytest

import vm_manager
from unit.stderr_lines import faults
from vm_manager.diagnostics.errors import VmFileInvalid, VmNotFound
from vm_manager.diagnostics.model import Label, Subject
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.ui.render import render

_SOURCE = Source("VMFile.kdl", 'vm "web" {\n  vcpu 2\n}\n')


def _error() -> VmFileInvalid:
    return VmFileInvalid(
        "there is no setting `vcpu`",
        labels=(Label(_SOURCE, Span(13, 17), "not known"),),
        help=("did you mean `vcpus`?",),
        subject=Subject(vm="web"),
    )


_PLAIN = """\
error[vm_manager::vmfile::validation]: there is no setting `vcpu`
 --> VMFile.kdl:2:3
  |
2 |   vcpu 2
  |   ^^^^ not known
  |
  = vm: web
  = help: did you mean `vcpus`?"""


def test_it_is_what_vmctl_writes_where_there_is_no_terminal() -> None:
    assert render(_error()) == render(_error().diagnostic) == render(_error(), "plain") == _PLAIN


def test_plain_lines_are_never_folded_and_have_no_escapes() -> None:
    long = VmNotFound("and gone" * 100, help=("\x1b[31mred",))
    assert render(long).splitlines()[0].endswith("and gone" * 100)
    assert "\x1b" not in render(long)


def test_fancy_is_the_same_in_colours_folded_to_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    colored = render(_error(), "fancy", width=40)
    assert "\x1b[1;31merror[" in colored
    plain = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert max(len(line) for line in plain.splitlines()) <= 40
    assert " ".join(plain.split()) == " ".join(_PLAIN.split())


def test_fancy_without_colours_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", render(_error(), "fancy"))


def test_json_is_the_line_of_standard_error() -> None:
    line = render(_error(), "json")
    assert faults(line) == []
    assert json.loads(line)["rendered"] == _PLAIN


def test_github_is_an_annotation_with_the_plain_form() -> None:
    lines = render(_error(), "github").splitlines()
    assert lines[0].startswith("::error title=")
    assert "file=VMFile.kdl,line=2," in lines[0]
    assert "2 |   vcpu 2" in lines


def test_a_format_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="html"):
        render(_error(), "html")


def test_it_is_a_name_of_the_package() -> None:
    assert vm_manager.render is render
