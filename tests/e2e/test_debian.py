"""A real Debian with systemd, cloud-init and sshd, driven by `vmctl` as a process."""

from __future__ import annotations

import time

from driver import Result, listening
from e2e.debian_guest import STEPS, Debian


def test_one_command_makes_a_guest_that_is_ready_and_provisioned(first_up: Result) -> None:
    assert first_up.stdout == "web: created, started, ready, provisioned (3 steps)\n"
    shown = first_up.stderr
    assert "web | status: done\nweb | web-guest\n" in shown
    assert "web | set up by founder\n" in shown
    assert "error[" not in shown


def test_the_guest_is_what_the_vmfile_says(debian: Debian) -> None:
    assert debian.run("cloud-init status").strip() == "status: done"
    assert debian.run("hostname").strip() == "web-guest"
    assert debian.run("nproc").strip() == "2"
    assert debian.run("cat /etc/site/site.conf") == "answer = 42\n"
    assert debian.run("stat -c %U:%a /etc/site/site.conf").strip() == "root:644"
    assert debian.run("ls /etc/site/set-up").strip() == "/etc/site/set-up"
    size_kib = int(debian.run("df --output=size / | tail -1"))
    assert size_kib > 2 * 1024 * 1024, "the root file system has grown into the disk"


def test_the_user_has_sudo_and_nobody_gets_in_by_password(debian: Debian) -> None:
    assert debian.run("sudo -n id -un").strip() == "root"
    assert debian.run("sudo -n sshd -T | grep -i ^passwordauthentication").strip() == "passwordauthentication no"
    # A host that does not know its own name makes every sudo complain.
    assert debian.vmctl("ssh", "web", "--", "sudo -n true").stderr == ""


def test_the_first_connection_was_verified_against_the_key_that_vmctl_made(debian: Debian, first_up: Result) -> None:
    assert "could not be verified" not in first_up.stderr
    assert debian.vmctl.record("web")["progress"]["host_key_verified"] is True
    pinned = (debian.vmctl.home("web") / "known_hosts").read_text().split()
    assert debian.run("sudo cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2] == pinned[1:3]
    assert pinned[0] == "web"
    shown = debian.vmctl("-v", "ssh", "web", "--", "true").stderr
    assert "StrictHostKeyChecking=yes" in shown


def test_a_guest_that_shows_another_host_key_is_not_spoken_to(debian: Debian) -> None:
    known_hosts = debian.vmctl.home("web") / "known_hosts"
    pinned = known_hosts.read_text()
    other = debian.run("ssh-keygen -q -t ed25519 -N '' -f /tmp/other && cat /tmp/other.pub && rm /tmp/other*")
    known_hosts.write_text(f"web {other}")
    try:
        assert debian.vmctl("ssh", "web", "--", "true", status=255).code == "vm_manager::ssh::host_key_mismatch"
        assert debian.vmctl("provision", status=11).code == "vm_manager::ssh::host_key_mismatch"
    finally:
        known_hosts.write_text(pinned)


def test_nothing_listens_beyond_loopback(debian: Debian) -> None:
    vm = debian.vmctl("list", "--json").json["vms"][0]
    assert listening(vm["pid"]) == [("127.0.0.1", vm["ssh"]["port"])]


def test_up_again_finds_everything_done(debian: Debian) -> None:
    again = debian.vmctl("up")
    assert (again.stdout, again.stderr) == ("web: already running\n", "")


def test_a_step_that_fails_leaves_the_guest_running_and_up_goes_on_from_it(debian: Debian) -> None:
    vmctl = debian.vmctl
    debian.define(*STEPS, '"shell" { inline "cat /nonexistent" }')
    try:
        failed = vmctl("up", status=12)
        assert failed.code == "vm_manager::provision::failed"
        assert "provisioning step 4 exited with 1" in failed.stderr
        assert "| cat: /nonexistent: No such file or directory" in failed.stderr
        assert vmctl("list", "--json").json["vms"][0]["state"] == "running"
        debian.define(*STEPS, '"shell" { inline "uname -r" }')
        assert vmctl("up").stdout == "web: provisioned (1 step)\n"
    finally:
        debian.define(*STEPS)


def test_saved_and_restored_it_goes_on_and_its_agent_sets_the_clock(debian: Debian) -> None:
    debian.run("sudo systemd-run --unit counting sh -c 'while :; do echo >>/run/ticks; sleep 0.1; done'")
    boot = debian.run("cat /proc/sys/kernel/random/boot_id")
    ticks = int(debian.run("wc -l </run/ticks"))
    assert debian.vmctl("suspend", "--to-disk", "web").stdout == "web: saved to disk\n"
    time.sleep(20)
    assert debian.vmctl("resume", "web").stdout == "web: restored, ready\n"
    before = time.time()
    there = float(debian.run("date +%s.%N"))
    assert before - 5 < there < time.time() + 5
    assert debian.run("cat /proc/sys/kernel/random/boot_id") == boot
    assert int(debian.run("wc -l </run/ticks")) > ticks


def test_down_and_up_keep_the_disk_and_the_keys(debian: Debian) -> None:
    vmctl, home = debian.vmctl, debian.vmctl.home("web")
    debian.run("echo kept | sudo tee /var/lib/kept")
    machine = debian.run("cat /etc/machine-id")
    keys = {
        name: (home / name).read_bytes() for name in ("id_ed25519_generated", "ssh_host_ed25519_key", "known_hosts")
    }
    assert vmctl("down").stdout == "web: stopped\n"
    console = (home / "console.log").read_text(errors="replace")
    assert "reboot: Power down" in console, "it was the guest that shut down"
    assert vmctl("up", "--no-provision").stdout == "web: started, ready\n"
    assert debian.run("cat /var/lib/kept") == "kept\n"
    assert debian.run("cat /etc/machine-id") == machine
    assert keys == {name: (home / name).read_bytes() for name in keys}
    assert vmctl("up").stdout == "web: provisioned (3 steps)\n"
