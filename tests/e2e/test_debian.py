"""A real Debian with systemd, cloud-init and sshd, driven by `vmctl` as a process."""

from __future__ import annotations

import re
from pathlib import Path

from driver import Vmctl, listening
from e2e.debian_guest import CONFIG, Debian
from proofs import prove


def test_one_command_makes_a_guest_that_is_ready_and_provisioned(debian: Debian) -> None:
    assert debian.first_up.stdout == "web: created, started, ready, provisioned (3 steps)\n"
    shown = debian.first_up.stderr
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


def test_the_first_connection_was_verified_against_the_key_that_vmctl_made(debian: Debian) -> None:
    assert "could not be verified" not in debian.first_up.stderr
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
        assert debian.vmctl("ssh", "web", "--", "true", status=255).code == "vm_manager::ssh::failed"
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
    vmctl.write(CONFIG.rstrip("}\n") + '}\n    provision "shell" { inline "cat /nonexistent"; }\n}\n')
    try:
        failed = vmctl("up", status=12)
        assert failed.code == "vm_manager::provision::failed"
        assert "provisioning step 4 exited with 1" in failed.stderr
        assert "| cat: /nonexistent: No such file or directory" in failed.stderr
        assert vmctl("list", "--json").json["vms"][0]["state"] == "running"
        vmctl.write(CONFIG.rstrip("}\n") + '}\n    provision "shell" { inline "uname -r"; }\n}\n')
        assert vmctl("up").stdout == "web: provisioned (1 step)\n"
    finally:
        vmctl.write(CONFIG)


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


def test_errors_of_cloud_init_are_reported_not_passed_over(vmctl: Vmctl, debian_image: Path) -> None:
    vmctl.write(
        "#cloud-config\n"
        "locale: en_US.UTF-8\n"  # the image has no locales
        "runcmd:\n  - echo about to fail\n  - exit 3\n"
        "users:\n  - {name: vm, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['@KEY@']}\n",
        "user-data.yaml",
    )
    generate_key(vmctl.directory / "key")
    data = vmctl.directory / "user-data.yaml"
    data.write_text(data.read_text().replace("@KEY@", (vmctl.directory / "key.pub").read_text().strip()))
    vmctl.write(
        f'vm "broken" {{\n    image "{debian_image}"\n    vcpus 2\n'
        '    cloud-init { user-data "user-data.yaml"; }\n    ssh { private-key "key"; }\n}\n'
    )
    result = vmctl("up", status=10)
    prove(result, "vm_manager::cloudinit::failed", evidence="locale")
    assert "locale" in result.stderr.split("evidence: cloud-init status")[1]
    assert "about to fail" in result.stderr
    assert "cloud-init failed in the guest: locale, runcmd\n" in result.stderr
    # The line of the user-data, but none of its values.
    assert re.search(r"--> \S*user-data\.yaml:2:1\n", result.stderr)
    assert "en_US" not in result.stderr.split("= vm:")[0]
    # Raw user-data is untouched, and the host key is pinned all the same, by vendor-data.
    assert "could not be verified" not in result.stderr
    assert vmctl("list").stdout.splitlines()[1].split()[:2] == ["broken", "running!"]

    # A guest whose cloud-init has found no seed leaves these files; no real one could be logged in to.
    edit = "sudo sed -i.kept 's/DataSourceNoCloud[^\"]*/DataSourceNone/' /run/cloud-init/*.json"
    vmctl("ssh", "broken", "--", edit)
    result = vmctl("up", status=10)
    assert result.code == "vm_manager::cloudinit::failed"
    assert "did not find its seed" in result.stderr
    vmctl("ssh", "broken", "--", "cd /run/cloud-init && for f in result status; do sudo mv $f.json.kept $f.json; done")

    file = vmctl.directory / "VMFile.kdl"
    file.write_text(file.read_text().replace("cloud-init {", 'cloud-init { on-error "warn";'))
    result = vmctl("up")
    assert result.stdout == "broken: ready\n"
    assert "warning[vm_manager::cloudinit::failed]: cloud-init failed in the guest: locale, runcmd\n" in result.stderr
    assert vmctl("up").stdout == "broken: already running\n"


def generate_key(path: Path) -> None:
    """A key pair, as ssh-keygen would make it."""
    from vm_manager.guest.keys import generate_key_pair

    pair = generate_key_pair("test")
    path.write_text(pair.private)
    path.chmod(0o600)
    path.with_suffix(".pub").write_text(pair.public)
