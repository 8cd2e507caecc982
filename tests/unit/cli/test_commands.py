"""`vmctl` as a process: exit statuses, what goes to which stream, and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_VMCTL = Path(sys.executable).with_name("vmctl")


@dataclass(frozen=True)
class _Result:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class _Vmctl:
    """Runs vmctl with the noop backend in a directory of its own, which has a VMFile and a disk image."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data" / "vmctl"
        (directory / "disk.img").write_bytes(b"\0" * 512)
        self.vmfile('vm "web" { image "disk.img" }\nvm "db" { image "disk.img"; memory 64 }\n')

    def vmfile(self, text: str) -> None:
        (self.directory / "VMFile.kdl").write_text(text)

    def __call__(self, *args: str, cwd: Path | None = None, **env: str) -> _Result:
        environment = {
            **os.environ, "XDG_DATA_HOME": str(self.directory / "data"), "VMCTL_BACKEND": "noop", "COLUMNS": "80", **env
        }  # fmt: skip
        done = subprocess.run(
            [_VMCTL, *args],
            cwd=cwd or self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return _Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def vmctl(tmp_path: Path) -> _Vmctl:
    return _Vmctl(tmp_path)


def test_a_life_on_the_command_line(vmctl: _Vmctl) -> None:
    up = vmctl("up")
    assert (up.status, up.stdout) == (0, "web: created, started\ndb: created, started\n")
    assert "web: starting" in up.stderr
    down = vmctl("down", "--name", "db", "--destroy")
    assert (down.status, down.stdout) == (0, "db: destroyed\n")
    assert vmctl("--quiet", "list").stdout == "web\n"
    assert vmctl("destroy", "web").stdout == "web: destroyed\n"
    assert vmctl("list").stdout.splitlines()[1:] == []


@pytest.mark.parametrize(
    ("args", "status", "code"),
    [
        (["nosuch"], 2, "vmctl::usage"),
        (["status"], 2, "vmctl::usage"),
        (["list", "extra"], 2, "vmctl::usage"),
        (["up", "--color", "sometimes"], 2, "vmctl::usage"),
        (["down", "--timeout", "-1"], 2, "vmctl::usage"),
        (["up", "--file", "missing.kdl"], 3, "vm_manager::vmfile::not_found"),
        (["up", "--file", "disk.img"], 3, "vm_manager::vmfile::parse_failed"),
        (["status", "nope"], 4, "vm_manager::vm::not_found"),
        (["status", "../x"], 4, "vm_manager::vm::not_found"),
        (["destroy", "nope"], 4, "vm_manager::vm::not_found"),
        (["up", "nope"], 4, "vm_manager::vm::not_found"),
        (["up", "--backend", "xen"], 6, "vm_manager::backend::not_available"),
    ],
)  # fmt: skip
def test_a_failure_exits_with_its_status_and_is_explained_on_standard_error(
    vmctl: _Vmctl, args: list[str], status: int, code: str
) -> None:
    result = vmctl(*args)
    assert (result.status, result.stdout) == (status, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"error[{code}]: ")
    assert any(line.startswith("  = help: ") for line in lines)
    assert not vmctl.data.exists() or list(vmctl.data.glob("vms/*")) == []


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (["nosuch"], ["error[vmctl::usage]: no such command: 'nosuch'", "  = help: run `vmctl --help`"]),
        (
            ["status"],
            [
                "error[vmctl::usage]: missing argument 'NAME'",
                "  = help: to see the names of the VMs: `vmctl list`",
                "  = help: run `vmctl status --help`",
            ],
        ),
        (
            ["down", "--timeout", "soon"],
            [
                "error[vmctl::usage]: invalid value for '--timeout': 'soon' is not a number",
                "  = help: run `vmctl down --help`",
            ],
        ),
    ],
    ids=["command", "argument", "value"],
)
def test_a_mistake_on_the_command_line_looks_like_any_other_failure(
    vmctl: _Vmctl, args: list[str], lines: list[str]
) -> None:
    assert vmctl(*args).stderr.splitlines() == lines


def test_an_invalid_vmfile_exits_with_3_and_shows_every_problem(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" {\n    image "disk.img"\n    vcpu 2\n    memory 1\n}\n')
    result = vmctl("up")
    assert result.status == 3
    assert " --> VMFile.kdl:3:5\n" in result.stderr
    assert " --> VMFile.kdl:4:12\n" in result.stderr


def test_a_vm_of_another_vmfile_exits_with_5(vmctl: _Vmctl) -> None:
    vmctl("up")
    other = vmctl.directory / "other.kdl"
    other.write_text('vm "web" { image "disk.img" }\n')
    for command in ("up", "down"):
        result = vmctl(command, "--file", "other.kdl")
        assert result.status == 5
        assert result.stderr.startswith("error[vm_manager::vm::foreign]: ")


def test_failures_of_one_kind_keep_its_status(vmctl: _Vmctl) -> None:
    vmctl("up")
    vmctl("down")
    homes = [vmctl.data / "vms" / name for name in ("web", "db")]
    for home in homes:
        (home / "machine").mkdir()
    same = vmctl("up")
    assert same.status == 14
    assert same.stderr.count("error[vm_manager::io]") == 2
    assert "error[vmctl::partial]: 2 of 2 VMs failed" in same.stderr


def test_a_vmfile_above_is_used_and_named(vmctl: _Vmctl) -> None:
    (vmctl.directory / "deep").mkdir()
    result = vmctl("up", "web", cwd=vmctl.directory / "deep")
    assert result.status == 0
    assert result.stderr.startswith(f"using {vmctl.directory}/VMFile.kdl\n")


# JSON


def test_list_as_json_is_one_document(vmctl: _Vmctl) -> None:
    assert vmctl("list", "--json").json == {"schema": 1, "vms": [], "diagnostics": []}
    vmctl("up")
    document = vmctl("list", "--json").json
    assert [vm["name"] for vm in document["vms"]] == ["db", "web"]
    assert document["vms"][0] == {
        "name": "db", "state": "running", "backend": "noop", "accelerator": None, "vcpus": 1, "memory_mib": 64, "network": "user",
        "pid": None, "ssh": None, "forwards": [], "last_failure": None,
    }  # fmt: skip


def test_a_suspended_vm_is_ready_again_when_it_is_resumed(vmctl: _Vmctl) -> None:
    vmctl("up")
    for command in ("suspend", "suspend --to-disk"):
        vmctl(*command.split(), "web")
        assert "Ready:        no, until resumed\n" in vmctl("status", "web").stdout
        assert vmctl("status", "web", "--json").json["vm"]["ready"] is False
        vmctl("resume", "web")
        assert "Ready:        yes\n" in vmctl("status", "web").stdout


def test_status_as_json_is_one_document_on_failure_too(vmctl: _Vmctl) -> None:
    vmctl("up")
    document = vmctl("status", "web", "--json").json
    assert set(document) == {"schema", "vm", "diagnostics"}
    assert (document["vm"]["state"], document["vm"]["ready"]) == ("running", True)
    assert document["vm"]["origin"] == str(vmctl.directory / "VMFile.kdl")
    failed = vmctl("status", "wbe", "--json")
    assert failed.status == 4
    assert failed.json["vm"] is None
    assert failed.json["diagnostics"][0]["help"][0] == "did you mean 'web'?"
    assert failed.stderr.startswith("error[vm_manager::vm::not_found]")


def test_a_corrupt_vm_hides_no_other_one_in_the_list(vmctl: _Vmctl) -> None:
    vmctl("up")
    (vmctl.data / "vms" / "db" / "vm.json").write_bytes(b"{")
    plain, document = vmctl("list"), vmctl("list", "--json").json
    assert plain.status == 0
    assert plain.stdout.splitlines()[1].startswith("web ")
    assert plain.stderr.startswith("warning[vm_manager::state::corrupt]")
    assert [vm["name"] for vm in document["vms"]] == ["web"]
    assert [found["code"] for found in document["diagnostics"]] == ["vm_manager::state::corrupt"]


# Global options


@pytest.mark.parametrize(
    "args", [["--quiet", "up", "web"], ["up", "--quiet", "web"], ["up", "web", "-q"]], ids=" ".join
)
def test_quiet_is_taken_before_and_behind_the_command(vmctl: _Vmctl, args: list[str]) -> None:
    result = vmctl(*args)
    assert (result.status, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("args", [["--backend", "xen", "up"], ["up", "--backend", "xen"]], ids=" ".join)
def test_a_backend_is_taken_before_and_behind_the_command_and_wins_over_the_environment(
    vmctl: _Vmctl, args: list[str]
) -> None:
    assert vmctl(*args).status == 6


@pytest.mark.parametrize("args", [["-v", "list"], ["list", "-vv"]], ids=" ".join)
def test_verbosity_changes_nothing_on_standard_output(vmctl: _Vmctl, args: list[str]) -> None:
    assert vmctl(*args).stdout == vmctl("list").stdout


def test_colour_is_used_on_demand_only(vmctl: _Vmctl) -> None:
    assert "\x1b[" not in vmctl("status", "nope").stderr
    assert "\x1b[" in vmctl("status", "nope", "--color", "always").stderr


def test_without_a_command_there_is_help_and_status_2(vmctl: _Vmctl) -> None:
    result = vmctl()
    assert (result.status, result.stderr) == (2, "")
    assert "Usage: vmctl" in result.stdout
    assert "provision" in result.stdout


@pytest.mark.parametrize("args", [["-h"], ["--help"], ["up", "-h"], ["ssh", "--help"]], ids=" ".join)
def test_help_is_everywhere(vmctl: _Vmctl, args: list[str]) -> None:
    result = vmctl(*args)
    assert result.status == 0
    assert "Usage: vmctl" in result.stdout


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (["up", "--help"], ["[env: VMCTL_ACCEL]", "[default: all]"]),
        (["create", "--help"], ["[default: a new key pair]"]),
        (["image", "pull", "--help"], ["[env: VMCTL_MAX_IMAGE_SIZE]"]),
    ],
    ids=lambda given: " ".join(given),
)
def test_help_shows_defaults_and_variables_rather_than_take_them_for_markup(
    vmctl: _Vmctl, args: list[str], shown: list[str]
) -> None:
    text = " ".join(vmctl(*args).stdout.replace("│", " ").split())
    assert [part for part in shown if part not in text] == []


def test_the_version_is_told(vmctl: _Vmctl) -> None:
    result = vmctl("--version")
    assert result.status == 0
    assert result.stdout.startswith("vmctl ")


# Checking a VMFile


def test_a_right_vmfile_is_said_to_be_right(vmctl: _Vmctl) -> None:
    result = vmctl("validate")
    assert (result.status, result.stdout, result.stderr) == (0, "VMFile.kdl: 2 VMs, no problems\n", "")
    assert vmctl("validate", "--quiet").stdout == ""
    assert not vmctl.data.exists()


def test_warnings_are_shown_and_change_nothing(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" { image "disk.img"; memory "16TiB" }\n')
    result = vmctl("validate")
    assert (result.status, result.stdout) == (0, "VMFile.kdl: 1 VM, 1 warning\n")
    assert result.stderr.startswith("warning[vm_manager::vmfile::validation]: more memory than this host has")
    up = vmctl("up")
    assert (up.status, up.stdout) == (0, "web: created, started\n")
    assert "warning[vm_manager::vmfile::validation]: more memory" in up.stderr
    assert "warning" not in vmctl("down").stderr


def test_all_mistakes_are_shown_and_counted(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" { imgae "disk.img"; vcpus "four"; memory "16TiB"\n ssh { usr "x" } }\n')
    result = vmctl("validate")
    assert (result.status, result.stdout) == (3, "VMFile.kdl: 3 problems, 1 warning\n")
    assert result.stderr.count("error[") == 3
    assert result.stderr.count("warning[") == 1


def test_one_mistake_needs_no_counting(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" { imgae "disk.img" }\n')
    assert (vmctl("validate").status, vmctl("validate").stdout) == (3, "")


def test_what_is_found_is_one_json_document(vmctl: _Vmctl) -> None:
    assert vmctl("validate", "--json").json == {"schema": 1, "file": "VMFile.kdl", "valid": True, "diagnostics": []}
    vmctl.vmfile('vm "web" { imgae "disk.img"; vcpus "four"; memory "16TiB" }\n')
    result = vmctl("validate", "--json")
    assert result.status == 3
    assert (result.json["file"], result.json["valid"]) == ("VMFile.kdl", False)
    found = result.json["diagnostics"]
    assert [(one["severity"], one["labels"][0]["column"]) for one in found] == [
        ("error", 12), ("error", 36), ("warning", 51)
    ]  # fmt: skip
    assert all(one["related"] == [] for one in found)


def test_a_vmfile_that_is_not_there_is_not_valid(vmctl: _Vmctl) -> None:
    result = vmctl("validate", "--file", "missing.kdl", "--json")
    assert result.status == 3
    assert (result.json["file"], result.json["valid"]) == ("missing.kdl", False)
    assert result.json["diagnostics"][0]["code"] == "vm_manager::vmfile::not_found"


def test_annotations_of_a_workflow_mark_each_line(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" {\n    image "disk.img"\n    vcpu 2\n    memory "16TiB"\n}\n')
    lines = vmctl("validate", "--error-format", "github").stderr.splitlines()
    assert lines[0].startswith("::error title=vm_manager%3A%3Avmfile%3A%3Avalidation,file=VMFile.kdl,line=3,col=5,")
    assert lines[1].startswith("::warning title=vm_manager%3A%3Avmfile%3A%3Avalidation,file=VMFile.kdl,line=4,col=12,")


def test_validate_accepts_what_up_and_provision_refuse(vmctl: _Vmctl) -> None:
    vmctl("up")
    vnics = 'network "vnic" name="a0"; network "vnic" name="a1"'
    text = 'vm "web" {{ image "disk.img"{} }}\nvm "db" {{ image "disk.img"; {} }}\n'
    vmctl.vmfile(text.format("", vnics))
    assert vmctl("validate").status == 0
    for command in ("up", "provision"):
        result = vmctl(command)
        assert (result.status, result.stdout) == (3, "")
        assert result.stderr.count("is not supported yet") == 2
    assert vmctl("up", "web").status == 0
    assert vmctl("down").status == 0


def test_the_backend_decides_what_is_right(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" { image "disk.img"; network "vnic" name="v0" }\n')
    assert vmctl("validate").status == 0
    assert vmctl("validate", "--backend", "qemu").status == 3
    vmctl.vmfile('vm "web" { image "disk.img"; mount "." "/srv" }\n')
    assert vmctl("validate").status == 3
    assert vmctl("validate", "--backend", "qemu").status == 0


_STEP = 'vm "web" { image "disk.img"; provision "shell" { inline "true"; }; }\n'


@pytest.mark.parametrize("goal", ["ssh", "none"])
def test_provisioners_need_a_guest_that_is_waited_for(vmctl: _Vmctl, goal: str) -> None:
    vmctl.vmfile(_STEP)
    refused = vmctl("up", "--wait", goal)
    assert refused.status == 2
    assert f"VM 'web' has provisioners, which need more than --wait {goal}" in refused.stderr
    assert vmctl("list", "--quiet").stdout == ""
    assert vmctl("up", "--wait", goal, "--no-provision").stdout == "web: created, started\n"


def test_a_word_that_nothing_waits_for_is_refused(vmctl: _Vmctl) -> None:
    refused = vmctl("up", "--wait", "soon")
    assert refused.status == 2
    assert "must be ready, ssh or none" in refused.stderr


def test_a_step_must_exist_and_be_of_one_vm(vmctl: _Vmctl) -> None:
    vmctl.vmfile(_STEP + 'vm "db" { image "disk.img"; }\n')
    for arguments, said in (
        (("--step", "1"), "a single step needs a single VM, but 2 are selected"),
        (("--step", "2", "web"), "VM 'web' has no step 2"),
        (("--step", "1", "db"), "VM 'db' has no step 1"),
        (("--step", "0", "web"), "0 is less than 1"),
    ):
        refused = vmctl("provision", *arguments)
        assert refused.status == 2
        assert said in refused.stderr


# What depends on what, and plans


_CHAIN = """
vm "front" { image "disk.img"; depends-on "web"; }
vm "web" { image "disk.img"; depends-on "db"; }
vm "db" { image "disk.img"; }
vm "mail" { image "disk.img"; }
"""


def test_up_of_one_vm_brings_up_what_it_depends_on_first(vmctl: _Vmctl) -> None:
    vmctl.vmfile(_CHAIN)
    told = vmctl("up", "web")
    assert told.stdout == "web: created, started\ndb: created, started\n"
    started = [line for line in told.stderr.splitlines() if line.endswith(": starting")]
    assert started == ["db: starting", "web: starting"]


def test_down_stops_dependants_first(vmctl: _Vmctl) -> None:
    vmctl.vmfile(_CHAIN)
    vmctl("up")
    stopping = [line for line in vmctl("down").stderr.splitlines() if line.endswith(": stopping")]
    assert [line for line in stopping if not line.startswith("mail")] == [
        "front: stopping",
        "web: stopping",
        "db: stopping",
    ]


def test_a_failure_skips_dependants_and_lets_the_others_finish(vmctl: _Vmctl) -> None:
    vmctl.vmfile(_CHAIN)
    vmctl("up")
    vmctl("down")
    (vmctl.data / "vms" / "db" / "machine").mkdir()
    result = vmctl("up")
    assert result.status == 14
    assert result.stdout.splitlines() == [
        "front: skipped: it depends on 'web', which failed or was skipped",
        "web: skipped: it depends on 'db', which failed or was skipped",
        "db: failed",
        "mail: started",
    ]
    document = json.loads(vmctl("up", "--json").stdout)
    assert [vm["outcome"].split(":")[0] for vm in document["vms"]] == [
        "skipped",
        "skipped",
        "failed",
        "already running",
    ]


def test_a_plan_says_what_would_be_done_and_why_and_changes_nothing(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" {\n    image "disk.img"\n}\nvm "db" { image "disk.img"; }\n')
    for command in (("plan",), ("up", "--dry-run")):
        shown = vmctl(*command)
        assert shown.status == 0
        assert shown.stdout.splitlines() == [
            "VM   ACTION  LINE          REASON",
            "web  create  VMFile.kdl:1  does not exist",
            "web  start   VMFile.kdl:1  new",
            "db   create  VMFile.kdl:4  does not exist",
            "db   start   VMFile.kdl:4  new",
            "",
            "Plan: 2 to create, 0 to change, 0 to destroy",
        ]
    assert not (vmctl.data / "vms").exists()
    vmctl("up", "web")
    document = json.loads(vmctl("plan", "--json").stdout)
    assert document["operations"][0] == {
        "vm": "web",
        "action": "nothing",
        "cause": "already running",
        "file": "VMFile.kdl",
        "line": 1,
    }
    assert vmctl("plan").stdout.splitlines()[1] == "web  no change  VMFile.kdl:1  already running"


def test_a_plan_names_what_was_edited_and_what_takes_it_up(vmctl: _Vmctl) -> None:
    (vmctl.directory / "user-data").write_text("#cloud-config\npackages: [htop]\n")
    vmctl.vmfile('vm "web" { image "disk.img"; cloud-init { user-data "user-data"; } }\n')
    vmctl("up")
    (vmctl.directory / "user-data").write_text("#cloud-config\npackages: [nginx]\n")
    assert "user-data changed: takes effect after `vmctl reload`" in vmctl("plan").stdout
    vmctl.vmfile('vm "web" { image "disk.img"; memory 64; disk 1; cloud-init { user-data "user-data"; } }\n')
    _, line, _, _ = vmctl("plan").stdout.splitlines()
    assert "memory changed: takes effect after `vmctl down` and `vmctl up`" in line
    assert "disk, user-data changed: takes effect after `vmctl reload`" in line
    vmctl("reload")
    assert vmctl("plan").stdout.splitlines()[1] == "web  no change  VMFile.kdl:1  already running"


def test_a_plan_that_cannot_be_made_is_a_document_all_the_same(vmctl: _Vmctl) -> None:
    vmctl.vmfile('vm "web" {\n')
    result = vmctl("plan", "--json")
    assert result.status == 3
    assert json.loads(result.stdout)["diagnostics"][0]["code"] == "vm_manager::vmfile::parse_failed"
