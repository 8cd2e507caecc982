"""What VMs are to run on: the host, and the backend with what it can do."""

from __future__ import annotations

from dataclasses import dataclass

from vm_manager.domain.capabilities import Capabilities
from vm_manager.domain.host_facts import HostFacts


@dataclass(frozen=True, kw_only=True)
class Platform:
    """host: this machine; backend: the name of the one for new VMs; capabilities: what it can do."""

    host: HostFacts
    backend: str
    capabilities: Capabilities
