"""Several guests at once: what depends on what, one that fails, Ctrl-C in the middle."""

from __future__ import annotations

import json

from conftest import TinyGuest
from driver import Vmctl, interrupted, qemu_processes, wait_for
from proofs import prove

_DB_FIRST = 'depends-on "db"\n    provision "shell" { inline "echo after db"; }'


def test_dependants_wait_and_a_failure_stops_only_those_that_need_it(vmctl: Vmctl, tiny: TinyGuest) -> None:
    vmctl.write(
        tiny.vm("web", _DB_FIRST)
        + tiny.vm("db", 'provision "shell" { inline "echo db is here; exit 3"; }')
        + tiny.vm("mail", 'provision "shell" { inline "echo mail is here"; }')
    )
    result = vmctl("up", status=12)
    prove(result, "vm_manager::provision::failed", evidence="db is here")
    assert result.stdout.splitlines() == [
        "web: skipped: it depends on 'db', which failed or was skipped",
        "db: failed",
        "mail: created, started, ready, provisioned (1 step)",
    ]
    assert "web:" not in result.stderr
    assert "mail | mail is here" in result.stderr
    assert {vm["name"]: vm["state"] for vm in vmctl("list", "--json").json["vms"]} == {
        "db": "running",
        "mail": "running",
    }
    assert "stdout: mail is here" in (vmctl.home("mail") / "provision.log").read_text()
    # Mended, the rest follows in its order, and what was done stays done.
    vmctl.write(
        tiny.vm("web", _DB_FIRST)
        + tiny.vm("db", 'provision "shell" { inline "echo db is here"; }')
        + tiny.vm("mail", 'provision "shell" { inline "echo mail is here"; }')
    )
    mended = vmctl("up", "--error-format", "json", "--json")
    outcomes = {vm["name"]: vm["outcome"] for vm in mended.json["vms"]}
    assert outcomes == {
        "web": "created, started, ready, provisioned (1 step)",
        "db": "provisioned (1 step)",
        "mail": "already running",
    }
    assert [phase["name"] for phase in mended.json["vms"][0]["phases"]][:3] == ["create", "start", "wait"]
    events = [json.loads(line) for line in mended.stderr.splitlines()]
    told = [(event["vm"], event["step"]) for event in events if event.get("event") == "step_started"]
    assert told.index(("web", "create")) > told.index(("db", "provision"))
    down = [line for line in vmctl("down").stderr.splitlines() if line.endswith(("stopping", "s)"))]
    stopped = next(number for number, line in enumerate(down) if line.startswith("web: stopped"))
    assert stopped < down.index("db: stopping")


def test_ctrl_c_in_the_middle_ends_all_waits_and_up_goes_on(vmctl: Vmctl, tiny: TinyGuest) -> None:
    vmctl.write(tiny.vm("web", _DB_FIRST) + tiny.vm("db") + tiny.vm("mail"))
    process = vmctl.start("up", start_new_session=True)
    wait_for(lambda: len(qemu_processes(vmctl.data)) == 2, "two QEMUs")
    prove(interrupted(process), "vmctl::interrupted")
    assert len(qemu_processes(vmctl.data)) <= 2
    outcomes = {vm["name"]: vm["outcome"] for vm in vmctl("up", "--json").json["vms"]}
    assert outcomes["web"] == "created, started, ready, provisioned (1 step)"
    assert len(qemu_processes(vmctl.data)) == 3
    assert set(vmctl("up").stdout.splitlines()) == {f"{name}: already running" for name in ("web", "db", "mail")}
