"""Findings about the host, told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_manager.diagnostics.errors import HostError
    from vm_manager.diagnostics.model import Diagnostic

_EMULATED = "guests are emulated in software (TCG): slower, otherwise the same"


class Warnings:
    """Findings about the host, each of which becomes a warning once, however many machines there are."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def once(self, finding: HostError) -> Iterator[Diagnostic]:
        """The finding as a warning, unless it has been one."""
        from vm_manager.diagnostics.errors import KvmUnusable

        if str(finding) not in self._seen:
            self._seen.add(str(finding))
            notes = (_EMULATED,) if isinstance(finding, KvmUnusable) else ()
            yield finding.enrich(notes=notes).as_warning()
