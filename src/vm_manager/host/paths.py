"""Where files belong, after the XDG Base Directory Specification."""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.diagnostics.errors import IoFailed

#: What the directory of vmctl's data is called, wherever it is.
DATA_DIRECTORY = "vmctl"


def data_home() -> Path:
    """The directory of vmctl's data: `$XDG_DATA_HOME/vmctl`, by default `~/.local/share/vmctl`."""
    return _base("XDG_DATA_HOME", ".local/share") / DATA_DIRECTORY


def cache_home() -> Path:
    """The directory of what can be found out again: `$XDG_CACHE_HOME/vmctl`, by default `~/.cache/vmctl`."""
    return _base("XDG_CACHE_HOME", ".cache") / "vmctl"


def _base(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # "All paths set in these environment variables must be absolute. If an implementation encounters a relative path
    # […] it should consider the path invalid and ignore it."
    if os.path.isabs(value):
        return Path(value)
    try:
        return Path.home() / default
    except RuntimeError as error:
        home = f"/var/tmp/vmctl-{os.geteuid()}"
        raise IoFailed(
            "there is no home directory to keep vmctl's files in: HOME is not set, and user {uid} is not in /etc/passwd",
            {"uid": os.geteuid()},
            help=(f"make one: `mkdir -m 700 {home}`, then `export HOME={home}`",),
        ) from error
