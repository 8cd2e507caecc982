"""Directories of the host in a guest."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from vm_manager.diagnostics.spans import Span

_TAG_DIGITS = 12


class ShareType(StrEnum):
    """By which file system a guest mounts them, in mount(8)'s words. NINE_P: by 9p, where the host has no virtiofsd."""

    VIRTIOFS = "virtiofs"
    NINE_P = "9p"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A directory of the host in the guest. source: its absolute path, without links. target: where the guest has it.

    span: of the source in the VMFile.
    """

    source: str
    target: str
    read_only: bool = False
    span: Span | None = field(default=None, compare=False)

    @property
    def tag(self) -> str:
        """What the guest mounts. Made from the target: what a guest has in its fstab never gets another directory's."""
        import hashlib  # `vmctl list` does without

        return f"vmctl-{hashlib.sha256(self.target.encode()).hexdigest()[:_TAG_DIGITS]}"

    @property
    def words(self) -> str:
        """For displays."""
        return f"{self.source} on {self.target}{' (read-only)' if self.read_only else ''}"
