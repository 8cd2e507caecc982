"""Proof that a code is triggered for real, by `vmctl` as a process; and which codes still have none.

`tests/unit/diagnostics/test_proofs.py` looks for the calls of `prove` in all tests: a code without one fails it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from driver import Result
from vm_manager.diagnostics.examples import file_name
from vm_manager.diagnostics.registry import CODES

# Codes whose feature does not exist yet, with the feature. They get no toy proof.
AWAITING = {code: entry.awaits for code, entry in CODES.items() if entry.awaits}

# Where no command line can lead to it: a failing generator is passed in, in tests/unit/guest/test_keys.py.
IN_PROCESS = {"vm_manager::ssh::keygen_failed"}

EXAMPLES = Path(__file__).parents[1] / "src" / "vm_manager" / "diagnostics" / "examples"


def prove(result: Result, code: str, *, evidence: str | None = None, status: int | None = None) -> None:
    """The process ended with this code: its exit status, the code, help, and what shows it.

    evidence: what the part of the evidence contains.
    status: where the exit status is not the code's own, as for `vmctl ssh`.
    `EXAMPLES=write pytest …` keeps what was shown, for `vmctl explain` and the pages.
    """
    shown = diagnostic(result.stderr, code)
    assert shown is not None, f"{code} is not in:\n{result.stderr}"
    expected = CODES[code].exit_code if status is None else status
    assert result.status == expected, result.stderr
    assert re.search(r"^  = help: \S", shown, re.MULTILINE), shown
    if evidence is not None:
        assert evidence in shown.partition("= evidence: ")[2], shown
    if os.environ.get("EXAMPLES") == "write":
        (EXAMPLES / file_name(code)).write_text(anonymous(shown), encoding="utf-8")


def prove_cause(result: Result, code: str) -> None:
    """The code is one of the causes that were shown, with its own help."""
    line = next((line for line in result.stderr.splitlines() if "caused by: " in line and f"[{code}]" in line), None)
    assert line is not None, f"{code} is no cause in:\n{result.stderr}"
    assert "= help: " in result.stderr
    if os.environ.get("EXAMPLES") == "write":
        whole = diagnostic(result.stderr, result.code or "")
        (EXAMPLES / file_name(code)).write_text(anonymous(whole or ""), encoding="utf-8")


def diagnostic(stderr: str, code: str) -> str | None:
    """The part of standard error that is the diagnostic with this code, an error or a warning."""
    lines = stderr.splitlines()
    heads = (f"error[{code}]: ", f"warning[{code}]: ")
    start = next((number for number, line in enumerate(lines) if line.startswith(heads)), None)
    if start is None:
        return None
    end = start + 1
    while end < len(lines) and (lines[end].startswith(" ") or re.match(r"\d+ \| |\.\.\.$", lines[end])):
        end += 1
    return "\n".join(lines[start:end]) + "\n"


# What differs from run to run and from machine to machine, and what stands for it in an example.
_ANONYMOUS = (
    (re.compile(re.escape(f"{Path.home()}/.config")), "~/.config"),
    (re.compile(r"/[^\s'`]*/xdg-data|/[^\s'`]*/data(?=/vmctl)"), "~/.local/share"),
    (re.compile(r"/[^\s'`]*/project\b"), "~/project"),
    (re.compile(r"/[^\s'`]*/www\b"), "/srv/www"),
    (re.compile(r"/[^\s'`]*/(?=(?:tiny|debian-12)-[0-9a-f]{16})"), "~/images/"),
    (re.compile(r"/tmp/pytest-of-[^\s'`/]+/[^\s'`/]+/(?:popen-gw\d+/)?[^\s'`/]+"), "~/project"),
    (re.compile(r"/[^\s'`]*?/(?:popen-gw\d+/)?test_[^\s'`/]+"), "~/project"),
    (re.compile(r"\(pid \d+\)"), "(pid 4711)"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:40022"),
    (re.compile(r"after \d+\.\d s"), "after 1.2 s"),
    (re.compile(r"port=\d+"), "port=8000"),
    (re.compile(r"\.\d+\.part\b"), ".4711.part"),
    (re.compile(r"\bAAAA[A-Za-z0-9+/=]{20,}"), "AAAA…"),
    (re.compile(r"\b(tiny|debian-12)-[0-9a-f]{16}"), r"\1-0123456789abcdef"),
)


def anonymous(text: str) -> str:
    """A screen without what differs from run to run and from machine to machine."""
    for pattern, replacement in _ANONYMOUS:
        text = pattern.sub(replacement, text)
    return text
