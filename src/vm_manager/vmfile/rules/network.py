"""Networks of a VM, and ports of the host, which all VMs share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.network import Forward, NetworkMode, Transport
from vm_manager.vmfile.blocks import Block, Located
from vm_manager.vmfile.problems import Problems
from vm_manager.vmfile.rules.setting import Setting


def _none_stands_alone(vm: Block, setting: Setting) -> None:
    networks = list(vm.all("network"))
    none = next((network for network in networks if network.text == NetworkMode.NONE), None)
    other = next((network for network in networks if network is not none), None)
    if none and other:
        setting.problems.add(
            none.span, '`network "none"` together with another network', "conflicts with the other one", "remove one of the two",
            related=((other.span, "the other one"),),
        )  # fmt: skip


def _one_user_network(vm: Block, setting: Setting) -> None:
    of_qemu = [network for network in vm.all("network") if network.text == NetworkMode.USER]
    for network in of_qemu[1:]:
        setting.problems.add(
            network.span, '`network "user"` twice in one VM', "again here", "remove one of the two",
            related=((of_qemu[0].span, "first here"),),
        )  # fmt: skip


def _isolated_beside_a_bridge(vm: Block, setting: Setting) -> None:
    tap = next((network for network in vm.all("network") if network.text == NetworkMode.TAP), None)
    for network in vm.all("network"):
        isolated = network.get("isolated", bool)
        if tap and isolated and isolated.value:
            setting.problems.warn(
                isolated.span, "`isolated` together with `network \"tap\"`", "does not isolate the guest",
                "remove one of the two: through the bridge, the guest reaches the host and others",
                related=((tap.span, "on a bridge"),),
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
    """span: that of host=. port: of this host. asked: what of it can be compared, whatever port of the guest it leads to."""

    vm: str
    port: int
    asked: Forward
    span: Span


def _forwards(vms: Sequence[Block]) -> Iterator[_Forward]:
    for vm in vms:
        for network in vm.all("network"):
            for block in network.all("forward"):
                key, host = block.first("host"), block.get("host", int)
                if key and host:
                    transport = Transport(block.value("protocol", str, Forward.transport))
                    address, guest = block.value("address", str, Forward.address), block.value("guest", int, 0)
                    asked = Forward(guest=guest, host=host.value, transport=transport, address=address)
                    yield _Forward(vm.text, host.value, asked, key.name_span.to(host.span))


def _ports_are_free(vms: Sequence[Block], problems: Problems) -> None:
    taken: dict[str, list[_Forward]] = {}
    for forward in _forwards(vms):
        others = taken.setdefault(forward.asked.host_port, [])
        first = next((other for other in others if other.asked.listens_beside(forward.asked)), None)
        if first is None:
            others.append(forward)
            continue
        where = f"first here, for VM '{first.vm}'" if first.vm != forward.vm else "first here"
        problems.add(
            forward.span, f"port {forward.port} of the host is forwarded twice", "again here",
            "choose another port for one of the two", related=((first.span, where),),
        )  # fmt: skip


def _addresses_are_unique(vms: Sequence[Block], problems: Problems) -> None:
    first: dict[str, Located[str]] = {}
    for vm in vms:
        for network in vm.all("network"):
            mac = network.get("mac", str)
            if mac and first.setdefault(mac.value.lower(), mac) is not mac:
                problems.add(
                    mac.span, f"the MAC address {mac.value} is given twice", "again here", "choose another one for one of them",
                    related=((first[mac.value.lower()].span, "first here"),),
                )  # fmt: skip


NETWORK_RULES = (_none_stands_alone, _one_user_network, _isolated_beside_a_bridge, _privileged_ports)
PORT_RULES = (_ports_are_free, _addresses_are_unique)
