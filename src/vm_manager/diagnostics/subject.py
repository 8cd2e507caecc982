"""Whom a failure concerns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """The virtual machine, its instance id, the backend and the connection (data directory)."""

    vm: str | None = None
    id: str | None = None
    backend: str | None = None
    connection: str | None = None
