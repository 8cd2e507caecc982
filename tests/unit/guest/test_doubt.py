"""When KVM is taken for the reason why a guest does not boot, and when never."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from vm_manager.backends.qemu.execution import execution_of
from vm_manager.domain.instance import Execution, Vitals
from vm_manager.guest.doubt import kvm_failure, stopped_at_boot
from vm_manager.guest.forensics import Stage
from vm_manager.guest.progress import Progress

_LIMIT_S = 120.0


def _progress(*seen: Vitals | None, still_s: float, monkeypatch: pytest.MonkeyPatch) -> Progress:
    """What has been seen of a machine, one look after the other, and nothing for a while since then."""
    answers = iter(seen)
    found = Progress(lambda: next(answers, seen[-1]))
    for _ in seen:
        found.ask()
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + still_s)
    return found


def _at(*addresses: int, in_system: bool = False) -> Callable[[], Execution | None]:
    places = iter([Execution((address,), in_system) for address in addresses] * 5)
    return lambda: next(places)


def _never() -> Execution | None:
    raise AssertionError("the machine needs no look into its registers")


def _words(finding: object) -> str | None:
    return str(finding).removeprefix("KVM does not boot the guest: it ") if finding else None


@pytest.mark.parametrize(
    ("seen", "still_s", "execution", "words"),
    [
        ((Vitals(0, 0), Vitals(9, 2)), 0, _never, "keeps rebooting before its kernel prints anything"),
        ((Vitals(0, 0), Vitals(9, 1)), 0, _never, None),
        ((Vitals(0, 0), Vitals(9, 5, 1)), 0, _never, None),
        ((Vitals(0, 0),), 16, _never, "has not even read its disk"),
        ((Vitals(0, 0),), 14, _never, None),
        ((Vitals(7, 0),), 16, _at(0x7C00), "hangs before its kernel prints anything"),
        ((Vitals(7, 0),), 16, _at(0x7C00, 0x7C05), None),
        ((Vitals(7, 0),), 16, _at(0xFFFFFFFF81000000, in_system=True), None),
        ((Vitals(7, 0),), 16, lambda: None, None),
        ((Vitals(7, 0),), 121, _never, "hangs before its kernel prints anything"),
        ((Vitals(7, 0, 2),), 500, _never, None),
        ((None,), 500, _never, None),
    ],
)
def test_what_makes_kvm_doubtful(
    seen: tuple[Vitals | None, ...],
    still_s: float,
    execution: Callable[[], Execution | None],
    words: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = _progress(*seen, still_s=still_s, monkeypatch=monkeypatch)
    assert _words(kvm_failure(found, Stage.FIRMWARE, _LIMIT_S, execution)) == words


@pytest.mark.parametrize("stage", [Stage.KERNEL, Stage.USERSPACE])
def test_a_kernel_that_has_spoken_is_not_doubted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _progress(Vitals(0, 0), Vitals(9, 9), still_s=500, monkeypatch=monkeypatch)
    assert kvm_failure(found, stage, _LIMIT_S, _never) is None


@pytest.mark.parametrize(
    ("vitals", "stage", "booting"),
    [
        (Vitals(3, 0), Stage.FIRMWARE, True),
        (Vitals(3, 0), Stage.KERNEL, True),
        (Vitals(3, 0), Stage.USERSPACE, False),
        (Vitals(3, 0, 1), Stage.KERNEL, False),
        (None, Stage.FIRMWARE, False),
    ],
)
def test_a_machine_that_was_stopped_was_booting_as_long_as_nothing_of_it_can_be_lost(
    vitals: Vitals | None, stage: Stage, booting: bool
) -> None:
    assert stopped_at_boot(Progress(lambda: vitals), stage) is booting


_FIRMWARE = """\
CPU#0
EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000000
EIP=000ebf12 EFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
CR0=00000011 CR2=00000000 CR3=00000000 CR4=00000000
"""
_KERNEL = """\
CPU#0
RIP=000000000009d0a3 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CR0=80050033 CR2=0000000000000000 CR3=0000000002610000 CR4=00000020
CPU#1
RIP=ffffffff81e0b5ee RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CR0=80050033 CR2=0000000000000000 CR3=0000000002610000 CR4=00000020
"""


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        (_FIRMWARE, Execution((0xEBF12,), False)),
        (_KERNEL, Execution((0x9D0A3, 0xFFFFFFFF81E0B5EE), True, idle=True)),
        (_KERNEL.replace("HLT=1", "HLT=0", 1), Execution((0x9D0A3, 0xFFFFFFFF81E0B5EE), True)),
        (_KERNEL.replace("ffffffff81e0b5ee", "0000555555554000").replace("CPL=0", "CPL=3"), None),
        ("", None),
        ("no registers", None),
    ],
)
def test_where_the_vcpus_are(registers: str, expected: Execution | None) -> None:
    found = execution_of(registers)
    if "CPL=3" in registers:
        assert found is not None
        assert found.in_system
    else:
        assert found == expected
