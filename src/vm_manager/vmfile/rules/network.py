"""Networks of a VM, and ports of the host, which all VMs share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.spec import NetworkMode
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.problems import Problems
from vm_manager.vmfile.rules.setting import Setting

_LOOPBACK, _EVERY = "127.0.0.1", "0.0.0.0"


def _none_stands_alone(vm: Block, setting: Setting) -> None:
    networks = list(vm.all("network"))
    none = next((network for network in networks if network.text == NetworkMode.NONE), None)
    other = next((network for network in networks if network is not none), None)
    if none and other:
        setting.problems.add(
            none.span, '`network "none"` together with another network', "conflicts with the other one", "remove one of the two",
            related=((other.span, "the other one"),),
        )  # fmt: skip


def _privileged_ports(vm: Block, setting: Setting) -> None:
    if setting.platform is None:
        return
    for forward in _forwards((vm,)):
        if forward.port < setting.platform.host.lowest_port:
            setting.problems.warn(
                forward.span, f"port {forward.port} of the host requires root", "privileged",
                f"choose {setting.platform.host.lowest_port} or above, such as host={8000 + forward.port}",
            )  # fmt: skip


@dataclass(frozen=True)
class _Forward:
    """span: that of host=."""

    vm: str
    port: int
    protocol: str
    address: str
    span: Span

    def collides(self, other: _Forward) -> bool:
        """Whether both, of the same port and protocol, would listen on the same address."""
        return self.address == other.address or _EVERY in (self.address, other.address)


def _forwards(vms: Sequence[Block]) -> Iterator[_Forward]:
    for vm in vms:
        for network in vm.all("network"):
            for block in network.all("forward"):
                key, host = block.first("host"), block.get("host", int)
                if key and host:
                    protocol, address = block.value("protocol", str, "tcp"), block.value("address", str, _LOOPBACK)
                    yield _Forward(vm.text, host.value, protocol, address, key.name_span.to(host.span))


def _ports_are_free(vms: Sequence[Block], problems: Problems) -> None:
    taken: dict[tuple[int, str], list[_Forward]] = {}
    for forward in _forwards(vms):
        others = taken.setdefault((forward.port, forward.protocol), [])
        first = next((other for other in others if other.collides(forward)), None)
        if first is None:
            others.append(forward)
            continue
        where = f"first here, for VM '{first.vm}'" if first.vm != forward.vm else "first here"
        problems.add(
            forward.span, f"port {forward.port} of the host is forwarded twice", "again here",
            "choose another port for one of the two", related=((first.span, where),),
        )  # fmt: skip


NETWORK_RULES = (_none_stands_alone, _privileged_ports)
PORT_RULES = (_ports_are_free,)
