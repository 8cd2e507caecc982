"""The lifecycle of single VMs by name, VMs from options, new VMs in the place of old ones, and whose VM is whose."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from driver import BLANK, Vmctl, qemu_processes
from proofs import prove

CREATE = ("create", "--name", "made", "--image", "blank.qcow2", "--memory", "32")


def states(vmctl: Vmctl) -> dict[str, str]:
    """The states of all VMs."""
    return {vm["name"]: vm["state"] for vm in vmctl("list", "--json").json["vms"]}


def test_a_life_by_name(blank: Vmctl) -> None:
    blank("up")
    for command, says, state in (
        (("start", "blank"), "already running", "running"),
        (("suspend", "blank"), "suspended", "suspended"),
        (("suspend", "blank"), "already suspended", "suspended"),
        (("start", "blank"), "resumed", "running"),
        (("suspend", "blank"), "suspended", "suspended"),
        (("resume", "blank"), "resumed", "running"),
        (("resume", "blank"), "already running", "running"),
        (("restart", "blank", "--timeout", "0"), "stopped, started", "running"),
        (("stop", "blank", "--timeout", "0"), "stopped", "stopped"),
        (("stop", "blank"), "already stopped", "stopped"),
        (("start", "blank"), "started", "running"),
    ):
        assert blank(*command).stdout == f"blank: {says}\n"
        assert states(blank) == {"blank": state}
    assert blank("destroy", "blank").stdout == "blank: destroyed\n"
    assert states(blank) == {}


def test_a_suspended_vm_is_stopped_and_goes_on_by_up(blank: Vmctl) -> None:
    blank("up")
    blank("suspend", "blank")
    assert blank("up").stdout == "blank: resumed\n"
    blank("suspend", "blank")
    assert blank("down", "--timeout", "0").stdout == "blank: stopped\n"


def test_what_is_not_allowed_says_what_is(blank: Vmctl) -> None:
    blank("create", "--name", "idle", "--image", "blank.qcow2", "--memory", "32")
    for command in ("suspend", "resume"):
        refused = blank(command, "idle", status=5)
        assert refused.code == "vm_manager::vm::invalid_state"
        assert "VM 'idle' is prepared" in refused.stderr
        assert "`vmctl start idle`" in refused.stderr


def test_json_has_an_outcome_and_the_phases_of_each_vm(blank: Vmctl) -> None:
    up = blank("up", "--json").json
    assert up["schema"] == 1
    assert [diagnostic["severity"] for diagnostic in up["diagnostics"]] in ([], ["warning"])
    (vm,) = up["vms"]
    assert (vm["name"], vm["outcome"], vm["diagnostic"]) == ("blank", "created, started", None)
    assert [phase["name"] for phase in vm["phases"]] == ["create", "start"]
    assert all(phase["elapsed_s"] >= 0 for phase in vm["phases"])
    for command in ("suspend", "resume", "restart", "stop", "start"):
        extra = ("--timeout", "0") if command in ("restart", "stop") else ()
        assert blank(command, "blank", "--json", *extra).json["vms"][0]["diagnostic"] is None
    assert blank("down", "--timeout", "0", "--json").json["vms"][0]["outcome"] == "stopped"
    refused = blank("suspend", "blank", "--json", status=5).json
    assert refused["vms"][0]["diagnostic"]["code"] == "vm_manager::vm::invalid_state"
    assert refused["diagnostics"][0]["code"] == "vm_manager::vm::invalid_state"
    unknown = blank("start", "nobody", "--json", status=4).json
    assert (unknown["vms"], unknown["diagnostics"][0]["code"]) == ([], "vm_manager::vm::not_found")
    assert blank("destroy", "blank", "--json").json["vms"][0]["outcome"] == "destroyed"


# create


def test_a_vm_from_options(blank: Vmctl) -> None:
    assert blank(*CREATE, "--vcpus", "2", "--disk", "64MiB").stdout == "made: created\n"
    assert states(blank) == {"made": "prepared"}
    record = blank.record("made")
    assert record["origin"] == "create"
    assert (record["spec"]["vcpus"], record["spec"]["memory_mib"], record["spec"]["disk_bytes"]) == (
        2,
        32,
        64 * 1024**2,
    )
    home = blank.home("made")
    assert (home / "id_ed25519_generated").exists()
    assert (home / "seed.iso").exists()
    info = json.loads(
        subprocess.run(
            ["qemu-img", "info", "--output=json", str(home / "overlay.qcow2")], capture_output=True, check=True
        ).stdout
    )
    assert info["virtual-size"] == 64 * 1024**2


def test_the_key_and_the_user_data_that_are_named_are_taken(blank: Vmctl) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(blank.directory / "id")], check=True)
    blank.write("#cloud-config\npackages: [htop]\n", "user-data")
    blank(*CREATE, "--ssh-key", "id.pub", "--cloud-init", "user-data", "--user", "debian")
    assert not (blank.home("made") / "id_ed25519_generated").exists()
    spec = blank.record("made")["spec"]
    assert spec["ssh"]["user"] == "debian"
    assert spec["cloud_init"]["ssh_key"] == str(blank.directory / "id.pub")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--vcpus", "0"), "vmctl::create::invalid_vcpus"),
        (("--vcpus", "many"), "vmctl::create::invalid_vcpus"),
        (("--memory", "2 parrots"), "vmctl::create::invalid_memory"),
        (("--memory", "0"), "vmctl::create::invalid_memory"),
        (("--image", "nowhere.qcow2"), "vmctl::create::image_not_found"),
        (("--disk", "huge"), "vmctl::usage"),
        (("--bridge", "a bridge"), "vmctl::usage"),
        (("--bridge", "br0", "--forward", "80"), "vmctl::usage"),
        (("--sha256", "0" * 64), "vmctl::usage"),
        (("--image-url", "http://127.0.0.1:1/x"), "vmctl::usage"),
        (("--ssh-key", "blank.qcow2"), "vmctl::usage"),
        (("--ssh-key", "nowhere.pub"), "vmctl::usage"),
        (("--name", "not_a_label"), "vmctl::usage"),
    ],
)
def test_options_that_cannot_be(blank: Vmctl, options: tuple[str, ...], code: str) -> None:
    if code == "vmctl::usage":
        assert blank(*CREATE, *options, status=2).code == code
    elif code == "vmctl::create::invalid_vcpus":
        prove(blank(*CREATE, *options, status=None), "vmctl::create::invalid_vcpus")
    elif code == "vmctl::create::invalid_memory":
        prove(blank(*CREATE, *options, status=None), "vmctl::create::invalid_memory")
    else:
        prove(blank(*CREATE, *options, status=None), "vmctl::create::image_not_found")
    assert states(blank) == {}


def test_no_image_and_a_name_that_is_taken(blank: Vmctl) -> None:
    prove(blank("create", "--name", "made", status=None), "vmctl::create::no_image")
    blank(*CREATE)
    before = blank.record("made")
    prove(blank(*CREATE, status=None), "vmctl::create::name_exists")
    assert blank.record("made") == before


# reload


def test_a_reloaded_vm_is_a_new_one(blank: Vmctl) -> None:
    blank("up")
    before, (pid,) = blank.record("blank"), qemu_processes(blank.data)
    result = blank("reload", "--timeout", "0")
    assert result.stdout.startswith("blank: stopped, replaced by a new VM, discarding a disk with ")
    assert result.stdout.endswith(", started\n")
    after, (new_pid,) = blank.record("blank"), qemu_processes(blank.data)
    assert before["instance_id"] != after["instance_id"]
    assert pid != new_pid
    blank("down", "--destroy")
    assert blank("reload").stdout == "blank: created, started\n"


def test_a_reload_that_fails_leaves_the_old_vm_whole(blank: Vmctl) -> None:
    blank("up")
    before, running = blank.record("blank"), qemu_processes(blank.data)
    (blank.directory / "rubbish.img").write_text("not found\n")
    blank.write(BLANK.replace("blank.qcow2", "rubbish.img"))
    assert blank("reload", status=8).code == "vm_manager::image::refused"
    assert blank.record("blank") == before
    assert qemu_processes(blank.data) == running
    assert states(blank) == {"blank": "running"}
    assert [path.name for path in (blank.data / "vmctl" / "vms").iterdir()] == ["blank"]


# Whose VM


def test_two_projects_that_both_define_a_vm_cannot_touch_each_others(blank: Vmctl, tmp_path: Path) -> None:
    blank("up")
    before = blank.record("blank")
    other = Vmctl(tmp_path / "other", blank.data)
    other.write(BLANK.replace("blank.qcow2", str(blank.directory / "blank.qcow2")))
    for command in (("up",), ("down",), ("down", "--destroy"), ("reload",), ("provision",)):
        result = other(*command, status=None)
        prove(result, "vm_manager::vm::foreign")
        assert str(blank.directory / "VMFile.kdl") in result.stderr
        assert str(tmp_path / "other" / "VMFile.kdl") in result.stderr
    assert blank.record("blank") == before
    assert states(blank) == {"blank": "running"}
    adopted = other("up", "--adopt")
    assert adopted.stdout == "blank: already running\n"
    assert "adopted; it was created from " in adopted.stderr
    assert blank("down", status=5).code == "vm_manager::vm::foreign"
    other("down", "--timeout", "0")


def test_a_vm_from_options_belongs_to_no_vmfile_until_it_is_adopted(blank: Vmctl) -> None:
    blank("create", "--name", "blank", "--image", "blank.qcow2", "--memory", "32")
    refused = blank("down", "--destroy", status=5)
    assert "was created by `vmctl create`" in refused.stderr
    blank("create", "--name", "mine", "--image", "blank.qcow2", "--memory", "32")
    blank.write(BLANK.replace('"blank"', '"mine"').replace("accel", "ssh {}\n    accel") + BLANK)
    assert "created by `vmctl create`" in blank("down", "mine", status=5).stderr


def test_what_the_vmfile_defines_no_more_is_told_and_ended_on_request(blank: Vmctl) -> None:
    blank.write(BLANK + BLANK.replace('"blank"', '"old"'))
    blank("up")
    blank("create", "--name", "made", "--image", "blank.qcow2", "--memory", "32")
    blank.write(BLANK)
    for command in ("up", "down"):
        said = blank(command, *(("--timeout", "0") if command == "down" else ())).stderr
        assert "old: was created from VMFile.kdl, which no longer defines it: `vmctl down --orphans` stops it" in said
        assert "made:" not in said
    assert states(blank) == {"blank": "stopped", "made": "prepared", "old": "running"}
    assert blank("down", "--orphans", "--timeout", "0").stdout == "blank: already stopped\nold: stopped\n"
    assert blank("down", "--orphans", "--destroy").stdout == "blank: destroyed\nold: destroyed\n"
    assert states(blank) == {"made": "prepared"}


# What is being made or removed


def test_what_an_interrupted_command_left_is_listed_and_goes_with_the_next(blank: Vmctl) -> None:
    blank(*CREATE)
    vms = blank.data / "vmctl" / "vms"
    (vms / "made").rename(vms / ".preparing-made")
    assert states(blank) == {"made": "failed"}
    assert blank("status", "made", "--json").json["vm"]["state"] == "failed"
    assert blank("start", "made", status=4).code == "vm_manager::vm::not_found"
    again = blank(*CREATE)
    assert "made: removed what an interrupted command had left unfinished" in again.stderr
    assert states(blank) == {"made": "prepared"}
    (vms / "made").rename(vms / ".destroying-made")
    assert states(blank) == {"made": "destroyed"}
    assert blank("destroy", "made").stdout == "made: destroyed\n"
    assert list(vms.iterdir()) == []
