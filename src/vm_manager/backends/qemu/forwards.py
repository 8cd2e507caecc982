"""Which ports of this host lead into a machine: those of the VMFile, and one for SSH. Source: QEMU's `hostfwd_add`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from vm_manager.backends.qemu.command import forward_rule
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.query import forwards_in, host_port
from vm_manager.backends.qemu.section import QemuData
from vm_manager.domain.network import Forward
from vm_manager.domain.spec import VmSpec
from vm_manager.host.ports import is_free

_log = logging.getLogger(__name__)


def wanted_forwards(spec: VmSpec, data: QemuData) -> tuple[Forward, ...]:
    """All forwards of a machine. Where the VMFile leaves the port open it is that of the last start, if that is free now.

    Otherwise `host` is None, and QEMU picks a port: two machines that start at the same time never get the same one.
    """
    if spec.user_network is None:
        return ()
    own = spec.ssh_forward
    declared = tuple(forward if forward.host else _as_last(forward, data.forwarded) for forward in spec.forwards)
    if own in spec.forwards:
        return declared
    return (_as_last(own, (replace(own, host=data.ssh_port),)), *declared)


def take_over(spec: VmSpec, here: Monitor, there: Monitor) -> tuple[Forward, ...]:
    """Let a machine that goes on in another QEMU listen there on the ports that the VMFile names.

    Returns those that it did not get, because somebody was quicker.
    """
    if spec.user_network is None:
        return ()
    card = f"net{spec.user_network}"
    meanwhile = _live(there)
    for forward in spec.forwards:
        if forward.host:
            _change(here, f"hostfwd_remove {card} {_listener(forward)}")
            _change(there, f"hostfwd_remove {card} {_listener(replace(forward, host=host_port(meanwhile, forward)))}")
            _change(there, f"hostfwd_add {card} {forward_rule(forward)}")
    return tuple(it for it in spec.forwards if it.host and it not in _live(there))


def _live(monitor: Monitor) -> tuple[Forward, ...]:
    return forwards_in(_change(monitor, "info usernet"))


def _change(monitor: Monitor, command: str) -> str:
    # What it answers to a change is for people: whether it was done is looked at.
    return str(monitor.execute("human-monitor-command", {"command-line": command}))


def _listener(forward: Forward) -> str:
    return f"{forward.transport}:{forward.address}:{forward.host}"


def _as_last(forward: Forward, last: Sequence[Forward]) -> Forward:
    before = next((it for it in last if it.host and it.leads_as(forward)), None)
    if before is None:
        return forward
    if is_free(before):
        return replace(forward, host=before.host)
    _log.info("port %s is taken: QEMU picks another", before.host)
    return forward
