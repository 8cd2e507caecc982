"""Why a guest whose boot is over cannot be reached, read off its console.

Sources: agetty(8); cloud-init's final_message and its table of network devices, `cloudinit/netinfo.py`; systemd's console status.
"""

from __future__ import annotations

import re

from vm_manager.diagnostics.errors import BootFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.redact import redact_lines
from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.spec import SshAccess

_QUOTED = 6
_LINE_CHARS = 500
# From where on a console tells of this boot, and no longer of the one before or of its end.
_BOOT = re.compile(
    r"Linux version \d|SeaBIOS \(version|BdsDxe: starting|reboot: |Reached target \S*(?:reboot|poweroff|shutdown)"
)
_PROMPT = re.compile(r"^[\w.-]{1,64} login: ?", re.MULTILINE)
_FINISHED = re.compile(r"Cloud-init v\. \S{1,100} finished at ")
_CLOUD_INIT = re.compile(r"Cloud-init v\. ")
# `ci-info: |  ens3  |  True  |  10.0.2.15  |  255.255.255.0  | global | 52:54:00:12:34:56 |`
_CARD = re.compile(r"ci-info: \|\s*([\w.@-]{1,32})\s*\|\s*(?:True|False)\s*\|\s*(\S{1,64})\s*\|")
_SSHD = re.compile(r"\[FAILED\].{0,100}(?:ssh|Secure Shell)|sshd?\.service.{0,100}(?:failed|masked)", re.IGNORECASE)
# `[  OK  ] Started ssh.service - OpenBSD Secure Shell server.`
_STARTED = re.compile(r"Started (?:\S{0,100}sshd?\.service|OpenSSH|OpenBSD Secure Shell)")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


def this_boot(console: str) -> str:
    """What the console has said since the guest started last."""
    return _BOOT.split(console)[-1]


def cloud_init_has_finished(console: str) -> bool:
    """Whether cloud-init says so of this boot."""
    return _FINISHED.search(this_boot(console)) is not None


def boot_is_over(console: str) -> bool:
    """Whether the guest says that it has nothing more to start: cloud-init has finished, or a login is asked for without one."""
    text = this_boot(console)
    if _CLOUD_INIT.search(text):
        return _FINISHED.search(text) is not None
    return _PROMPT.search(text) is not None


def sshd_has_started(console: str) -> bool:
    """Whether the guest's init system says so of this boot."""
    return _STARTED.search(this_boot(console)) is not None


def lacks_cloud_init(console: str) -> bool:
    """Whether a boot is over, and cloud-init has not said a word in it."""
    return boot_is_over(console) and _CLOUD_INIT.search(this_boot(console)) is None


def unreachable(name: str, console: str, *, silent: bool, needs_cloud_init: bool, port: int) -> BootFailed:
    """The failure of a guest that is up, and whose port stays closed.

    silent: whether its network does not answer at all. needs_cloud_init: whether nobody gets in without cloud-init.
    port: where sshd should listen in it.
    """
    text = this_boot(console)
    lines = [line[:_LINE_CHARS] for line in redact_lines(safe_lines(text)) if line.strip()]
    why, advice = _network(text) if silent else no_sshd(port)
    helps = [advice, f"`vmctl console {name}` opens its serial console, which works without a network"]
    if needs_cloud_init and lacks_cloud_init(console):
        why = f"cloud-init did not run in it, and {why}"
        helps.insert(0, _NEEDS_CLOUD_INIT)
    telling = (_SSHD, _PROMPT, _FINISHED) if not silent else (_CARD, _PROMPT, _FINISHED)
    quoted = tuple(line for line in lines if any(pattern.search(line) for pattern in telling))[-_QUOTED:]
    evidence = Evidence("console", "the guest's console", quoted, truncated=len(lines) > len(quoted))
    return BootFailed("the guest booted, but {why}", {"why": why}, help=tuple(helps), evidence=(evidence,))


_NEEDS_CLOUD_INIT = (
    "the image needs cloud-init, which sets up network, keys and users: install it there, or remove what disables it, such as "
    "/etc/cloud/cloud-init.disabled"
)


def no_sshd(port: int) -> tuple[str, str]:
    """What is wrong with a guest that has a network but no sshd at a port, and what helps."""
    if port != SshAccess.port:
        return (
            f"nothing listens on its port {port}",
            f"`port {port}` in the ssh block is the port of sshd in the guest, not one of this host: remove it if sshd "
            f"listens on {SshAccess.port}, then run `vmctl down` and `vmctl up`",
        )
    return (
        "nothing listens on its SSH port",
        "install openssh-server in the image and enable it; its service may be missing, masked or failing",
    )


def _network(text: str) -> tuple[str, str]:
    """What its table of network devices says of a guest whose network is silent."""
    found = [(name, address) for name, address in _CARD.findall(text) if name != "lo"]
    if not _CARD.search(text):
        return (
            "its network does not answer",
            "the guest needs DHCP on its first network card, and a driver for virtio-net",
        )
    if not found:
        return (
            "it has no network card",
            "use an image whose kernel has a driver for virtio-net; this one shows none",
        )
    if not any(_IPV4.fullmatch(address) for _, address in found):
        return (
            f"its network card {found[0][0]} has no address",
            "have the guest use DHCP on that card: see `network-config` in the VMFile, and the image's network service",
        )
    return (
        "its SSH port does not answer, although it has an address",
        "a firewall in the guest may drop connections to port 22: allow it there",
    )
