"""When vmctl itself is at fault: a report on disk, two lines on the terminal, never a traceback."""

from __future__ import annotations

import platform
import shlex
import sys
import traceback
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from vm_manager.diagnostics.errors import Bug
from vm_manager.diagnostics.redact import redact
from vm_manager.diagnostics.urls import cut_argument, cut_urls, without_secrets_of
from vm_manager.host.paths import data_home
from vm_manager.state.files import make_dir, write_atomically
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore


def report_crash(error: BaseException) -> Bug:
    """The failure to show for an exception that should not have been possible; its traceback goes to a file."""
    try:
        path = _write(error)
    except Exception as failure:  # it may be the very call that has failed before
        return Bug("{type}: {text}", _what(error), notes=(f"no crash report could be written: {failure}",))
    return Bug("{type}: {text}", _what(error), help=(f"please report it, with the crash report {path}",))


def _what(error: BaseException) -> dict[str, str | int]:
    # Cut at the end: half a secret would not be recognised as one.
    return {"type": type(error).__name__, "text": _without_secrets(" ".join(str(error).split()))[:200]}


def _without_secrets(text: str) -> str:
    """A text without credentials; the URLs of the command line are known, in whatever form it quotes them."""
    for argument in sys.argv:
        if "://" in argument:
            text = without_secrets_of(text, argument.partition("://")[2])
    return redact(cut_urls(text))


def _write(error: BaseException) -> Path:
    directory = InstanceStore(DataDir(data_home())).data.crashes
    make_dir(directory)
    now = datetime.now(UTC)
    text = "\n".join(
        (
            f"vmctl {version('vm-manager')}, Python {platform.python_version()}, {platform.platform()}",
            f"time: {now.isoformat(timespec='seconds')}",
            f"command: {shlex.join(map(cut_argument, sys.argv))}",
            "",
            # Without local variables: they could hold keys and user-data.
            _without_secrets("".join(traceback.format_exception(error))),
        )
    )
    path = directory / f"{now:%Y%m%dT%H%M%S%f}.txt"
    write_atomically(path, redact(text).encode(errors="replace"))
    return path
