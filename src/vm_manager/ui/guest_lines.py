"""The pieces that a guest's outputs arrive in, put back together into lines; and what of a line there is before it ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vm_manager.diagnostics.safe_text import safe_line
from vm_manager.domain.events import GuestOutput, Stream

# A guest that never ends its line must not fill our memory.
_LONGEST = 64 * 1024
# The beginning of an escape sequence whose end has not arrived yet.
_HALF_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*)?\Z")

#: A VM and one of its outputs.
Output = tuple[str, Stream]


@dataclass(frozen=True)
class Piece:
    """Text of one line, made safe. continues: the line's beginning came before; ends: nothing more of it comes."""

    output: Output
    text: str
    continues: bool = False
    ends: bool = True


class GuestLines:
    """Takes in pieces and hands out lines."""

    def __init__(self) -> None:
        self._rest: dict[Output, str] = {}
        # Lines whose beginning has been handed out already.
        self._begun: set[Output] = set()

    def add(self, event: GuestOutput) -> list[Piece]:
        """The lines that the event ends."""
        output = (event.vm, event.stream)
        *lines, rest = (self._rest.pop(output, "") + event.text).split("\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], ""
        if rest:
            self._rest[output] = rest
        return [self._end(output, line) for line in lines]

    def unfinished(self, output: Output) -> str:
        """What there is of a line that has not ended, made safe."""
        return _shown(self._rest.get(output, "")[-_LONGEST:])

    def begin(self) -> list[Piece]:
        """What has come of unfinished lines since the last time: to be shown before they end.

        A line that starts over, as progress bars do, is handed out when it first does and when it ends.
        """
        pieces = []
        for output, rest in self._outputs():
            half = _HALF_ESCAPE.search(rest)
            cut = half.start() if half else len(rest)
            begun = output in self._begun
            if cut and not (begun and "\r" in rest):
                self._rest[output] = rest[cut:]
                self._begun.add(output)
                pieces.append(Piece(output, _shown(rest[:cut]), continues=begun, ends=False))
        return pieces

    def end(self, vm: str | None = None) -> list[Piece]:
        """The ends of unfinished lines, of one VM or of all."""
        unfinished = {*self._begun, *(output for output, _ in self._outputs())}
        ended = [output for output in sorted(unfinished) if vm is None or output[0] == vm]
        return [self._end(output, self._rest.pop(output, "")) for output in ended]

    @property
    def waiting(self) -> bool:
        """Whether there is anything of lines that have not ended."""
        return any(True for _ in self._outputs())

    def _outputs(self) -> list[tuple[Output, str]]:
        return [(output, rest) for output, rest in self._rest.items() if rest and output[1] is not Stream.CONSOLE]

    def _end(self, output: Output, line: str) -> Piece:
        continues = output in self._begun and "\r" not in line.rstrip("\r")
        self._begun.discard(output)
        return Piece(output, _shown(line), continues)


def _shown(line: str) -> str:
    """A carriage return starts a line over, as a terminal would show it."""
    return safe_line(line.rstrip("\r").rsplit("\r", 1)[-1])
