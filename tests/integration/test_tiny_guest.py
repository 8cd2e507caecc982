"""A real Linux with a real SSH server, up in seconds: reaching, provisioning, failing and going on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect

from conftest import TinyGuest
from driver import LIMIT_S, VMCTL, Result, Vmctl, interrupted, qemu_processes, wait_for
from proofs import prove


def step(kind: str, **nodes: str) -> str:
    """A provision block."""
    lines = "; ".join(f'{name} "{value}"' for name, value in nodes.items())
    return f'provision "{kind}" {{ {lines}; }}\n    '


def test_a_guest_comes_up_is_reached_goes_down_and_comes_back_with_its_disk_and_keys(
    vmctl: Vmctl, tiny: TinyGuest
) -> None:
    vmctl.write(tiny.vm(body=step("shell", inline="echo provisioned")))
    result = vmctl("up")
    assert result.stdout == "tiny: created, started, ready, provisioned (1 step)\n"
    assert "tiny | provisioned" in result.stderr
    assert vmctl("up").stdout == "tiny: already running\n"
    before = vmctl.record("tiny")
    assert vmctl("down").stdout == "tiny: stopped\n"
    assert qemu_processes(vmctl.data) == []
    # Provisioned again: a guest that is started anew may have lost what its steps had done.
    assert vmctl("up").stdout == "tiny: started, ready, provisioned (1 step)\n"
    after = vmctl.record("tiny")
    assert after["instance_id"] == before["instance_id"]
    assert after["backend_data"]["uuid"] == before["backend_data"]["uuid"]


def test_ssh_infers_the_vm_runs_the_command_and_passes_its_status_on(running: Vmctl) -> None:
    result = running("ssh", "--", "echo out; echo err >&2; exit 7", status=7)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert running("ssh", "tiny", "--", "cat", "/proc/sys/kernel/ostype").stdout == "Linux\n"
    # What ssh(1) hands on as it is reaches the guest's shell, which knows the words.
    assert running("ssh", "--", "echo", "$((6 * 7))").stdout == "42\n"


def test_ssh_to_a_guest_with_another_host_key_is_refused(running: Vmctl, tiny: TinyGuest) -> None:
    known_hosts = running.home("tiny") / "known_hosts"
    pinned = known_hosts.read_text()
    other = subprocess.run(
        [sys.executable, "-c", "from vm_manager.guest.keys import generate_key_pair as g; print(g('x').public)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known_hosts.write_text(f"tiny {other}")
    refused = running("ssh", "--", "true", status=255)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr
    assert refused.code == "vm_manager::ssh::host_key_mismatch"
    running.write(tiny.vm(body='provision "shell" { inline "true"; }'))
    result = running("provision", status=11)
    known_hosts.write_text(pinned)
    prove(result, "vm_manager::ssh::host_key_mismatch")


def test_an_image_with_a_host_key_of_its_own_is_trusted_once_aloud_and_never_again(
    vmctl: Vmctl, tiny: TinyGuest
) -> None:
    vmctl.write(tiny.vm())
    assert "could not be verified" in vmctl("up").stderr
    offered = tiny.image.with_suffix(".hostkey.pub").read_text().split()[1]
    assert offered in (vmctl.home("tiny") / "known_hosts").read_text()
    vmctl("down")
    assert "could not be verified" not in vmctl("up").stderr


def test_ssh_to_a_stopped_vm_says_how_to_start_it(running: Vmctl) -> None:
    running("down")
    result = running("ssh", status=5)
    assert result.code == "vm_manager::vm::invalid_state"
    assert "`vmctl start tiny`" in result.stderr


def test_a_failing_step_is_shown_and_the_next_up_goes_on_from_it(running: Vmctl, tiny: TinyGuest) -> None:
    first = step("shell", inline="echo first >>/root/steps")
    failing = step("shell", inline="echo going; echo wrong >&2; exit 3")
    running.write(tiny.vm(body=first + failing + step("shell", inline="echo third >>/root/steps")))
    result = running("up", status=12)
    prove(result, "vm_manager::provision::failed", evidence="wrong")
    assert "provisioning step 2 exited with 3" in result.stderr
    assert "VMFile.kdl:6:" in result.stderr
    assert "command: echo going" in result.stderr
    evidence = result.stderr.split("evidence:")[-1]
    assert re.search(r"\| (going\n  \| wrong|wrong\n  \| going)\n", evidence)
    failure = running("status", "tiny", "--json").json["vm"]
    assert (failure["state"], failure["last_failure"]["code"]) == ("running", "vm_manager::provision::failed")
    assert "stderr: wrong" in (running.home("tiny") / "provision.log").read_text()

    repaired = step("shell", inline="echo second >>/root/steps")
    running.write(tiny.vm(body=first + repaired + step("shell", inline="echo third >>/root/steps")))
    assert running("up").stdout == "tiny: provisioned (2 steps)\n"
    assert running("ssh", "--", "cat", "/root/steps").stdout == "first\nsecond\nthird\n"
    assert running("status", "tiny", "--json").json["vm"]["last_failure"] is None


def test_files_and_scripts_arrive_as_they_are_and_leave_nothing_behind(running: Vmctl, tiny: TinyGuest) -> None:
    content = bytes(range(256)) * 5000
    (running.directory / "odd name.bin").write_bytes(content)
    (running.directory / "odd name.bin").chmod(0o640)
    script = running.write('#!/bin/sh\necho "script $0"\ncat\necho end\n', "set up.sh")
    script.chmod(0o644)
    destination = "/srv/a b/it's $HOME.bin"
    running.write(
        tiny.vm(body=step("file", source="odd name.bin", destination=destination) + step("shell", script="set up.sh"))
    )
    result = running("up")
    # Standard input is at its end, so `cat` does not wait for ever.
    assert re.search(r"tiny \| script /tmp/vmctl\.\w+/set up\.sh\ntiny \| end\n", result.stderr)
    measured = running(
        "ssh", "--", f"sha256sum '{destination.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'; ls /tmp"
    )
    import hashlib

    assert measured.stdout.split()[0].lstrip("\\") == hashlib.sha256(content).hexdigest()
    assert "vmctl." not in measured.stdout
    mode = running("ssh", "--", "stat -c %a /srv/*/it*")
    assert mode.stdout == "640\n"


def test_provision_runs_all_steps_again(running: Vmctl, tiny: TinyGuest) -> None:
    running.write(tiny.vm(body=step("shell", inline="echo run >>/root/runs")))
    running("up")
    assert running("provision").stdout == "tiny: provisioned (1 step)\n"
    assert running("ssh", "--", "cat /root/runs").stdout == "run\nrun\n"
    running("down")
    assert running("provision", status=5).code == "vm_manager::vm::invalid_state"


def test_no_provision_leaves_the_steps_to_the_next_up(running: Vmctl, tiny: TinyGuest) -> None:
    running.write(tiny.vm(body=step("shell", inline="true")))
    assert running("up", "--no-provision").stdout == "tiny: already running\n"
    assert running("up").stdout == "tiny: provisioned (1 step)\n"


def test_the_clock_of_a_guest_that_stood_still_is_set(running: Vmctl) -> None:
    for sleep, wake in (
        (("suspend",), ("resume", "tiny")),
        (("suspend",), ("up",)),
        (("suspend", "--to-disk"), ("resume", "tiny")),
        (("snapshot", "create"), ("snapshot", "restore", "tiny", "then")),
    ):
        running("ssh", "tiny", "date -s @1000000000")
        running(*sleep, "tiny", *(["then"] if sleep[0] == "snapshot" else []))
        told = running(*wake).stderr
        assert re.search(r"tiny: set the guest's clock, which was (\d+) s behind", told), told
        assert "booting" not in told
        assert abs(int(running("ssh", "tiny", "date +%s").stdout) - time.time()) < 300


def test_a_wrong_key_is_told_from_a_guest_that_is_not_up(vmctl: Vmctl, tiny: TinyGuest) -> None:
    vmctl.write(tiny.vm(body='cloud-init { hostname "x"; }').replace(f'private-key "{tiny.key}"; ', ""))
    result = vmctl("up", status=11)
    prove(result, "vm_manager::ssh::auth_failed", evidence="console")
    assert "user 'root'" in result.stderr


def test_qemu_killed_while_a_step_runs_is_the_cause_that_is_named(vmctl: Vmctl, tiny: TinyGuest) -> None:
    vmctl.write(tiny.vm(body=step("shell", inline="echo begun; sleep 600")))
    process = vmctl.start("up")
    log = vmctl.home("tiny") / "provision.log"
    wait_for(lambda: log.exists() and "stdout: begun" in log.read_text(), "the step")
    os.kill(qemu_processes(vmctl.data)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (7, 11, 12), stderr
    assert "[vm_manager::qemu::exited]" in stderr
    assert "killed by SIGKILL" in stderr


def test_qemu_killed_while_the_guest_boots_ends_the_wait_at_once(vmctl: Vmctl, tiny: TinyGuest) -> None:
    vmctl.write(tiny.vm())
    process = vmctl.start("up")
    wait_for(lambda: len(qemu_processes(vmctl.data)) == 1, "QEMU")
    console = vmctl.home("tiny") / "console.log"
    wait_for(lambda: console.exists() and console.stat().st_size > 0, "the console")
    os.kill(qemu_processes(vmctl.data)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=LIMIT_S)
    prove(Result(process.returncode, "", stderr), "vm_manager::qemu::exited", evidence="the guest's console")
    assert "error[vm_manager::qemu::exited]: QEMU was killed by SIGKILL" in stderr


def test_ctrl_c_leaves_a_vm_that_the_next_up_goes_on_with(running: Vmctl, tiny: TinyGuest) -> None:
    running.write(tiny.vm(body=step("shell", inline="echo begun; sleep 600")))
    process = running.start("up", start_new_session=True)
    log = running.home("tiny") / "provision.log"
    wait_for(lambda: log.exists() and "stdout: begun" in log.read_text(), "the step")
    result = interrupted(process)
    assert result.status == 130, result.stderr
    assert "error[vmctl::interrupted]" in result.stderr
    assert "step 1 of VM 'tiny' was still running: echo begun; sleep 600" in result.stderr
    assert "nohup" not in result.stderr
    assert len(qemu_processes(running.data)) == 1
    running.write(tiny.vm(body=step("shell", inline="true")))
    assert running("up").stdout == "tiny: provisioned (1 step)\n"


def test_a_boot_that_takes_too_long_says_what_is_waited_for_and_shows_the_console(
    vmctl: Vmctl, tiny: TinyGuest
) -> None:
    vmctl.write(tiny.vm(body="boot-timeout 2"))
    result = vmctl("up", status=10)
    prove(result, "vm_manager::guest::boot_timeout", evidence="console")
    assert "not ready in 2 s: still waiting for" in result.stderr
    assert "boot-timeout" in result.stderr.split("help:", 1)[1]
    vmctl.write(tiny.vm())
    assert vmctl("up").stdout == "tiny: ready\n"


def test_an_image_is_fetched_over_http_once(vmctl: Vmctl, tiny: TinyGuest, http_root: tuple[str, Path]) -> None:
    base, root = http_root
    (root / "tiny.qcow2").symlink_to(tiny.image)
    source = f'image-url "{base}/tiny.qcow2"'
    vmctl.write(tiny.vm("one", image=source))
    assert "downloaded the image" in vmctl("up").stderr
    (root / "tiny.qcow2").unlink()
    vmctl.write(tiny.vm("one", image=source) + tiny.vm("two", image=source))
    assert sorted(vmctl("up").stdout.splitlines()) == ["one: already running", "two: created, started, ready"]
    listed = vmctl("list", "--json").json["vms"]
    assert len({vm["ssh"]["port"] for vm in listed}) == 2
    vmctl("down", "--destroy")
    vmctl.write(tiny.vm("three", image=f'image-url "{base}/none.qcow2"'))
    result = vmctl("up", status=9)
    prove(result, "vm_manager::image::download_failed", evidence="HTTP 404")


def test_several_vms_come_up_together_and_one_that_fails_stops_no_other(vmctl: Vmctl, tiny: TinyGuest) -> None:
    vmctl.write(tiny.vm("good") + tiny.vm("bad", body=step("shell", inline="exit 9")))
    result = vmctl("up", status=12)
    assert result.stdout == "good: created, started, ready\nbad: failed\n"
    assert "vm: bad" in result.stderr
    states = {vm["name"]: vm["state"] for vm in vmctl("list", "--json").json["vms"]}
    assert states == {"good": "running", "bad": "running"}


def test_on_a_terminal_the_display_is_live_and_ctrl_c_leaves_it_sane(vmctl: Vmctl, tiny: TinyGuest) -> None:
    vmctl.write(tiny.vm(body=step("shell", inline="echo from-the-guest; sleep 600")))
    terminal = pexpect.spawn(
        str(VMCTL),
        ["up"],
        cwd=vmctl.directory,
        env=vmctl.environment(TERM="xterm-256color", COLUMNS="80"),
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=LIMIT_S,
    )
    terminal.expect("waiting for")
    terminal.expect("from-the-guest")
    terminal.sendintr()
    terminal.expect("interrupted")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    # The cursor that the display hid is shown again.
    assert "\x1b[?25h" in (terminal.before or "") + str(terminal.after) or "\x1b[?25l" not in (terminal.before or "")
