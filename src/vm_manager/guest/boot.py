"""From power-on to ready: which phase the guest is in, and why it came no further.

Ready means: with a seed, cloud-init is done; without one, or where no more is asked for, a login works.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vm_manager.diagnostics.errors import (
    AuthFailed,
    BootTimeout,
    HostKeyMismatch,
    SshFailed,
    VmError,
)
from vm_manager.diagnostics.model import Evidence, Subject
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import EventSink, GuestOutput, PhaseReached, Stream, Warned
from vm_manager.domain.instance import Endpoint
from vm_manager.guest.cloud_init_watch import CloudInitWatch, await_cloud_init
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.openssh import known_hosts_text
from vm_manager.guest.ssh import SshSession, offered_host_key
from vm_manager.state.files import write_atomically

_log = logging.getLogger(__name__)

# Short, and then anew: QEMU repeats the opening of a connection to a silent guest at growing intervals only.
_BANNER_TIMEOUT_S = 0.5
_PAUSE_S = 0.2
# A right key is refused while pam_nologin(8) keeps everybody out until the boot is over, or until cloud-init has made the
# account in images whose sshd does not wait for it.
_AUTH_GRACE_S = 45.0
_CONSOLE_CHUNK = 64 * 1024


class Phase(StrEnum):
    """How far the guest is, as seen from outside, and what is waited for then."""

    BOOT = "booting"
    SSHD = "network up"
    LOGIN = "sshd up"
    CLOUD_INIT = "logged in"

    @property
    def waiting_for(self) -> str:
        """What ends the phase."""
        return _WAITING_FOR[self][0]

    @property
    def hint(self) -> str:
        """What to look at when it never ends."""
        return _WAITING_FOR[self][1]

    @property
    def seen(self) -> str:
        """What a connection to the forwarded port showed."""
        return _SEEN[self]


_WAITING_FOR = {
    Phase.BOOT: ("the guest's network", "the guest may not boot, or has no network: its console shows how far it came"),
    Phase.SSHD: ("sshd", "the guest has network, but nothing listens on its SSH port: is openssh-server in the image?"),
    Phase.LOGIN: ("a login", "sshd answers, but nobody can log in: see the console for what cloud-init did"),
    Phase.CLOUD_INIT: (
        "cloud-init",
        "cloud-init still works in the guest: `vmctl ssh` and look at `cloud-init status --long`",
    ),
}


_SEEN = {
    Phase.BOOT: "accepted by QEMU; the guest stays silent",
    Phase.SSHD: "refused by the guest, or closed at once",
    Phase.LOGIN: "sshd's banner came",
    Phase.CLOUD_INIT: "logged in",
}


@dataclass(frozen=True, kw_only=True)
class Guest:
    """What is needed to wait for a guest.

    endpoint: looked up at every attempt, None while it has no address.
    require_alive: raises when the machine is gone.
    cloud_init: how to wait for cloud-init; None when a login is enough.
    host_key_verified: whether a connection with the pinned key has been made before.
    """

    name: str
    endpoint: Callable[[], Endpoint | None]
    credentials: Credentials
    known_hosts: Path
    console_log: Path
    cloud_init: CloudInitWatch | None
    host_key_verified: bool
    require_alive: Callable[[], None]


def wait_until_ready(guest: Guest, deadline: Deadline, emit: EventSink) -> None:
    """Return when the guest is ready.

    Raises: `guest::boot_timeout`, `cloudinit::failed`, `qemu::exited`, `ssh::auth_failed`, `ssh::host_key_mismatch`,
    `ssh::no_key`.
    """
    wait = _Wait(guest, deadline, emit)
    while not deadline.expired:
        wait.look()
        try:
            with wait.login() as session:
                if guest.cloud_init:
                    wait.enter(Phase.CLOUD_INIT)
                    await_cloud_init(session, guest.cloud_init, deadline, wait.look, wait.warn)
                return
        except SshFailed as error:
            # Not yet up, or rebooting in the middle of it.
            _log.debug("not ready: %s", error.diagnostic.causes)
        except TimeoutError:
            break
        deadline.pause(_PAUSE_S)
    raise wait.timed_out()


class _Wait:
    """One wait: the phase it is in, and the console it listens to."""

    def __init__(self, guest: Guest, deadline: Deadline, emit: EventSink) -> None:
        self.guest, self.deadline, self.emit = guest, deadline, emit
        self._phase: Phase | None = None
        self._console = _ConsoleReader(guest.console_log)
        self._first_refusal_s: float | None = None
        self._verified = guest.host_key_verified
        self.enter(Phase.BOOT)

    def enter(self, phase: Phase) -> None:
        """Note and tell a phase, when it is another one than before."""
        if phase is not self._phase:
            self._phase = phase
            self.emit(PhaseReached(self.guest.name, phase, phase.waiting_for))

    def look(self) -> None:
        """See that the machine lives, and pass on what its console said."""
        self.guest.require_alive()
        if text := self._console.read():
            self.emit(GuestOutput(self.guest.name, Stream.CONSOLE, text))

    def login(self) -> SshSession:
        """Try to log in once. Raises: `ssh::failed` when it is too early for it, and what `wait_until_ready` raises."""
        endpoint = self.guest.endpoint()
        if endpoint is None:
            raise SshFailed("the guest has no address yet")
        self.enter(probe(endpoint))
        if self._phase is not Phase.LOGIN:
            raise SshFailed("sshd does not answer yet")
        try:
            return self._connect(endpoint)
        except HostKeyMismatch as mismatch:
            if self._verified:
                raise
            self._trust_on_first_use(endpoint)
            raise SshFailed("another key is pinned now") from mismatch
        except AuthFailed as refusal:
            if self._first_refusal_s is None:
                self._first_refusal_s = self.deadline.elapsed_s
            if self.deadline.elapsed_s - self._first_refusal_s > _AUTH_GRACE_S:
                raise
            self.deadline.pause(1.0)
            raise SshFailed("the key is refused so far") from refusal

    def _connect(self, endpoint: Endpoint) -> SshSession:
        guest = self.guest
        return SshSession.connect(
            endpoint, alias=guest.name, credentials=guest.credentials, known_hosts=guest.known_hosts
        )

    def _trust_on_first_use(self, endpoint: Endpoint) -> None:
        """Images that do not take the seed's host key keep their own: pin that, once, and say so."""
        key = offered_host_key(endpoint)
        write_atomically(self.guest.known_hosts, known_hosts_text(self.guest.name, (key,)).encode())
        self._verified = True
        finding = HostKeyMismatch(
            "the guest did not take the SSH host key of its seed, so its first connection could not be verified",
            help=("nothing, if the image is known to bring a host key of its own: that one is pinned from now on",),
            notes=(f"pinned: {key}",),
        )
        self.warn(finding)

    def warn(self, finding: VmError) -> None:
        """Tell a finding that stops nothing."""
        self.emit(Warned(self.guest.name, finding.enrich(subject=Subject(vm=self.guest.name)).as_warning()))

    def timed_out(self) -> BootTimeout:
        """The failure at the deadline, by phase."""
        phase = self._phase or Phase.BOOT
        return BootTimeout(
            "the guest was not ready in {seconds} s: still waiting for {what}",
            {"seconds": round(self.deadline.timeout_s or 0), "what": phase.waiting_for},
            help=(phase.hint, "if it is only slow, `boot-timeout` in the VMFile gives it longer"),
            evidence=(Evidence("probe", "the last attempt to reach it by SSH", (phase.seen,)),),
            timeout_s=self.deadline.timeout_s or 0,
            elapsed_s=self.deadline.elapsed_s,
        )


class _ConsoleReader:
    """Hands out what was added to the console's log since the last time."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def read(self) -> str:
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                # A flooding guest must not keep us here: only the newest part is of interest.
                # A log that has become shorter was begun anew.
                file.seek(max(self._offset if self._offset <= size else 0, size - _CONSOLE_CHUNK))
                data = file.read(_CONSOLE_CHUNK)
                self._offset = file.tell()
        except OSError:
            return ""
        return data.decode(errors="replace")


def probe(endpoint: Endpoint) -> Phase:
    """How far the guest is, by a raw connection.

    QEMU accepts connections to a forwarded port by itself: a guest without network stays silent, one with network but
    without sshd closes at once, and then comes the banner. SSH libraries blur these into one.
    """
    try:
        with socket.create_connection((endpoint.host, endpoint.port), _BANNER_TIMEOUT_S) as connection:
            connection.settimeout(_BANNER_TIMEOUT_S)
            return Phase.LOGIN if connection.recv(256).startswith(b"SSH-") else Phase.SSHD
    except TimeoutError:
        return Phase.BOOT
    except OSError:
        return Phase.SSHD
