"""Paths in a VMFile."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(text: str, directory: Path) -> Path:
    """The absolute path that a text names: `~` is a home directory, relative ones start from the VMFile's directory.

    Raises: RuntimeError when it begins with the home directory of nobody.
    """
    return Path(os.path.abspath(directory / Path(text).expanduser()))
