"""Paths in a VMFile."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(text: str, directory: Path) -> Path:
    """The absolute path that a text names: `~` is a home directory, relative ones start from the VMFile's directory.

    Raises: RuntimeError when it begins with the home directory of nobody.
    """
    return Path(os.path.abspath(directory / Path(text).expanduser()))


def real(text: str, directory: Path) -> Path:
    """The same without links: what lies behind them is shared, wherever they lead later. Raises: as `absolute`."""
    return Path(os.path.realpath(absolute(text, directory)))


def guest_path(text: str) -> str:
    """A path in the guest in its shortest form: two that are written differently are the same place. It begins with one slash."""
    return "/" + os.path.normpath(text).lstrip("/")
