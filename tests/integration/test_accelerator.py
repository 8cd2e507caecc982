"""Which accelerator is taken on every kind of host, what is said of it, and what happens when reality contradicts the probe.

The hosts are simulated, so that all of them are met on each: see `kvm_hosts`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import TinyGuest
from driver import BLANK, Result, Vmctl, blank_disk, ended, qemu_processes, wait_for
from kvm_hosts import on_host
from proofs import prove

_UNUSABLE = "vm_manager::host::kvm_unusable"
_WARNING = f"warning[{_UNUSABLE}]: "
_AUTO = BLANK.replace('    accel "tcg"\n', "")

# What the first look at the host already shows: the first words that are said of it, and what shows it.
_REFUSED = {
    "absent": ("this host has no /dev/kvm", ""),
    "forbidden": ("/dev/kvm may not be opened", "open: Permission denied"),
    "aborts": ("KVM does not boot guests on this host: it failed at starting a boot sector", "SIGABRT"),
    "hangs": (
        "KVM did not boot a guest in time: it hangs, or this host is busy, at starting a boot sector",
        "did not finish in 3 s",
    ),
    "half": (
        "KVM does not boot guests on this host: it failed at executing cmpxchg16b",
        "KVM internal error. Suberror: 1",
    ),
}
# What only a real guest shows.
_NOT_BOOTING = {
    "triple-faults": "KVM does not boot the guest: it keeps rebooting before its kernel prints anything",
    "stands-still": "KVM does not boot the guest: it has not even read its disk",
    "stops": "KVM does not boot the guest: QEMU stopped it",
}


@pytest.fixture
def auto(vmctl: Vmctl) -> Vmctl:
    """A project with a VM without a guest, whose accelerator is vmctl's to choose."""
    blank_disk(vmctl.directory)
    vmctl.write(_AUTO)
    return vmctl


def _runs_under(vmctl: Vmctl, accelerator: str, name: str = "blank") -> bool:
    return bool(vmctl.record(name)["backend_data"]["accelerator"] == accelerator)


def _tried(base: Path) -> list[str]:
    """What QEMU was asked to do under KVM, in order."""
    log = base / "kvm.log"
    return log.read_text().split() if log.exists() else []


def _warned_once(result: Result, words: str, evidence: str = "") -> None:
    assert result.stderr.count(_WARNING) == 1, result.stderr
    assert f"{_WARNING}{words}" in result.stderr
    assert evidence in result.stderr
    assert "emulated in software (TCG)" in result.stderr
    assert "--accel tcg" in result.stderr


@pytest.mark.parametrize("kind", _REFUSED)
def test_kvm_that_cannot_be_used_is_told_once_and_the_guest_is_emulated(auto: Vmctl, tmp_path: Path, kind: str) -> None:
    host = on_host(auto, tmp_path, kind)
    began = time.monotonic()
    result = host("up")
    print(f"{kind}: up in {time.monotonic() - began:.1f} s")  # noqa: T201
    _warned_once(result, *_REFUSED[kind])
    # Root in a container, to whom a group would be of no use.
    assert ("a container needs `--device /dev/kvm`" in result.stderr) == (kind == "forbidden")
    assert _runs_under(host, "tcg")
    assert f"tcg ({_REFUSED[kind][0]}" in host("status", "blank").stdout
    # What was found is remembered, and told in brief.
    again = host("restart", "blank", "--timeout", "0").stderr
    assert f"{_WARNING}{_REFUSED[kind][0]}" in again
    assert "--accel tcg" in again
    if kind not in ("absent", "forbidden"):
        assert _REFUSED[kind][1] not in again
        assert "`--accel kvm` tests KVM again" in again
        assert _tried(tmp_path) == ["probe"]
        found = host("restart", "blank", "--timeout", "0", "--accel", "kvm", status=6)
        prove(found, _UNUSABLE, evidence=_REFUSED[kind][1])
    assert _tried(tmp_path) == ([] if kind in ("absent", "forbidden") else ["probe", "probe"])


@pytest.mark.parametrize("kind", _REFUSED)
def test_kvm_that_is_demanded_and_cannot_be_used_is_an_error_at_once(auto: Vmctl, tmp_path: Path, kind: str) -> None:
    host = on_host(auto, tmp_path, kind)
    host.write(BLANK.replace('"tcg"', '"kvm"'))
    result = host("up", status=None)
    prove(result, _UNUSABLE, evidence=_REFUSED[kind][1] or None)
    assert _REFUSED[kind][0] in result.stderr
    assert host("list", "--quiet").stdout == ""


def test_kvm_that_boots_the_probe_is_used(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "works")
    assert host("up").stderr.count(_WARNING) == 0
    assert _runs_under(host, "kvm")
    (vm,) = host("list", "--json").json["vms"]
    assert vm["accelerator"] == {"name": "kvm", "reason": "KVM boots guests on this host"}
    host("restart", "blank", "--timeout", "0")
    assert _tried(tmp_path) == ["probe", "start", "start"]


def test_many_commands_at_once_try_kvm_once(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "works")
    commands = [host.start("plan") for _ in range(8)]
    assert [_UNUSABLE in ended(command).stderr for command in commands] == [False] * 8
    assert _tried(tmp_path) == ["probe"]


def test_a_try_that_was_given_up_does_not_outlive_one_that_succeeds(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "hangs")
    assert "hangs, or this host is busy" in host("up").stderr
    host("down", "--timeout", "0")
    stand_in = tmp_path / "tools" / "qemu-system-x86_64"
    text, status = stand_in.read_text(), stand_in.stat()
    stand_in.write_text(text.replace("'KVM_HOST': 'hangs'", "'KVM_HOST': 'works'"))
    os.utime(stand_in, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _UNUSABLE not in host("up", "--accel", "kvm").stderr
    host("down", "--timeout", "0")
    assert _UNUSABLE not in host("up").stderr
    assert _runs_under(host, "kvm")


def test_kvm_that_goes_away_between_the_probe_and_the_start(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "vanishes")
    result = host("up")
    _warned_once(result, "this host has no /dev/kvm", "Could not access KVM kernel module")
    assert _runs_under(host, "tcg")
    assert len(qemu_processes(host.data)) == 1
    assert _tried(tmp_path) == ["probe", "start"]


def test_kvm_that_goes_away_and_was_demanded(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "vanishes")
    host.write(BLANK.replace('"tcg"', '"kvm"'))
    result = host("up", status=None)
    assert (result.status, result.code) == (6, _UNUSABLE)
    assert "Could not access KVM kernel module" in result.stderr
    assert qemu_processes(host.data) == []


def test_the_accelerator_can_be_chosen_for_a_command_and_for_a_host(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "works")
    host.write(BLANK.replace('"tcg"', '"kvm"'))
    host("up", env={"VMCTL_ACCEL": "tcg"})
    assert _runs_under(host, "tcg")
    assert "tcg (as chosen)" in host("status", "blank").stdout
    host("restart", "blank", "--timeout", "0", "--accel", "kvm", env={"VMCTL_ACCEL": "tcg"})
    assert _runs_under(host, "kvm")
    # That was for once: the next start goes by the VMFile again.
    host("stop", "blank", "--timeout", "0")
    host("start", "blank", "--accel", "tcg")
    assert _runs_under(host, "tcg")
    host("restart", "blank", "--timeout", "0")
    assert _runs_under(host, "kvm")
    host("reload", "--timeout", "0", "--accel", "tcg")
    assert _runs_under(host, "tcg")


def test_a_choice_that_does_not_exist(auto: Vmctl) -> None:
    wrong = {"VMCTL_ACCEL": "hvf", "VMCTL_MAX_IMAGE_SIZE": "much"}
    result = auto("up", "--json", env=wrong, status=2)
    assert "invalid VMCTL_ACCEL: 'hvf'" in result.stderr
    assert result.json["diagnostics"][0]["code"] == "vmctl::usage"
    assert auto("up", "--accel", "hvf", status=2).code == "vmctl::usage"
    # What starts nothing does not ask.
    auto("up", "--accel", "tcg")
    for words in (("stop", "blank", "--timeout", "0"), ("list",), ("destroy", "blank")):
        auto(*words, env=wrong)


def _save_as_under_kvm(host: Vmctl) -> None:
    """Save the machine; what its stand-in runs is told to have been what it stands for."""
    host("suspend", "--to-disk", "blank")
    needs = host.home("blank") / "saved-state.json"
    document = json.loads(needs.read_text())
    meant = {
        "tcg,thread=multi": "kvm",
        "max": "host",
        "qemu-system-x86_64": shutil.which("qemu-system-x86_64", path=host.env["PATH"]),
    }
    document["argv"] = [meant.get(word, word) for word in document["argv"]]
    needs.write_text(json.dumps(document))


def _distrust(host: Vmctl) -> None:
    """Let it be remembered that KVM did not boot another VM's guest."""
    script = (
        "import shutil; from pathlib import Path; from vm_manager.backends.qemu.accelerator import Processor, distrust;"
        "from vm_manager.domain.architecture import Architecture;"
        "qemu = Path(shutil.which('qemu-system-x86_64'));"
        "distrust(Processor(Architecture.X86_64, None, qemu), 'other', ['it keeps rebooting'])"
    )
    subprocess.run([*host.prefix, sys.executable, "-c", script], env=host.environment(), check=True)


def test_what_another_guest_has_shown_does_not_turn_away_who_demands_kvm_or_was_saved_under_it(
    auto: Vmctl, tmp_path: Path
) -> None:
    host = on_host(auto, tmp_path, "works")
    host("up")
    _save_as_under_kvm(host)
    _distrust(host)
    assert host("resume", "blank").stdout.startswith("blank: restored")
    assert _runs_under(host, "kvm")
    host("restart", "blank", "--timeout", "0", "--accel", "kvm")
    assert _runs_under(host, "kvm")
    # Where nobody demands it, that guest's word still counts.
    _warned_once(
        host("restart", "blank", "--timeout", "0"), "KVM did not boot the guest of VM 'other'", "it keeps rebooting"
    )
    assert _runs_under(host, "tcg")


def test_a_state_that_was_saved_under_kvm_is_kept_until_kvm_works_again(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "works")
    host("up")
    _save_as_under_kvm(host)
    (tmp_path / "kvm").unlink()
    result = host("resume", "blank", status=None)
    assert (result.code, "--discard-saved-state" in result.stderr) == ("vm_manager::qemu::migration_failed", False)
    assert "this host has no /dev/kvm" in result.stderr
    (tmp_path / "kvm").touch()
    advised = re.findall("`vmctl (resume .*)`", result.stderr)
    assert host(*advised[0].split()).stdout.startswith("blank: restored")


def test_a_qemu_that_stumbles_once_is_started_once_more_under_kvm(auto: Vmctl, tmp_path: Path) -> None:
    host = on_host(auto, tmp_path, "stumbles")
    assert host("up").stderr.count(_WARNING) == 0
    assert _runs_under(host, "kvm")
    assert _tried(tmp_path) == ["probe", "start", "probe", "start"]


@pytest.mark.parametrize("kind", _NOT_BOOTING)
def test_a_guest_that_kvm_does_not_boot_is_started_again_without(
    vmctl: Vmctl, tiny: TinyGuest, tmp_path: Path, kind: str
) -> None:
    host = on_host(vmctl, tmp_path, kind, stops="at once")
    host.write(tiny.vm())
    began = time.monotonic()
    result = host("up")
    print(f"{kind}: ready after {time.monotonic() - began:.1f} s")  # noqa: T201
    _warned_once(result, _NOT_BOOTING[kind])
    assert result.stdout == "tiny: created, started, ready\n"
    assert _runs_under(host, "tcg", "tiny")
    assert "last failure" not in host("status", "tiny").stdout.lower()
    # It came up without, so that the probe was wrong: no guest is tried under KVM any more.
    again = host("restart", "tiny", "--timeout", "0")
    _warned_once(again, "KVM did not boot the guest of VM 'tiny'", _NOT_BOOTING[kind])
    assert _tried(tmp_path) == ["probe", "start"]
    # The first QEMU was ended on purpose: nobody takes that for an accident, not even of one who was killed meanwhile.
    journal = (host.home("tiny") / "journal.jsonl").read_text().splitlines()
    told = [(entry["operation"], entry["outcome"]) for entry in map(json.loads, journal)]
    assert told[: told.index(("wait", "ok"))][-3:] == [("start", "ok"), ("stop", "begun"), ("start", "ok")]


@pytest.mark.parametrize("kind", _NOT_BOOTING)
def test_a_guest_that_kvm_does_not_boot_though_it_is_demanded(
    vmctl: Vmctl, tiny: TinyGuest, tmp_path: Path, kind: str
) -> None:
    host = on_host(vmctl, tmp_path, kind, stops="at once")
    host.write(tiny.vm(body='accel "kvm"'))
    result = host("up", status=None)
    assert (result.status, result.code) == (6, _UNUSABLE), result.stderr
    assert _NOT_BOOTING[kind] in result.stderr
    assert "--accel tcg" in result.stderr
    # The advice, carried out.
    assert host("restart", "tiny", "--timeout", "0", "--accel", "tcg").stdout.startswith("tiny: stopped, started")
    assert host("up").stdout.startswith("tiny: ")


def test_a_machine_that_qemu_stops_later_is_an_incident_and_is_never_started_again_by_itself(
    vmctl: Vmctl, tiny: TinyGuest, tmp_path: Path
) -> None:
    host = on_host(vmctl, tmp_path, "stops")
    host.write(tiny.vm(body='provision "shell" { inline "sleep 3600"; }'))
    host("up", "--no-provision")
    assert _runs_under(host, "kvm", "tiny")
    provisioning = host.start("up")
    log = host.home("tiny") / "provision.log"
    wait_for(lambda: log.exists() and "sleep" in log.read_text(), "the step")
    (host.home("tiny") / "stop-it").touch()
    stopped = time.monotonic()
    _, stderr = provisioning.communicate(timeout=300)
    print(f"told after {time.monotonic() - stopped:.1f} s")  # noqa: T201
    assert (provisioning.returncode, "vm_manager::qemu::internal_error" in stderr) == (7, True), stderr

    for argv in (("up",), ("ssh", "tiny", "--", "true"), ("provision",)):
        result = host(*argv, status=None)
        prove(
            result, "vm_manager::qemu::internal_error", evidence="KVM internal error. Suberror: 1", status=result.status
        )
        assert result.status == 7, argv
    (vm,) = host("list", "--json").json["vms"]
    assert (vm["state"], vm["last_failure"]["code"]) == ("failed", "vm_manager::qemu::internal_error")
    status = host("status", "tiny").stdout
    assert "Ready:        no" in status
    assert "KVM internal error. Suberror: 1" in status
    assert len(qemu_processes(host.data)) == 1
    # The way out.
    # The second is for the shutdown, not for the boot.
    assert host("restart", "tiny", "--timeout", "1", "--accel", "tcg").stdout == "tiny: stopped, started, ready\n"
    assert _runs_under(host, "tcg", "tiny")
    assert host("list", "--json").json["vms"][0]["state"] == "running"
