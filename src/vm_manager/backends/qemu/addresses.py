"""Where a guest on a bridge is reached: looked for by the MAC addresses of its cards, and by nothing else.

The kernel says what it has seen on the wire, DHCP servers what they have given away, and the guest's agent what the guest claims.
None of it is taken for the guest's if the kernel knows that another card has it.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from vm_manager.backends.qemu.agent import cards
from vm_manager.backends.qemu.answers import chardev
from vm_manager.backends.qemu.query import look_up
from vm_manager.backends.qemu.section import QemuData
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.instance import Endpoint, InstanceRecord
from vm_manager.host.leases import read_leases, usable
from vm_manager.host.netlink import Address, Neighbour, neighbours

# So long may an address take to answer that nobody has confirmed, or that is one of several.
_TRY_S = 0.25
_MOST_FOUND, _MOST_TRIED = 64, 8
_ANSWERS = (0, errno.ECONNREFUSED)
_MOST_SHOWN = 4
_DISCARD = 9


@dataclass(frozen=True)
class Sighting:
    """What was found out about where a guest is. evidence: what each source had."""

    endpoint: Endpoint | None
    evidence: Evidence


@dataclass(frozen=True)
class _Candidate:
    """link: the interface at which it is, where that is known. sure: whether the kernel has confirmed it lately."""

    address: Address
    link: str = ""
    sure: bool = False

    @property
    def host(self) -> str:
        """As programs take it: a link-local address means nothing without its link."""
        return f"{self.address}%{self.link}" if self._is_local and self.link else str(self.address)

    def is_at(self, entry: Neighbour) -> bool:
        """Whether an entry is about this address; on each link, another machine may have a link-local one."""
        return entry.address == self.address and (not self._is_local or entry.interface == self.link)

    @property
    def _is_local(self) -> bool:
        return self.address.version == 6 and self.address.is_link_local


def sight(record: InstanceRecord, home: Path, *, agent_s: float | None) -> Sighting:
    """Look for the guest of a machine that runs. Never fails.

    agent_s: how long its agent may take to answer; None: it is not asked.
    """
    data, spec = QemuData.of(record), record.spec
    macs = data.macs(spec)
    search = _Search({macs[number].lower(): bridge for number, bridge in spec.bridges.items()})
    host = search.host(home, spec.access.port, agent_s)
    evidence = Evidence("probe", "where the guest's address was looked for", tuple(dict.fromkeys(search.said)))
    return Sighting(Endpoint(host, spec.access.port) if host else None, evidence)


@dataclass
class _Search:
    """One look at all sources. cards: their bridges by their MAC addresses. said: what each source had."""

    cards: dict[str, str]
    table: list[Neighbour] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def host(self, home: Path, port: int, agent_s: float | None) -> str | None:
        """The address of the guest."""
        seen = self._neighbours()
        # A lease is newer than what was seen before it. The guest's own word is worth the least, and takes the longest.
        found = self._possible([*self._leases(), *seen])
        if not found and agent_s is not None:
            found = self._possible(self._claims(home, agent_s))
        ranked = _ranked(found)
        if len(ranked) == 1 and ranked[0].sure:
            return ranked[0].host
        answering = _answering([it.host for it in ranked], port)
        # Whoever has been spoken to is in the table now; and an entry that is out of date will not be for long.
        self._read_table()
        left = [it for it in ranked if not self._is_anothers(it, self.table)]
        return next((it.host for it in left if it.host in answering), left[0].host if left else None)

    def _read_table(self) -> str:
        try:
            self.table = neighbours()
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _neighbours(self) -> list[_Candidate]:
        trouble = self._read_table()
        found = [_Candidate(it.address, it.interface, it.confirmed) for it in self.table if it.mac in self.cards]
        known = f"not known: {trouble}" if trouble else self._none(f"among {len(self.table)} that the kernel knows")
        self.said.append(f"neighbours: {_listed(it.host for it in found) or known}")
        return sorted((it for it in found if usable(str(it.address))), key=lambda it: not it.sure)

    def _leases(self) -> list[_Candidate]:
        found = read_leases(tuple(self.cards))
        where = (
            f"in {_listed(map(str, found.files))}"
            if found.files
            else "on this host: no DHCP server has written any here"
        )
        self.said.append(f"leases: {_listed(str(it.address) for it in found.found) or self._none(where)}")
        self.said += [f"leases: {path} cannot be read: {why}" for path, why in found.unread.items()]
        return [_Candidate(it.address) for it in found.found]

    def _claims(self, home: Path, timeout_s: float) -> list[_Candidate]:
        if not chardev(look_up(home, "query-chardev"), "agent").get("frontend-open"):
            self.said.append("guest agent: none is running in the guest")
            return []
        try:
            claims = [(mac, usable(text)) for mac, text in cards(home, timeout_s)]
        except (OSError, ValueError) as error:
            self.said.append(f"guest agent: no answer: {error}")
            return []
        found = [_Candidate(address, self.cards[mac]) for mac, address in claims if mac in self.cards and address]
        self.said.append(f"guest agent: {_listed(it.host for it in found) or self._none('given')}")
        return found

    def _none(self, where: str) -> str:
        return f"none {where} for {' or '.join(self.cards)}"

    def _possible(self, found: Iterable[_Candidate]) -> list[_Candidate]:
        """Those that are worth a try: not what this host has itself, or what the kernel is sure that another card has."""
        confirmed = [entry for entry in self.table if entry.confirmed]
        # A guest may answer for any number of addresses.
        few = islice(found, _MOST_FOUND)
        return [it for it in few if not self._is_anothers(it, confirmed) and not self._is_of_this_host(it)]

    def _is_anothers(self, candidate: _Candidate, table: Iterable[Neighbour]) -> bool:
        holders = {entry.mac for entry in table if candidate.is_at(entry)}
        if not holders or holders & self.cards.keys():
            return False
        self.said.append(f"{candidate.host} is not used: {', '.join(sorted(holders))} has it")
        return True

    def _is_of_this_host(self, candidate: _Candidate) -> bool:
        if not _leads_back(candidate.host):
            return False
        self.said.append(f"{candidate.host} is not used: this host has it")
        return True


def _ranked(found: Iterable[_Candidate]) -> list[_Candidate]:
    """Each once, in their order; link-local ones last."""
    each: dict[str, _Candidate] = {}
    for it in found:
        if it.host not in each or it.sure:
            each[it.host] = it
    return sorted(each.values(), key=lambda it: it.address.is_link_local)[:_MOST_TRIED]


def _listed(texts: Iterable[str]) -> str:
    every = list(dict.fromkeys(texts))
    return ", ".join((*every[:_MOST_SHOWN], *(("…",) if len(every) > _MOST_SHOWN else ())))


def _leads_back(host: str) -> bool:
    """Whether the kernel would send to itself: then it takes the address for its own one, too. Nothing is sent."""
    with suppress(OSError):
        family, kind, _, _, where = _resolved(host, _DISCARD, socket.SOCK_DGRAM)
        with socket.socket(family, kind) as asking:
            asking.connect(where)
            return bool(asking.getsockname()[0] == where[0])
    return False


def _answering(hosts: Sequence[str], port: int) -> set[str]:
    """Those of some addresses at which somebody answers at once, be it with a refusal."""
    found: set[str] = set()
    ends = time.monotonic() + _TRY_S
    with ExitStack() as stack:
        waiting: dict[socket.socket, str] = {}
        for host in hosts:
            with suppress(OSError):
                family, kind, _, _, where = _resolved(host, port, socket.SOCK_STREAM)
                connection = stack.enter_context(socket.socket(family, kind))
                connection.setblocking(False)
                if connection.connect_ex(where) in (0, errno.EINPROGRESS):
                    waiting[connection] = host
        while waiting and (left_s := ends - time.monotonic()) > 0:
            _, ready, _ = select.select([], list(waiting), [], left_s)
            for connection in ready:
                host = waiting.pop(connection)
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in _ANSWERS:
                    found.add(host)
    return found


def _resolved(host: str, port: int, kind: socket.SocketKind) -> tuple[int, int, int, str, tuple[object, ...]]:
    return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
