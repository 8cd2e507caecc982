"""Writes what is made from vmctl itself: docs/vmfile.md, docs/codes/ and docs/screenshots/.

Run by `make docs`; a test compares them.
"""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from rich.console import Console

from vm_manager import Manager, VmError
from vm_manager.diagnostics.examples import example_of
from vm_manager.diagnostics.registry import CODES, Code
from vm_manager.ui.fancy import draw
from vm_manager.vmfile.reference import reference

DOCS = Path(__file__).parent
WIDTH = 80


def pages() -> dict[str, str]:
    """Path below docs/ → content."""
    codes = {f"codes/{page_name(entry.code)}": page(entry) for entry in CODES.values()}
    return {"vmfile.md": reference(), "codes/README.md": index(), **codes, **screenshots()}


def screenshots() -> dict[str, str]:
    """What a terminal of 80 columns shows of three failures that really happen here."""
    return {
        "screenshots/mistakes.svg": screenshot(vmfile_failure("mistakes.kdl"), "vmctl up"),
        "screenshots/brace.svg": screenshot(vmfile_failure("brace.kdl"), "vmctl up"),
        "screenshots/name.svg": screenshot(name_failure(), "vmctl status wbe"),
    }


def vmfile_failure(name: str) -> VmError:
    """What is wrong with a sample."""
    before = Path.cwd()
    os.chdir(DOCS / "samples")
    try:
        Manager().load(Path(name))
    except VmError as error:
        return error
    finally:
        os.chdir(before)
    raise AssertionError(f"{name} is right")


def name_failure() -> VmError:
    """A VM's name with a typing mistake."""
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory)
        (project / "disk").touch()
        (project / "VMFile.kdl").write_text('vm "web" { image "disk" }')
        manager = Manager(project / "data", backend="noop")
        manager.up(manager.load(project / "VMFile.kdl"))
        try:
            manager.status("wbe")
        except VmError as error:
            return error
    raise AssertionError("there is no such VM")


def screenshot(error: VmError, command: str) -> str:
    """The failure as SVG, by Rich's own export."""
    console = Console(
        width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="256", legacy_windows=False,
        markup=False, emoji=False, highlight=False,
    )  # fmt: skip
    draw(console, error.diagnostic)
    return console.export_svg(title=command, unique_id="vmctl")


def page_name(code: str) -> str:
    """The file of a code's page."""
    return f"{code.replace('::', '.')}.md"


def index() -> str:
    """The table of all codes."""
    rows = [
        f"| {entry.number} | {entry.exit_code} | [`{entry.code}`]({page_name(entry.code)}) | {entry.meaning} |"
        for entry in CODES.values()
    ]
    head = (
        "# Codes\n\nEvery failure of vmctl has one of these codes; `vmctl explain CODE` says the same as its page.\n\n"
    )
    return head + "\n".join(("| no. | exit status | code | when |", "|---|---|---|---|", *rows)) + "\n"


def page(entry: Code) -> str:
    """The page of a code."""
    example = example_of(entry.code)
    causes = "\n".join(f"{number}. {cause}" for number, cause in enumerate(entry.causes, 1))
    parts = [
        f"# `{entry.code}`",
        entry.meaning,
        f"Number {entry.number}, exit status {entry.exit_code}, fault: {entry.fault}, kind: {entry.kind}, since {entry.since}.",
        "Likely causes, in the order in which to look:",
        causes,
        f"What to do: {entry.help}.",
    ]
    if example:
        parts += ["Example:", f"```text\n{example.rstrip()}\n```"]
    else:
        parts.append("Its feature is still to come; the code and its number are reserved.")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write all pages, and remove those of codes that are no more."""
    wanted = pages()
    for stale in (*(DOCS / "codes").glob("*.md"), *(DOCS / "screenshots").glob("*.svg")):
        if str(stale.relative_to(DOCS)) not in wanted:
            stale.unlink()
    for name, text in wanted.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
