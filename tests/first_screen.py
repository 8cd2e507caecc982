"""The gallery: what vmctl shows first in situations that people meet, and whether the fix that it proposes works.

A row of the gallery is a test in `tests/gallery/` with the fixture `gallery`; its docstring is the row's title. It produces the
situation for real, passes what vmctl said to `shows`, applies the fix (`fix` runs a command of the help; `by_hand` says what a
person does who follows it), and passes the command that works afterwards to `works`. A row that leaves one of these out fails.

`GALLERY=write pytest tests/gallery` keeps the screens for docs/gallery.md (`make docs`). Otherwise the message and the help have
to be those that are kept, but for figures.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from driver import LIMIT_S, VMCTL, Result, Vmctl
from proofs import anonymous, diagnostic
from vm_manager.diagnostics.registry import CODES

SCREENS = Path(__file__).parent / "gallery" / "screens"


@dataclass
class Gallery:
    """One row. name: the file of its screen, without its suffix."""

    name: str
    _shown: str | None = None
    _fixed: bool = False
    _works: bool = False
    _commands: list[str] = field(default_factory=list)

    def shows(
        self,
        result: Result,
        code: str | None,
        *,
        place: str | None,
        says: tuple[str, ...],
        never: tuple[str, ...] = (),
        status: int | None = None,
        stream: str = "stderr",
    ) -> None:
        """The first screen names the situation.

        code: of the error; None: no failure, but a text on standard error or output (`stream`) that says so.
        place: `VMFile.kdl:3:5` where it points into a file, else None.
        says: what a person has to read to understand; never: what would mislead, or must not be shown.
        status: where the exit status is not the code's own.
        """
        text = result.stdout if stream == "stdout" else result.stderr
        shown = text if code is None else diagnostic(text, code)
        assert shown is not None, f"{code} is not in:\n{text}"
        assert result.status == (status if status is not None else CODES[code].exit_code if code else 0), text
        assert place is None or f"--> {place}" in shown, f"{place} is not in:\n{shown}"
        for words in says:
            assert words in shown, f"{words!r} is not in:\n{shown}"
        for words in never:
            assert words not in result.stdout + result.stderr, f"{words!r} is in:\n{text}"
        self._shown = shown
        self._keep(anonymous(shown))

    def fix(
        self, vmctl: Vmctl, containing: str, *, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command of the help that contains these words, as a person copies it; it has to succeed."""
        assert self._shown is not None, "nothing was shown yet"
        helps = re.findall(r"^ *= help: (.*)$", self._shown, re.MULTILINE)
        commands = [command for line in helps for command in re.findall(r"`([^`]+)`", line) if containing in command]
        assert len(set(commands)) == 1, f"{containing!r} is in {commands} of\n{self._shown}"
        done = subprocess.run(
            ["bash", "-c", commands[0]],
            cwd=vmctl.directory,
            env=vmctl.environment(PATH=f"{VMCTL.parent}:{os.environ['PATH']}", **(env or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{commands[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        self._fixed = True
        return done

    def by_hand(self, help_says: str) -> None:
        """The test does next what the help says in words, which it says in these."""
        assert self._shown is not None, "nothing was shown yet"
        helps = "\n".join(re.findall(r"^ *= help: (.*)$", self._shown, re.MULTILINE)) or self._shown
        assert help_says in helps, f"{help_says!r} is not in:\n{helps}"
        self._fixed = True

    def works(self, result: Result) -> None:
        """What the person wanted, after the fix."""
        assert self._fixed, "the fix was not applied"
        assert result.status == 0, result.stderr
        self._works = True

    def finish(self) -> None:
        """The row is whole."""
        assert self._shown is not None, "the row shows nothing"
        assert self._works, "the row does not show that its fix works"

    def _keep(self, shown: str) -> None:
        path = SCREENS / f"{self.name}.txt"
        if os.environ.get("GALLERY") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(shown, encoding="utf-8")
        assert path.exists(), f"{path} is missing: GALLERY=write keeps the screen"
        kept = path.read_text(encoding="utf-8")
        assert _shape(shown) == _shape(kept), f"differs from {path}: GALLERY=write accepts it"


def _shape(screen: str) -> list[str]:
    """The message and the help, without figures: what is the same on every machine."""
    lines = [line for line in screen.splitlines() if re.match(r"(error|warning)\[| *= help: ", line)]
    return [re.sub(r"\d+([.,]\d+)?( [KMGT]iB)?", "N", line) for line in lines or screen.splitlines()[:1]]
