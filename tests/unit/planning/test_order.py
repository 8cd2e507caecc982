"""What comes before what, and how much at once."""

from __future__ import annotations

from unit.samples import spec
from vm_manager.domain.host_facts import HostFacts
from vm_manager.planning.order import how_many_at_once, needs_for_down, needs_for_up

_DB, _WEB = spec("db"), spec("web", depends_on=("db", "cache"))
_CACHE = spec("cache", depends_on=("db",))


def test_dependencies_come_first_and_go_last() -> None:
    assert needs_for_up((_WEB, _CACHE, _DB)) == {"web": ("db", "cache"), "cache": ("db",), "db": ()}
    assert needs_for_down((_WEB, _CACHE, _DB)) == {"db": ("web", "cache"), "cache": ("web",)}


def test_as_many_at_once_as_the_host_can_take() -> None:
    small, large = spec("a", memory_mib=512), spec("b", memory_mib=4096)
    assert how_many_at_once((small,), HostFacts(cpus=8, memory_mib=64_000, lowest_port=1)) == 8
    assert how_many_at_once((small,), HostFacts(cpus=1, memory_mib=64_000, lowest_port=1)) == 2
    assert how_many_at_once((small, large), HostFacts(cpus=8, memory_mib=9_000, lowest_port=1)) == 2
    assert how_many_at_once((large,), HostFacts(cpus=8, memory_mib=1_000, lowest_port=1)) == 1
    assert how_many_at_once((), HostFacts(cpus=8, memory_mib=1_000, lowest_port=1)) == 8
