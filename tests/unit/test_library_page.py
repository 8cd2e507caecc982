"""docs/library.md: the pieces of code on the page are one program that prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)


def _outputs() -> list[str]:
    """What is to be printed: the text behind a piece of code."""
    return re.findall(r"```python\n.*?```\n\n(?:prints\n\n)?```text\n(.*?)```", _PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "disk.img").touch()
    (tmp_path / "VMFile.kdl").write_text("".join(_blocks("kdl")))
    return tmp_path


def test_every_piece_of_code_says_what_it_prints() -> None:
    assert len(_blocks("python")) == len(_outputs()) > 5


def test_the_page_prints_what_it_says(directory: Path) -> None:
    (directory / "program.py").write_text("\n\n".join(_blocks("python")))
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("".join(_outputs()), "")


def test_the_end_of_the_traceback_on_the_page_is_pythons(directory: Path) -> None:
    program = f'{_blocks("python")[0]}\nmanager.stop("wbe")\n'
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    shown = next(text for text in _blocks("text") if text.startswith("vm_manager.diagnostics"))
    assert done.stderr.endswith(f"\n{shown}")
