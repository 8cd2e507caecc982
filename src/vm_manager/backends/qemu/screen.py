"""What a guest shows on its screen, as long as that is in text mode: firmware, boot loaders, kernels without a frame buffer.

Much of what goes wrong before a kernel runs is said there and nowhere else. Source: IBM VGA; in mode 3 the text of 80 by 25
characters lies at physical address 0xb8000, a character of code page 437 and its attribute each.
"""

from __future__ import annotations

from pathlib import Path

from vm_manager.backends.qemu.query import physical_memory

_TEXT, _COLUMNS, _ROWS = 0xB8000, 80, 25


def read_screen(home: Path) -> tuple[str, ...]:
    """The lines that are not empty; none in graphics mode, or when QEMU does not tell."""
    memory = physical_memory(home, _TEXT, _COLUMNS * _ROWS)
    return text_lines(memory) if memory else ()


def text_lines(memory: bytes) -> tuple[str, ...]:
    """The lines of a text mode's memory; none when it is no such thing."""
    characters = memory[::2]
    # In graphics mode the addresses hold pixels, or nothing answers and every bit is set.
    if len(characters) != _COLUMNS * _ROWS or sum(_is_text(code) for code in characters) < len(characters) * 9 // 10:
        return ()
    text = characters.replace(b"\0", b" ").decode("cp437")
    lines = (text[start : start + _COLUMNS].rstrip() for start in range(0, len(text), _COLUMNS))
    return tuple(line for line in lines if line)


def _is_text(code: int) -> bool:
    return code == 0 or 0x20 <= code < 0x7F
