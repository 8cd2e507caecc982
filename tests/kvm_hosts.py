"""Hosts with every kind of KVM, on a host with any: a /dev of their own, and a QEMU that shows under KVM what it shows there.

The kernel's part is real: /dev/kvm is missing, or is a file that may or may not be opened. QEMU's part, under `-accel kvm` only,
is real QEMU under TCG, led astray as the real one was seen to be on such hosts; see `stand_in_qemu.py`.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from driver import Vmctl

#: What `-accel kvm` does, for the stand-in. The probe passes in those after the first four.
KINDS = (
    "absent",
    "forbidden",
    "aborts",
    "hangs",
    "half",
    "vanishes",
    "triple-faults",
    "stands-still",
    "stops",
    "stumbles",
    "works",
)

_NODES = ("null", "zero", "full", "random", "urandom", "tty", "kmsg")
_SCRIPT = r"""
set -euo pipefail
dev=$1 kvm=$2
shift 2
mount -t tmpfs tmpfs "$dev"
for node in NODES; do touch "$dev/$node"; mount --bind "/dev/$node" "$dev/$node"; done
for directory in pts shm; do mkdir "$dev/$directory"; mount --rbind "/dev/$directory" "$dev/$directory"; done
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
[ -z "$kvm" ] || ln -s "$kvm" "$dev/kvm"
mount --move "$dev" /dev
exec "$@"
""".replace("NODES", " ".join(_NODES))


def with_device(dev: Path, kvm: str) -> tuple[str, ...]:
    """A command that runs another one with a /dev of its own, made in an empty directory, whose /dev/kvm leads to a path."""
    return ("unshare", "-m", "bash", "-c", _SCRIPT, "bash", str(dev), kvm)


def on_host(vmctl: Vmctl, base: Path, kind: str, *, stops: str = "") -> Vmctl:
    """The same, on a host of that kind. stops: "at once", or when a file says so."""
    assert kind in KINDS
    tools, dev, kvm = base / "tools", base / "dev", base / "kvm"
    tools.mkdir()
    dev.mkdir()
    kvm.touch()
    stand_in = tools / "qemu-system-x86_64"
    shutil.copy(Path(__file__).with_name("stand_in_qemu.py"), stand_in)
    host = {
        "KVM_HOST": kind,
        "KVM_HOST_FILE": str(kvm),
        "KVM_STOPS": stops,
        "REAL_QEMU": str(shutil.which("qemu-system-x86_64")),
    }
    text = stand_in.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1)
    stand_in.write_text(text.replace("_HOST: dict[str, str] = {}", f"_HOST = {host!r}", 1))
    stand_in.chmod(0o755)
    namespace = with_device(dev, "" if kind == "absent" else str(kvm))
    if kind == "forbidden":
        kvm.chmod(0)
        # Even root may not open it then.
        namespace = (*namespace, "setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all")
    env = {
        **vmctl.env,
        "PATH": f"{tools}:{vmctl.environment()['PATH']}",
        # It keeps notes outside the VM's directory, and leads the real one to other files than the VM's.
        "VMCTL_SANDBOX": "off",
    }
    return replace(vmctl, env=env, prefix=namespace)
