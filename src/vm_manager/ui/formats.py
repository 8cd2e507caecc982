"""The ways of standard error: drawn for a person, plain text, one JSON object a line, or a GitHub workflow's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import StrEnum


class ErrorFormat(StrEnum):
    """See --error-format."""

    FANCY = "fancy"
    PLAIN = "plain"
    JSON = "json"
    GITHUB = "github"


def choose_format(wanted: str, color: str, environment: Mapping[str, str] = os.environ) -> ErrorFormat:
    """The format of standard error.

    wanted: --error-format, or empty: VMCTL_ERROR_FORMAT counts, else where it goes: github in a workflow of GitHub's, fancy on
    a terminal or when colours are demanded, else plain.
    """
    named = wanted or environment.get("VMCTL_ERROR_FORMAT", "")
    if named in list(ErrorFormat):
        return ErrorFormat(named)
    if environment.get("GITHUB_ACTIONS") == "true":
        return ErrorFormat.GITHUB
    on_terminal = sys.stderr.isatty() and environment.get("TERM") != "dumb"
    return ErrorFormat.FANCY if on_terminal or color == "always" else ErrorFormat.PLAIN
