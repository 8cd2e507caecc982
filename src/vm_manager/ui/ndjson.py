"""Standard error for programs: every line is one JSON object, a diagnostic, an event or a log record.

The objects are described by `schemas/stderr.json`. Fields may be added; nobody needs to parse a string.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace

from vm_manager.diagnostics.model import Diagnostic
from vm_manager.domain.events import Event, StepFailed, StepFinished, StepStarted, Warned
from vm_manager.ui.documents import SCHEMA, diagnostic_item
from vm_manager.ui.report import report

# Half a surrogate pair, as Python keeps bytes that are no UTF-8; strict readers of JSON refuse it.
_SURROGATE = re.compile(r"\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def diagnostic_line(diagnostic: Diagnostic) -> str:
    """A diagnostic, with its plain form under `rendered`."""
    rendered = "\n".join(line.text for line in report(diagnostic))
    return _line("diagnostic", **diagnostic_item(diagnostic), rendered=rendered)


def event_line(event: Event) -> str:
    """An event; its name is the class's in snake_case. A warning is a diagnostic."""
    if isinstance(event, Warned):
        known = event.diagnostic.subject.vm or event.vm is None
        subject = event.diagnostic.subject if known else replace(event.diagnostic.subject, vm=event.vm)
        return diagnostic_line(replace(event.diagnostic, subject=subject))
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    if isinstance(event, StepStarted):
        from vm_manager.ui.outcomes import announce

        values["title"] = announce(values.pop("doing"))
    if isinstance(event, StepFinished):
        from vm_manager.ui.outcomes import describe

        values["outcome"] = describe(event.outcome)
    if isinstance(event, StepFailed):
        # The whole of it follows when the command ends.
        values["diagnostic"] = event.diagnostic.code
    return _line("event", event=_WORDS.sub("_", type(event).__name__).lower(), **values)


def log_line(level: str, logger: str, message: str) -> str:
    """A log record, for -v and VMCTL_LOG."""
    return _line("log", level=level.lower(), logger=logger, message=message)


def _line(kind: str, /, **values: object) -> str:
    # ASCII, so that no reader stumbles over an encoding.
    line = json.dumps({"$type": kind, "schema": SCHEMA, **values})
    return _SURROGATE.sub(r"\\ufffd", line)
