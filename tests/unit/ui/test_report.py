"""How diagnostics read, plain."""

from __future__ import annotations

import re

import pytest

from unit.golden import assert_golden
from vm_manager.diagnostics.errors import DiskFull, Partial, SeedIsoFailed, VmFileInvalid, VmNotFound
from vm_manager.diagnostics.model import Diagnostic, Evidence, Label, Subject
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.ui.report import report

_FILE = """\
vm "web" {
    image "disk.qcow2"
    vcpus 2
\tmemory\t"lots"\t// tabs
    hostname "日本"; cpu "host"
    vcpus 4
}
"""


def _text(diagnostic: Diagnostic) -> str:
    return "".join(f"{line.text}\n" for line in report(diagnostic))


def _label(marked: str, text: str, *, primary: bool = True, nth: int = 0, source: str = _FILE) -> Label:
    start = [found.start() for found in re.finditer(re.escape(marked), source)][nth]
    return Label(Source("VMFile.kdl", source), Span(start, start + len(marked)), text, primary)


def _problem(*labels: Label) -> Diagnostic:
    return VmFileInvalid("something is wrong", help=("do it right",), labels=labels).diagnostic


def _columns(text: str) -> tuple[str, str]:
    """The characters of the source line above the marks, and the marks' label."""
    lines = text.splitlines()
    below = next(line for line in lines if "^" in line)
    above = lines[lines.index(below) - 1]
    start, end = below.index("^"), below.rindex("^") + 1
    return above[start:end], below[end + 1 :]


@pytest.mark.parametrize(
    ("name", "diagnostic"),
    [
        (
            "two-labels",
            _problem(
                _label("vcpus", "again here", nth=1), _label("vcpus", "first here", primary=False)
            ),
        ),
        ("tabs", _problem(_label('"lots"', "this is a string"))),
        ("wide-characters", _problem(_label('"host"', "not a CPU"), _label('"日本"', "not ASCII", primary=False))),
        ("end-of-text", _problem(Label(Source("VMFile.kdl", "vm {"), Span(4, 4), "a } is missing"))),
        (
            "several-lines",
            _problem(Label(Source("VMFile.kdl", _FILE), Span(0, len(_FILE) - 1), "this whole block")),
        ),
        (
            "causes-evidence-and-notes",
            SeedIsoFailed(
                "the seed could not be written",
                subject=Subject(vm="web"),
                operation="create",
                elapsed_s=1.26,
                notes=("a note",),
                evidence=(
                    Evidence("process", "qemu-img", ("$ qemu-img info", "  indented", "exited with 1"), truncated=True),
                    Evidence("console", "the console", ("last line",), "/data/vms/web/console.log"),
                    Evidence("qemu_log", "QEMU's log", (), "/data/vms/web/qemu.log", error="Permission denied"),
                ),
            ).diagnostic,
        ),
        (
            "several-problems-of-a-file",
            VmFileInvalid(
                "the first", help=("mend it",), labels=(_label('"lots"', "one"),),
                related=(_problem(_label('"host"', "two")),),
            ).diagnostic,
        ),
        (
            "several-vms",
            Partial(
                "{n} of 2 VMs failed", {"n": 2},
                related=(VmNotFound("one", help=("a",)).diagnostic, DiskFull("two", help=("b", "c")).diagnostic),
            ).diagnostic,
        ),
        ("warning", DiskFull("nearly", help=("tidy up",)).as_warning()),
    ],
)  # fmt: skip
def test_a_diagnostic_reads_as_it_should(name: str, diagnostic: Diagnostic) -> None:
    assert_golden(f"report-{name}.txt", _text(diagnostic))


def test_causes_are_told_from_the_nearest_to_the_deepest() -> None:
    error, middle = SeedIsoFailed("the seed could not be written"), DiskFull("no space left")
    error.__cause__, middle.__cause__ = middle, OSError(28, "No space left on device")
    assert [line.text for line in report(error.diagnostic)][1:3] == [
        "  = caused by: no space left [vm_manager::host::disk_full]",
        "  =   caused by: No space left on device",
    ]


def test_a_cause_is_told_in_words_and_once() -> None:
    error = SeedIsoFailed(
        "the seed could not be written", evidence=(Evidence("process", "x", ("tool: no such seed",)),)
    )
    chain: BaseException = error
    for cause in (OSError(2, "no such seed"), TimeoutError(), ValueError("the seed could not be written")):
        chain.__cause__ = cause
        chain = cause
    assert not any("caused by" in line.text for line in report(error.diagnostic))


@pytest.mark.parametrize("marked", ['"lots"', "// tabs", '"disk.qcow2"', "}"])
def test_marks_stand_below_what_they_mark_through_tabs(marked: str) -> None:
    assert _columns(_text(_problem(_label(marked, "here")))) == (marked, "here")


def test_marks_stand_below_what_they_mark_behind_wide_characters() -> None:
    lines = _text(_problem(_label('"host"', "here"))).splitlines()
    below = next(line for line in lines if "^" in line)
    # On a terminal the two wide characters before it take up four columns.
    assert below.index("^") == lines[lines.index(below) - 1].index('"host"') + 2


@pytest.mark.parametrize("hidden", ["\ufeff", "\u200b\u200f", "a\u0301" * 3])
def test_marks_stand_below_what_they_mark_behind_invisible_characters(hidden: str) -> None:
    source = f"{hidden} vcpu 2\n"
    lines = _text(_problem(_label("vcpu", "here", source=source))).splitlines()
    below = next(line for line in lines if "^" in line)
    shown = re.sub("[\u200b-\u200f\u0301\ufeff]", "", lines[lines.index(below) - 1])
    assert below.index("^") == shown.index("vcpu")


def test_gutters_are_as_wide_as_the_longest_line_number() -> None:
    source = "x\n" * 9 + "vcpu 2\n"
    labels = (_label("vcpu", "a", source=source), Label(Source("VMFile.kdl", source), Span(0, 1), "b", False))
    text = _text(_problem(*labels))
    assert " 1 | x\n   | - b\n...\n10 | vcpu 2\n   | ^^^^ a\n" in text


def test_labels_in_two_files_are_two_snippets() -> None:
    other = Label(Source("user-data.yaml", "a: [\n"), Span(3, 4), "never closed", False)
    text = _text(_problem(_label("vcpus", "here"), other))
    assert text.index("--> VMFile.kdl:3:5") < text.index("--> user-data.yaml:1:4")


def test_short_durations_are_not_told() -> None:
    assert "after" not in _text(VmNotFound("gone", elapsed_s=0.05).diagnostic)
    assert "after 2.0 s" in _text(VmNotFound("gone", elapsed_s=2.04).diagnostic)


def test_nothing_in_a_report_can_drive_the_terminal() -> None:
    evil = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202eabc\rd\x00"
    diagnostic = VmFileInvalid(
        "{m}", {"m": evil},
        help=(evil,), notes=(evil,), subject=Subject(vm="web"),
        evidence=(Evidence("console", evil, (evil,), evil, error=evil),),
        labels=(Label(Source(evil, evil), Span(0, 3), evil),),
    ).diagnostic  # fmt: skip
    assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", _text(diagnostic)) == []


def test_the_lines_of_a_note_stay_apart() -> None:
    text = _text(VmNotFound("gone", notes=("command: apt-get update\napt-get upgrade",)).diagnostic)
    assert "updateapt-get" not in text
