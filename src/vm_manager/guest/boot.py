"""From power-on to ready: which phase the guest is in, and why it came no further.

Ready means: with a seed, cloud-init is done; without one, or where no more is asked for, a login works.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vm_manager.diagnostics.errors import (
    AuthFailed,
    BootFailed,
    BootTimeout,
    HostKeyMismatch,
    IpDiscoveryTimeout,
    KvmUnusable,
    QemuInternalError,
    SshFailed,
    VmError,
)
from vm_manager.diagnostics.model import Evidence, Subject
from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.architecture import Architecture
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import EventSink, GuestOutput, Noticed, PhaseReached, Stream, Warned
from vm_manager.domain.instance import Endpoint
from vm_manager.domain.machine import Machine
from vm_manager.domain.network import Peer
from vm_manager.domain.spec import SshAccess
from vm_manager.guest.clock import correct_clock
from vm_manager.guest.cloud_init_watch import CloudInitWatch, await_cloud_init, seed_not_found
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.doubt import kvm_failure, stopped_at_boot
from vm_manager.guest.forensics import Stage, boot_failure, ignored_seed, panic, stage_of, timer_was_late
from vm_manager.guest.login_shell import require_shell
from vm_manager.guest.mounts import GuestMounts, settle_mounts
from vm_manager.guest.openssh import known_hosts_text
from vm_manager.guest.peers import name_peers
from vm_manager.guest.progress import Console, Progress
from vm_manager.guest.ssh import KeysNotAccepted, SshSession, offered_host_key
from vm_manager.guest.unreachable import (
    boot_is_over,
    cloud_init_has_finished,
    lacks_cloud_init,
    no_sshd,
    sshd_has_started,
    this_boot,
    unreachable,
)
from vm_manager.state.files import write_atomically

_log = logging.getLogger(__name__)

# Short, and then anew: QEMU repeats the opening of a connection to a silent guest at growing intervals only.
_BANNER_TIMEOUT_S = 0.5
# Of a guest that has answered before: it is busy, and not without a network.
_BUSY_BANNER_TIMEOUT_S = 3.0
_PAUSE_S = 0.2
# A right key is refused while pam_nologin(8) keeps everybody out until the boot is over, or until cloud-init has made the
# account in images whose sshd does not wait for it. Where nothing is left that could let it in, it is tried for so long.
_AUTH_FINAL_S = 3.0
# The boot is over and its port is closed, or the key is refused: by so many looks, of one a second, must the guest have been idle
# more often than busy. What comes up by itself, such as an sshd that makes its keys first, or cloud-init on a slow host, is at
# work all the while.
_SETTLED_LOOKS = 20
# Between two logins with a key that was refused: on a host that is overloaded, a login alone keeps the guest at work for seconds.
_LONGEST_PAUSE_S = 6.0
# So long must nothing move before what stands at the end of the console is taken for the end.
_SILENT_S = 5.0
# Installers restart once or twice; one that does it so often and comes no further never will.
_RESTARTS = 5
_SCREEN_LINES = 12
# So often is a guest started again whose kernel did not get its timer in time.
_LATE_TIMERS = 2
_TIMER_WAS_LATE = "this host was too busy for its kernel's timer, and the kernel gave up: starting it again"
# Of the time, that a guest has to have waited for a CPU before that is a reason for its being late.
_OVERLOADED = 0.3
_LOCATE_EVERY_S = 5.0
_NOBODY_THERE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)
_UNNAMED_PEERS = "could not add the names of the other VMs to its /etc/hosts: the user needs sudo without a password"


class Phase(StrEnum):
    """How far the guest is, as seen from outside, and what is waited for then."""

    BOOT = "booting"
    KERNEL = "kernel started"
    USERSPACE = "system started"
    ADDRESS = "no address yet"
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

    def seen_at(self, endpoint: Endpoint | None, *, forwarded: bool) -> str:
        """What a connection to it showed. forwarded: whether it is a port of this host."""
        if endpoint is None:
            return "there was no address to connect to"
        return _SILENT if forwarded and self is Phase.BOOT else _SEEN[self]


_WAITING_FOR = {
    Phase.BOOT: (
        "the guest's network",
        "the guest may have failed to boot or have no network: its console shows how far it got",
    ),
    Phase.KERNEL: (
        "the guest's system to start",
        "the guest's kernel is running but has started nothing yet: see its console for what it waits for, often its root disk",
    ),
    Phase.USERSPACE: (
        "the guest's network",
        "the guest is running but has no address: it needs DHCP on its first network card, and a virtio-net driver",
    ),
    Phase.ADDRESS: (
        "the guest's address",
        "the guest is running, but no address of it is known: it needs DHCP on its card, and a DHCP server on the bridge",
    ),
    Phase.SSHD: (
        "sshd",
        "the guest has network, but nothing is listening on its SSH port: is openssh-server installed in the image?",
    ),
    Phase.LOGIN: ("a login", "sshd answers, but logins fail: see the console for what cloud-init did"),
    Phase.CLOUD_INIT: (
        "cloud-init",
        "cloud-init is still running in the guest: use `vmctl ssh` and run `cloud-init status --long`",
    ),
}

_SSHD_STARTED = (
    "the guest's console says that its sshd has started: it is too slow to answer, or a firewall in the guest drops "
    "connections"
)
_NO_CLOUD_INIT = (
    "the guest's console shows no sign of cloud-init, which would install the key: it may be disabled in the image"
)
_SILENT = "accepted by QEMU, but no answer from the guest"
_SEEN = {
    Phase.BOOT: "no answer from the guest",
    Phase.SSHD: "refused by the guest, or closed at once",
    Phase.LOGIN: "received the SSH banner",
    Phase.CLOUD_INIT: "logged in",
}
# What the console tells while the network is silent.
_STAGES = {Stage.FIRMWARE: Phase.BOOT, Stage.KERNEL: Phase.KERNEL, Stage.USERSPACE: Phase.USERSPACE}
_ORDER = tuple(Phase)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """What is needed to wait for a guest.

    machine: where it runs.
    cloud_init: how to wait for cloud-init; None when a login is enough.
    needs_cloud_init: whether nobody gets in without it.
    host_key_verified: whether a connection with the pinned key has been made before.
    stall_limit_s: how long it may go without any progress before there is a login.
    accelerated: whether it runs under KVM, which may be what keeps it from booting. slept: whether it has stood still before.
    own_address: whether it is reached at an address of its own, which has to be found out: no port of this host leads to it.
    peers: the other VMs on its private networks; None: it is on none.
    mounts: shared directories; None: it has never had any. port: its sshd's, in the guest.
    """

    name: str
    machine: Machine
    credentials: Credentials
    known_hosts: Path
    console_log: Path
    cloud_init: CloudInitWatch | None
    host_key_verified: bool
    stall_limit_s: float
    accelerated: bool = False
    slept: bool = False
    peers: tuple[Peer, ...] | None = None
    mounts: GuestMounts | None = None
    port: int = SshAccess.port
    needs_cloud_init: bool = False
    own_address: bool = False
    arch: Architecture = Architecture.X86_64


def wait_until_ready(guest: Guest, deadline: Deadline, emit: EventSink) -> None:
    """Return when the guest is ready.

    Until somebody is logged in the guest has to make progress: new lines on its console and work on its disk as long as it boots,
    and only what leads to a login when its console says that the boot is over. From a login on only the deadline counts, as
    cloud-init may well be busy without any outward sign.
    Raises: `guest::boot_timeout`, at the deadline or when nothing has moved for too long; `guest::boot_failed` where it is
    plain that nothing will; `network::ip_discovery_timeout` where it is up, and no address of it is known;
    `host::kvm_unusable` where KVM is what does not boot it, and nothing is lost by booting it again; `guest::mount_failed`,
    `guest::panicked`, `qemu::io_error`, `qemu::internal_error`, `qemu::share_lost`, `qemu::exited`,
    `cloudinit::failed`, `ssh::auth_failed`, `ssh::host_key_mismatch`,
    `ssh::no_key`, `ssh::no_shell`.
    """
    wait = _Wait(guest, deadline, emit)
    while not deadline.expired:
        wait.look()
        wait.require_progress()
        try:
            with wait.login() as session:
                if guest.slept and (told := correct_clock(guest.name, session, deadline, wait.look)):
                    emit(Noticed(guest.name, told))
                if guest.cloud_init:
                    require_shell(session, guest.name, guest.credentials.user, deadline, wait.look)
                    wait.enter(Phase.CLOUD_INIT)
                    await_cloud_init(session, guest.cloud_init, deadline, wait.look, wait.warn)
                if guest.peers is not None and not name_peers(session, guest.peers, deadline, wait.look):
                    emit(Noticed(guest.name, _UNNAMED_PEERS))
                if guest.mounts is not None:
                    settle_mounts(session, guest.name, guest.mounts, deadline, wait.look)
                return
        except SshFailed as error:
            # Not yet up, or rebooting in the middle of it.
            _log.debug("not ready: %s", error.diagnostic.causes)
        except TimeoutError:
            break
        deadline.pause(_PAUSE_S)
    raise wait.given_up(f"was not ready in {round(deadline.timeout_s or 0)} s")


class _Wait:
    """One wait: the phase it is in, the console it listens to, and whether anything moves."""

    def __init__(self, guest: Guest, deadline: Deadline, emit: EventSink) -> None:
        self.guest, self.deadline, self.emit = guest, deadline, emit
        self._phase: Phase | None = None
        self._answer = self._furthest = self._silent = Phase.BOOT
        self._resets = 0
        self._console = Console(guest.console_log)
        self._progress = Progress(guest.machine.vitals)
        self._examined_s = self._sampled_s = self._located_s = 0.0
        self._endpoint: Endpoint | None = None
        self._idle_looks = 0
        self._login_pause_s = 1.0
        self._refused: tuple[float, AuthFailed] | None = None
        self._verified = guest.host_key_verified
        self._late_timers = 0
        self.enter(Phase.BOOT)

    def enter(self, phase: Phase) -> None:
        """Note and tell a phase, when it is another one than before."""
        if phase is self._phase:
            return
        self._phase, self._idle_looks = phase, 0
        if _ORDER.index(phase) > _ORDER.index(self._furthest):
            self._furthest = phase
            self._progress.got_further()
        # One that has stood still and goes on does not boot.
        if not (self.guest.slept and phase is Phase.BOOT):
            self.emit(PhaseReached(self.guest.name, phase, phase.waiting_for))

    def _found(self, answer: Phase) -> None:
        """Note what the port says. A guest that has come further is busy when it is silent, unless it has restarted since."""
        self._answer = answer
        restarted = self._has_restarted()
        phase = self._silent_phase() if answer is Phase.BOOT else answer
        if restarted or self._phase is None or _ORDER.index(phase) > _ORDER.index(self._phase):
            self.enter(phase)

    def _has_restarted(self) -> bool:
        """Whether it has since the last time; what is known of the boot before counts no more."""
        seen = self._progress.seen
        if seen is None or seen.resets <= self._resets:
            return False
        self._resets, self._silent, self._refused = seen.resets, Phase.BOOT, None
        return True

    def look(self) -> None:
        """See that the machine lives, and pass on what its console said.

        Raises: `host::kvm_unusable` when QEMU has stopped a machine under KVM that was still booting, and as `require_alive`.
        """
        text = self._console.read()
        if text:
            self.emit(GuestOutput(self.guest.name, Stream.CONSOLE, text))
        try:
            self.guest.machine.require_alive()
        except QemuInternalError as stopped:
            if self.guest.accelerated and stopped_at_boot(self._progress, self._stage()):
                evidence = stopped.diagnostic.evidence
                raise KvmUnusable("KVM does not boot the guest: QEMU stopped it", evidence=evidence) from stopped
            raise
        news = self._console.is_news(text) and not boot_is_over(self._console.text)
        self._progress.look(heard=bool(text), news=news)

    def require_progress(self) -> None:
        """Raises: `guest::panicked`, `guest::boot_failed`, `guest::boot_timeout`, `host::kvm_unusable`."""
        if (failure := panic(self._console.lines())) and not self._start_over(failure):
            raise failure
        if self.guest.accelerated and self._furthest is Phase.BOOT:
            finding = kvm_failure(self._progress, self._stage(), self.guest.stall_limit_s, self.guest.machine.execution)
            if finding is not None:
                raise finding.enrich(evidence=self._screen())
        if self._progress.restarts >= _RESTARTS:
            raise self._restarting()
        still_s = self._progress.still_s
        if self._progress.silent_s > _SILENT_S and still_s > _SILENT_S and self.deadline.elapsed_s > self._examined_s:
            self._examined_s = self.deadline.elapsed_s + _SILENT_S
            if failure := self._dead_end():
                raise failure
        if self._has_settled() and self._answer is not Phase.LOGIN:
            raise self._unreachable()
        if self._progress.stalled_s > self.guest.stall_limit_s:
            raise self.given_up(f"has made no progress for {round(self.guest.stall_limit_s)} s")

    def _start_over(self, failure: VmError) -> bool:
        """Reset a guest whose kernel gave up because this host was too busy for its timer, and say so; not for ever."""
        is_new = self._phase in (Phase.BOOT, Phase.KERNEL) and self._late_timers < _LATE_TIMERS
        if not is_new or not timer_was_late(self._console.text):
            return False
        self._late_timers += 1
        self._console.forget()
        self.guest.machine.reset()
        self.emit(Noticed(self.guest.name, _TIMER_WAS_LATE))
        _log.info("%s: %s", self.guest.name, failure)
        return True

    def _dead_end(self) -> VmError | None:
        console, screen = self._console.lines(), safe_lines("\n".join(self.guest.machine.screen()))
        return panic(screen, "screen") or boot_failure(console, screen, self.guest.arch)

    def _has_settled(self) -> bool:
        """Whether the guest is up, nothing answers at its port or sshd refuses the key, and it has nothing left to do."""
        is_up = self._refused is not None if self._answer is Phase.LOGIN else boot_is_over(self._console.text)
        if not is_up:
            self._idle_looks = 0
        elif self.deadline.elapsed_s - self._sampled_s >= 1:
            self._sampled_s = self.deadline.elapsed_s
            execution = self.guest.machine.execution()
            idle = execution is not None and execution.idle
            self._idle_looks = max(0, self._idle_looks + (1 if idle else -1))
            if not idle:
                self._login_pause_s = min(self._login_pause_s * 1.5, _LONGEST_PAUSE_S)
        return self._idle_looks >= _SETTLED_LOOKS

    def _unreachable(self) -> VmError:
        if self._lacks_address:
            return self._no_address("booted")
        silent, needed = self._answer is Phase.BOOT, self.guest.needs_cloud_init
        return unreachable(
            self.guest.name, self._console.text, silent=silent, needs_cloud_init=needed, port=self.guest.port
        )

    def _no_address(self, why: str) -> IpDiscoveryTimeout:
        shown = (*self.guest.machine.locate()[1], *self._screen())
        return no_address(self.guest.name, why, shown, self.deadline.timeout_s or 0)

    def _restarting(self) -> BootFailed:
        phase = self._furthest
        return BootFailed(
            "the guest keeps rebooting: {number} times without getting further",
            {"number": self._progress.restarts},
            help=("its console or screen shows how far it gets before each reboot",),
            evidence=(*self._screen(), Evidence("probe", "progress", (phase.value,))),
            elapsed_s=self.deadline.elapsed_s,
        )

    def _screen(self) -> tuple[Evidence, ...]:
        lines = tuple(self.guest.machine.screen())
        return (Evidence("screen", "the guest's screen", lines[-_SCREEN_LINES:]),) if lines else ()

    def _stage(self) -> Stage:
        return stage_of(self._console.text)

    def _silent_phase(self) -> Phase:
        """What the console tells; what it has said before may have scrolled out of sight."""
        self._silent = max(self._silent, _STAGES[stage_of(this_boot(self._console.text))], key=_ORDER.index)
        return Phase.ADDRESS if self._lacks_address and self._silent is Phase.USERSPACE else self._silent

    @property
    def _lacks_address(self) -> bool:
        return self.guest.own_address and self._endpoint is None

    def _find(self) -> Endpoint | None:
        """Where the guest is now: its address may be another one than at the last time."""
        self._endpoint = self.guest.machine.observe().ssh
        if self._lacks_address and self.deadline.elapsed_s >= self._located_s:
            # Its agent may be slow, and is not asked all the time.
            self._endpoint, _ = self.guest.machine.locate()
            self._located_s = self.deadline.elapsed_s + _LOCATE_EVERY_S
        return self._endpoint

    def login(self) -> SshSession:
        """Try to log in once. Raises: `ssh::failed` when it is too early for it, and what `wait_until_ready` raises."""
        endpoint = self._find()
        if endpoint is None:
            if self.guest.own_address:
                self._found(Phase.BOOT)
            raise SshFailed("the guest has no address yet")
        answered = self._answer is not Phase.BOOT
        self._found(probe(endpoint, _BUSY_BANNER_TIMEOUT_S if answered else _BANNER_TIMEOUT_S))
        if self._answer is not Phase.LOGIN:
            raise SshFailed("sshd does not answer yet")
        try:
            return self._connect(endpoint)
        except HostKeyMismatch as mismatch:
            if self._verified:
                raise
            self._trust_on_first_use(endpoint)
            raise SshFailed("a different key is now pinned") from mismatch
        except AuthFailed as refusal:
            if line := ignored_seed(self._console.text):
                raise seed_not_found(line) from refusal
            if self._is_final(refusal):
                missing = self.guest.needs_cloud_init and lacks_cloud_init(self._console.text)
                raise refusal.enrich(notes=(_NO_CLOUD_INIT,) if missing else ()) from None
            self.deadline.pause(self._login_pause_s)
            raise SshFailed("the key is still rejected") from refusal

    def _is_final(self, refusal: AuthFailed) -> bool:
        """Whether the key will not be accepted later either."""
        since_s = self._refused[0] if self._refused else self.deadline.elapsed_s
        self._refused = (since_s, refusal)
        if isinstance(refusal, KeysNotAccepted) or cloud_init_has_finished(self._console.text):
            return self.deadline.elapsed_s - since_s > _AUTH_FINAL_S
        return self._idle_looks >= _SETTLED_LOOKS

    def _connect(self, endpoint: Endpoint) -> SshSession:
        guest = self.guest
        return SshSession.connect(
            endpoint,
            alias=guest.name,
            credentials=guest.credentials,
            known_hosts=guest.known_hosts,
            deadline=self.deadline,
        )

    def _trust_on_first_use(self, endpoint: Endpoint) -> None:
        """Images that do not take the seed's host key keep their own: pin that, once, and say so."""
        key = offered_host_key(endpoint, self.deadline)
        write_atomically(self.guest.known_hosts, known_hosts_text(self.guest.name, (key,)).encode())
        self._verified = True
        finding = HostKeyMismatch(
            "the guest did not use the SSH host key from its seed, so the first connection could not be verified",
            help=("no action needed if the image has its own host key: that key is now pinned",),
            notes=(f"pinned: {key}",),
        )
        self.warn(finding)

    def warn(self, finding: VmError) -> None:
        """Tell a finding that stops nothing."""
        self.emit(Warned(self.guest.name, finding.enrich(subject=Subject(vm=self.guest.name)).as_warning()))

    def _busy_host(self) -> tuple[str, ...]:
        waited_s, elapsed_s = self._progress.waited_s, self.deadline.elapsed_s
        if waited_s < elapsed_s * _OVERLOADED:
            return ()
        return (f"this host is overloaded: for {waited_s:.0f} of {elapsed_s:.0f} s the guest waited for a CPU",)

    def _hint(self, phase: Phase) -> str:
        if phase is not Phase.SSHD:
            return phase.hint
        if self.guest.port != SshAccess.port:
            return no_sshd(self.guest.port)[1]
        return _SSHD_STARTED if sshd_has_started(self._console.text) else phase.hint

    def given_up(self, why: str) -> VmError:
        """The failure of a guest that is not waited for any longer, by what can be told of it. why: of the guest, a verb."""
        if self._phase in _STAGES.values() and (failure := self._dead_end()):
            return failure
        phase = self._phase or Phase.BOOT
        if self._lacks_address and phase is Phase.ADDRESS:
            return self._no_address(why)
        answer = self._answer.seen_at(self._endpoint, forwarded=not self.guest.own_address)
        seen = str(self._refused[1]) if self._refused and self._answer is Phase.LOGIN else answer
        return BootTimeout(
            "the guest {why}: still waiting for {what}",
            {"why": why, "what": phase.waiting_for},
            notes=self._busy_host(),
            help=(self._hint(phase), "if it is just slow, raise `boot-timeout` in the VMFile"),
            evidence=(
                Evidence("probe", "the last attempt to reach it by SSH", (seen,)),
                *(self.guest.machine.locate()[1] if self._lacks_address else ()),
                *(self._screen() if phase in _STAGES.values() else ()),
            ),
            timeout_s=self.deadline.timeout_s or 0,
            elapsed_s=self.deadline.elapsed_s,
        )


def no_address(name: str, why: str, evidence: Sequence[Evidence], timeout_s: float) -> IpDiscoveryTimeout:
    """The failure of a guest whose address nobody knows. why: of the guest, a verb. evidence: where it was looked for."""
    return IpDiscoveryTimeout(
        "the guest {why}, but its address is not known",
        {"why": why},
        help=(
            f"have it use DHCP on the card, and see there whether it got an address: `vmctl console {name}`",
            "see that a DHCP server answers on the bridge; its lease file can be named in VMCTL_LEASES",
            "where that server is another machine, run qemu-guest-agent in the guest: it tells vmctl the address",
        ),
        evidence=tuple(evidence),
        timeout_s=timeout_s,
    )


def probe(endpoint: Endpoint, timeout_s: float = _BANNER_TIMEOUT_S) -> Phase:
    """How far the guest is, by a raw connection; a guest at an address of its own is silent until it has that.

    QEMU accepts connections to a forwarded port by itself: a guest without network stays silent, one with network but
    without sshd closes at once, and then comes the banner. SSH libraries blur these into one.
    """
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            return Phase.LOGIN if connection.recv(256).startswith(b"SSH-") else Phase.SSHD
    except TimeoutError:
        return Phase.BOOT
    except OSError as error:
        return Phase.BOOT if error.errno in _NOBODY_THERE else Phase.SSHD
