"""Diagnostics drawn for a person: widths, colours, and streams that know little."""

from __future__ import annotations

import os
import pty
import re
from contextlib import redirect_stderr
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.cells import cell_len
from rich.console import Console

from unit.findings import diagnostics, labelled
from unit.golden import assert_golden
from vm_manager.diagnostics.errors import SeedIsoFailed, VmFileInvalid, VmNotFound
from vm_manager.diagnostics.model import Diagnostic, Evidence, Label, Subject
from vm_manager.diagnostics.safe_text import safe_line
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.ui.fancy import console, draw
from vm_manager.ui.report import report
from vm_manager.ui.terminal import Terminal

_FILE = Source(
    "VMFile.kdl",
    'vm "web" {\n\tmemory\t"lots and lots of it, more than any screen could ever hold in one line"\t// 日本\n'
    '    vcpu 2; cpu "日本"\n}\n',
)


def _label(marked: str, text: str, *, primary: bool = True) -> Label:
    start = _FILE.text.index(marked)
    return Label(_FILE, Span(start, start + len(marked)), text, primary)


def _everything() -> Diagnostic:
    """Long lines, tabs, wide characters, a label over several lines."""
    error = SeedIsoFailed(
        "the seed {path} could not be written, 日本語日本語日本語日本語",
        {"path": "/data/a/very/long/path/to/somewhere/seed.iso"},
        labels=(
            _label("vcpu", "not known here"),
            _label('"日本"', "not a CPU", primary=False),
            _label('"lots and', "a number"),
            Label(_FILE, Span(0, len(_FILE.text) - 1), "in this block", False),
        ),
        notes=(f"a\ttab and {'x' * 50} end", "two\nlines"),
        help=("run `vmctl up` again, and if that does not help then look at the console",),
        subject=Subject(vm="web"),
        operation="create",
        elapsed_s=12,
        evidence=(
            Evidence(
                "process", "qemu-img", ("$ qemu-img create -f qcow2 -b /data/images/base.qcow2 disk.qcow2 20G", "  a\tb"),
                "/data/vms/web/qemu-img.log", truncated=True,
            ),
        ),
    )  # fmt: skip
    error.__cause__ = OSError(28, "No space left on device", "/data/a/very/long/path/to/somewhere/seed.iso")
    return error.diagnostic


def _drawn(diagnostic: Diagnostic, width: int = 80, color: str | None = None) -> str:
    stream = StringIO()
    terminal = Console(
        file=stream, width=width, force_terminal=color is not None, color_system="standard" if color else None,
        no_color=color == "no", markup=False, emoji=False, highlight=False, legacy_windows=False,
    )  # fmt: skip
    draw(terminal, diagnostic)
    return stream.getvalue()


def _through_console(diagnostic: Diagnostic, color: str) -> str:
    """What Terminal's own console writes, into a stream that is no terminal."""
    stream = StringIO()
    with redirect_stderr(stream):
        draw(console(color), diagnostic)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 40, 20])
def test_a_diagnostic_looks_as_it_should_at_every_width(width: int) -> None:
    assert_golden(f"fancy-{width}.txt", _drawn(_everything(), width))


def test_a_diagnostic_in_colours_looks_as_it_should() -> None:
    assert_golden("fancy-colours.txt", _drawn(labelled(), color="yes").replace("\x1b", "␛"))


@pytest.mark.parametrize("name", diagnostics())
def test_folding_loses_nothing(name: str) -> None:
    diagnostic = diagnostics()[name]
    plain = "".join("".join(line.text for line in report(diagnostic)).split())
    assert "".join(_drawn(diagnostic, 1000).split()) == plain
    texts = (diagnostic.message, *diagnostic.help, *diagnostic.notes)
    words = {word for text in texts for word in safe_line(text).split()}
    for width in (80, 41, 30):
        drawn = "".join(_drawn(diagnostic, width).split())
        assert [word for word in words if word not in drawn] == []


@pytest.mark.parametrize("width", [80, 60, 40])
def test_what_may_be_folded_is_never_wider_than_the_terminal(width: int) -> None:
    assert _too_wide(width) == []


@pytest.mark.parametrize("width", [30, 20])
def test_what_may_be_folded_fits_a_narrow_terminal_too(width: int) -> None:
    assert _too_wide(width) == []


def _too_wide(width: int) -> list[str]:
    without_source = VmNotFound(
        "no VM is named '{name}'",
        {"name": "日本語" * 10},
        help=("some words that go on " * 8,),
        notes=("some words that go on " * 8,),
        evidence=(Evidence("console", "some words that go on " * 8, ("some words that go on " * 8,)),),
    ).diagnostic
    return [line for line in _drawn(without_source, width).splitlines() if cell_len(line) > width]


def test_a_long_source_line_is_cut_around_what_is_marked() -> None:
    lines = _drawn(_everything(), 40).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("2 | "))
    assert lines[at].endswith("...")
    assert cell_len(lines[at]) <= 40
    assert lines[at + 1].index("^") == lines[at].index('"lots')


def test_what_is_marked_far_to_the_right_is_shown() -> None:
    text = "x" * 500 + " wrong " + "y" * 500
    label = Label(Source("f", text), Span(501, 506), "here")
    lines = _drawn(VmFileInvalid("wrong", labels=(label,)).diagnostic, 60).splitlines()
    below = next(number for number, line in enumerate(lines) if "^" in line)
    assert lines[below].index("^^^^^ here") == lines[below - 1].index("wrong")
    assert lines[below - 1].startswith("1 | ...")
    assert cell_len(lines[below - 1]) == 60


def test_a_label_over_several_lines_shows_where_it_ends() -> None:
    block = Label(_FILE, Span(0, _FILE.text.rindex("}") + 1), "this whole block")
    lines = _drawn(VmFileInvalid("wrong", labels=(block,)).diagnostic).splitlines()
    assert any(line.startswith("1 | ") for line in lines)
    assert any(line.startswith("4 | ") for line in lines)


# Colours


def test_an_error_is_red_and_a_warning_is_yellow() -> None:
    assert "\x1b[1;31merror[" in _drawn(VmNotFound("gone").diagnostic, color="yes")
    assert "\x1b[1;33mwarning[" in _drawn(VmNotFound("gone").as_warning(), color="yes")


def test_without_colours_the_text_is_the_same_and_nothing_is_coloured() -> None:
    plain, uncoloured = _drawn(_everything()), _drawn(_everything(), color="no")
    assert re.sub(r"\x1b\[[\d;]*m", "", uncoloured) == plain
    assert re.findall(r"\x1b\[[\d;]*3\d[\d;]*m", uncoloured) == []


@pytest.mark.parametrize(("color", "coloured"), [("auto", False), ("never", False), ("always", True)])
def test_colours_go_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, color: str, coloured: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert ("\x1b[1;31m" in _through_console(VmNotFound("gone").diagnostic, color)) == coloured


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, redirect_stderr(stream):
        draw(console("auto"), VmNotFound("gone").diagnostic)
        text = os.read(ours, 65536).decode()
    os.close(ours)
    assert "gone" in text
    assert bool(re.findall(r"\x1b\[[\d;]*3\d[\d;]*m", text)) == coloured


def test_what_the_command_line_demands_wins_over_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" in _through_console(VmNotFound("gone").diagnostic, "always")


def test_a_dumb_terminal_gets_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in _through_console(_everything(), "auto")


def test_nothing_is_markup_or_an_emoji() -> None:
    text = "[bold]x[/bold] :smile: [red] \\[ [/]"
    assert text in _drawn(VmNotFound("{text}", {"text": text}, notes=(text,)).diagnostic)
    assert text in _through_console(VmNotFound("{text}", {"text": text}).diagnostic, "auto")


def test_nobody_elses_escapes_get_through() -> None:
    assert "\x1b" not in _drawn(diagnostics()["hostile"])


# A stream that knows ASCII only; Python's standard error always has backslashreplace


def _in_ascii(diagnostic: Diagnostic, error_format: str) -> str:
    buffer = BytesIO()
    stream = TextIOWrapper(buffer, encoding="ascii", errors="backslashreplace")
    with redirect_stderr(stream):
        Terminal(error_format=error_format).show(diagnostic)
    stream.flush()
    return buffer.getvalue().decode("ascii")


@pytest.mark.parametrize("error_format", ["fancy", "plain", "json", "github"])
def test_a_stream_of_ascii_gets_all_of_it(error_format: str) -> None:
    text = _in_ascii(VmNotFound("no VM is named '{name}'", {"name": "日本"}).diagnostic, error_format)
    assert "not drawn" not in text
    assert r"\u65e5\u672c" in text


def test_marks_stand_below_what_they_mark_in_ascii_too() -> None:
    label = Label(Source("f", 'cpu "日本"; vcpu 2'), Span(10, 14), "here")
    lines = _in_ascii(VmFileInvalid("wrong", labels=(label,)).diagnostic, "fancy").splitlines()
    below = next(number for number, line in enumerate(lines) if "^" in line)
    assert lines[below].index("^") == lines[below - 1].index("vcpu")


def test_our_own_signs_are_ascii_on_a_stream_of_ascii() -> None:
    evidence = Evidence("console", "the console", ("a",), truncated=True)
    assert "\\u" not in _in_ascii(VmNotFound("gone", evidence=(evidence,)).diagnostic, "fancy")


def test_a_header_that_wraps_keeps_its_style() -> None:
    out = StringIO()
    screen = Console(file=out, width=40, force_terminal=True, color_system="256")
    draw(screen, VmNotFound("no VM is named {name}", {"name": "w " * 30}).diagnostic)
    first, second, *_ = out.getvalue().splitlines()
    assert "\x1b[1m: " in first
    assert second.startswith("\x1b[1mis named w")


@pytest.mark.parametrize("amount", ["300 s", "512 MiB", "64 bytes"])
def test_a_number_and_its_unit_stay_together(amount: str) -> None:
    rows = [
        _drawn(VmNotFound("gone", help=(f"{'x' * before} it took {amount} altogether",)).diagnostic)
        for before in range(40, 72)
    ]
    assert [text for text in rows if amount not in text] == []


def test_a_command_is_never_broken() -> None:
    short, long = "`vmctl up --file VMFile.kdl`", f"`{{ vmctl stop web && cp {'x' * 70} web.qcow2; }}`"
    error = VmNotFound(
        "gone", help=(f"{'words ' * 10}{short} and more", f"save its disk: {long}, or else {short} again")
    )
    rows = _drawn(error.diagnostic).splitlines()
    assert [row for row in rows if short in row]
    assert [row.strip() for row in rows if long in row] == [f"{long},"]
    assert [row for row in rows if cell_len(row) > 80 and long not in row] == []
