"""Standard error for programs: every line is one JSON object, a diagnostic, an event or a log record.

The objects are described by `schemas/stderr.json`. Fields may be added; nobody needs to parse a string.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields

from vm_manager.diagnostics.model import Diagnostic
from vm_manager.domain.events import Event, StepFailed, Warned
from vm_manager.ui.documents import SCHEMA, diagnostic_item
from vm_manager.ui.report import report

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def diagnostic_line(diagnostic: Diagnostic) -> str:
    """A diagnostic, with its plain form under `rendered`."""
    rendered = "\n".join(line.text for line in report(diagnostic))
    return _line("diagnostic", **diagnostic_item(diagnostic), rendered=rendered)


def event_line(event: Event) -> str:
    """An event; its name is the class's in snake_case. A warning is a diagnostic."""
    if isinstance(event, Warned):
        return diagnostic_line(event.diagnostic)
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    if isinstance(event, StepFailed):
        # The whole of it follows when the command ends.
        values["diagnostic"] = event.diagnostic.code
    return _line("event", event=_WORDS.sub("_", type(event).__name__).lower(), **values)


def log_line(level: str, logger: str, message: str) -> str:
    """A log record, for -v and VMCTL_LOG."""
    return _line("log", level=level.lower(), logger=logger, message=message)


def _line(kind: str, /, **values: object) -> str:
    # ASCII, so that no reader stumbles over an encoding.
    return json.dumps({"$type": kind, "schema": SCHEMA, **values})
