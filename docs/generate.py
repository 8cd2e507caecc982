"""Writes the pages that are made from vmctl's own tables: docs/codes/. Run by `make docs`; a test compares them."""

from __future__ import annotations

from pathlib import Path

from vm_manager.diagnostics.examples import example_of
from vm_manager.diagnostics.registry import CODES, Code

DOCS = Path(__file__).parent


def pages() -> dict[str, str]:
    """Path below docs/ → content."""
    return {"codes/README.md": index(), **{f"codes/{page_name(entry.code)}": page(entry) for entry in CODES.values()}}


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
    for stale in (DOCS / "codes").glob("*.md"):
        if f"codes/{stale.name}" not in wanted:
            stale.unlink()
    for name, text in wanted.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
