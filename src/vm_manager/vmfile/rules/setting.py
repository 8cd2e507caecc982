"""What rules are given beside the blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vm_manager.domain.platform import Platform
from vm_manager.vmfile.flaws import Flaw
from vm_manager.vmfile.problems import Problems


@dataclass
class Setting:
    """problems: where findings go; directory: the VMFile's; platform: what the VMs run on, where that is known.

    seen: flaws of files that have been looked at, by kind and file: a thousand VMs may name the same ones. read_bytes: how much
    has been read of files that are parsed.
    """

    problems: Problems
    directory: Path
    platform: Platform | None = None
    seen: dict[tuple[str, object], list[Flaw]] = field(default_factory=dict)
    read_bytes: int = 0
