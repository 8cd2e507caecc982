"""What a guest shows on its screen, as long as that is in text mode: firmware, boot loaders, kernels without a frame buffer.

Much of what goes wrong before a kernel runs is said there and nowhere else. Source: IBM VGA; in mode 3 the text of 80 by 25
characters is a character of code page 437 and its attribute each. Linux and boot loaders scroll by showing another part of that
memory, so that what was said before is still there.
"""

from __future__ import annotations

from pathlib import Path

from vm_manager.backends.qemu.query import vga_text

_COLUMNS, _ROWS = 80, 25
_ROWS_BEFORE = 75


def read_screen(home: Path) -> tuple[str, ...]:
    """The lines that are not empty, after those that have scrolled off; none in graphics mode, or when QEMU does not tell."""
    memory = vga_text(home, columns=_COLUMNS, rows=_ROWS, rows_before=_ROWS_BEFORE)
    return text_lines(memory) if memory else ()


def text_lines(memory: bytes) -> tuple[str, ...]:
    """The lines of a text mode's memory; none when it is no such thing. A line that fills its row goes on in the next."""
    characters = memory[::2]
    # In graphics mode the addresses hold pixels, or nothing answers and every bit is set.
    whole = len(characters) >= _COLUMNS * _ROWS and len(characters) % _COLUMNS == 0
    if not whole or sum(_is_text(code) for code in characters) < len(characters) * 9 // 10:
        return ()
    text = characters.replace(b"\0", b" ").decode("cp437")
    lines = [""]
    for start in range(0, len(text), _COLUMNS):
        row = text[start : start + _COLUMNS]
        lines[-1] += row
        if row[-1] == " ":
            lines.append("")
    return tuple(line.rstrip() for line in lines if line.strip())


def _is_text(code: int) -> bool:
    return code == 0 or 0x20 <= code < 0x7F
