"""A Debian guest whose user-data is broken in a way that cloud-init calls "done": told in spite of that; and what a user who is
not root provisions through OpenSSH and sudo."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import LIMIT_S, Result, Vmctl, wait_for
from e2e.test_debian import generate_key

_USER_DATA = """\
Content-Type: multipart/mixed; boundary="part"
MIME-Version: 1.0

--part
Content-Type: text/cloud-config

#cloud-config
users:
  - {name: vm, shell: /bin/bash, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['@KEY@']}
--part
Content-Type: text/cloud-config

#cloud-config
packages: [nginx
runcmd: [echo never]
--part--
"""
_NETWORK = """\
version: 2
ethernets:
  all:
    match: {name: "e*"}
    dhcp4: true
    addresses: [10.77.0.5/24]
"""
_VM = """\
vm "broken" {{
    image "{image}"
    vcpus 2
    cloud-init {{ user-data "user-data.txt"; network-config "net.yaml"; on-error "{on_error}" }}
    ssh {{ private-key "key" }}
    {steps}
}}
"""


class Guest:
    """The project, and the VM `broken` in it."""

    def __init__(self, vmctl: Vmctl, image: Path) -> None:
        self.vmctl, self._image = vmctl, image
        generate_key(vmctl.directory / "key")
        key = (vmctl.directory / "key.pub").read_text().strip()
        vmctl.write(_USER_DATA.replace("@KEY@", key), "user-data.txt")
        vmctl.write(_NETWORK, "net.yaml")

    def define(self, *steps: str, on_error: str = "warn") -> None:
        """Write the VMFile."""
        blocks = "\n    ".join(f"provision {step}" for step in steps)
        self.vmctl.write(_VM.format(image=self._image, on_error=on_error, steps=blocks))

    def provision(self, *steps: str, status: int = 0) -> Result:
        """Write these provision blocks and run them."""
        self.define(*steps)
        return self.vmctl("provision", status=status)

    def run(self, command: str) -> str:
        """What a command in the guest prints."""
        return self.vmctl("ssh", "broken", "--", command).stdout


@pytest.fixture(scope="module")
def guest(debian_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    base = tmp_path_factory.mktemp("broken")
    (base / "project").mkdir()
    made = Guest(Vmctl(base / "project", base / "data"), debian_image)
    yield made
    made.vmctl.destroy_all()


def test_up_waits_for_as_much_as_is_asked_and_the_next_one_for_the_rest(guest: Guest) -> None:
    guest.define('"shell" { inline "true" }', on_error="fail")
    refused = guest.vmctl("up", "--wait", "none", status=2)
    assert refused.code == "vmctl::usage"
    assert guest.vmctl("list", "--quiet").stdout == ""
    assert guest.vmctl("up", "--wait", "soon", status=2).code == "vmctl::usage"
    assert guest.vmctl("up", "--wait", "none", "--no-provision").stdout == "broken: created, started\n"
    assert guest.vmctl("up", "--wait", "ssh", "--no-provision").stdout == "broken: reachable by SSH\n"
    failed = guest.vmctl("up", status=10)
    assert failed.code == "vm_manager::cloudinit::failed"
    assert "Failed loading yaml blob" in failed.stderr.partition("= evidence: ")[2]
    assert re.search(r"Invalid format at line \d+ column \d+", failed.stderr)
    guest.define('"shell" { inline "true" }')
    result = guest.vmctl("up")
    assert result.stdout == "broken: ready, provisioned (1 step)\n"
    assert "warning[vm_manager::cloudinit::failed]" in result.stderr


def test_the_network_is_configured_as_the_file_says(guest: Guest) -> None:
    assert "10.77.0.5/24" in guest.run("ip -4 addr")


def test_what_the_user_may_not_write_goes_through_sudo(guest: Guest) -> None:
    directory = guest.vmctl.directory
    (directory / "site" / "deep").mkdir(parents=True)
    (directory / "site" / "deep" / "a b").write_text("content\n")
    (directory / "own").write_text("own\n")
    guest.provision(
        '"file" { source "own"; destination "/home/vm/own" }',
        '"file" { source "own"; destination "/etc/it\'s $HOME/own"; mode "0600" }',
        '"file" { source "own"; destination "/home/vm/given"; owner "www-data:adm"; mode "4750" }',
        '"file" { source "own"; destination "/home/vm/mine"; owner "vm" }',
        '"file" { source "site"; destination "/srv/site"; owner "www-data" }',
    )
    shown = guest.run(
        "sudo sh -c 'stat -c \"%U:%G:%a\" /home/vm/own /etc/it*/own /home/vm/given /home/vm/mine /srv/site/deep/a*'"
    )
    assert shown.split() == ["vm:vm:644", "root:root:600", "www-data:adm:4750", "vm:vm:644", "www-data:root:644"]
    assert guest.run("sudo find / -xdev -name '.vmctl*'; ls /tmp | grep vmctl; true") == ""
    failed = guest.provision('"file" { source "own"; destination "/srv/x"; owner "nobody-of-that-name" }', status=12)
    assert failed.code == "vm_manager::provision::failed"
    assert "nobody-of-that-name" in failed.stderr.partition("= evidence: ")[2]
    assert guest.run("ls -A /srv") == "site\n"


def test_openssh_tells_signals_and_leaves_the_background_alone(guest: Guest) -> None:
    killed = guest.provision('"shell" { inline "kill -KILL $$" }', status=12)
    assert "was ended by SIGKILL" in killed.stderr
    guest.provision('"shell" { inline "sleep 3601 & echo started" }')
    assert guest.run("pgrep -c sleep").strip() != "0"
    log = (guest.vmctl.home("broken") / "provision.log").read_text()
    assert "still holds its output open, and is not waited for" in log
    killed = guest.provision('"shell" { inline "sleep 3602 & kill -TERM $$" }', status=12)
    assert "was ended by SIGTERM" in killed.stderr


def test_a_connection_that_ends_under_a_step_is_lost(guest: Guest) -> None:
    lost = guest.provision('"shell" { inline "kill -KILL $PPID; sleep 600" }', status=11)
    assert lost.code == "vm_manager::ssh::failed"
    assert "during provisioning step 1" in lost.stderr


def test_ctrl_c_ends_the_step_in_the_guest_too(guest: Guest) -> None:
    guest.define('"shell" { inline "while :; do sleep 3777; done; true" }')
    process = guest.vmctl.start("provision", start_new_session=True)
    wait_for(lambda: "3777" in guest.run("pgrep -af 'sleep 377[7]'; true"), "the step")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    wait_for(lambda: "3777" not in guest.run("pgrep -af 'sleep 377[7]'; true"), "the end of the step")


# The last one: nobody may do anything as root after it.
def test_where_sudo_is_needed_and_refused_it_is_said(guest: Guest) -> None:
    (guest.vmctl.directory / "own").write_text("own\n")
    guest.run("sudo mv /etc/sudoers.d/90-cloud-init-users /root/")
    failed = guest.provision('"file" { source "own"; destination "/etc/own" }', status=12)
    assert failed.code == "vm_manager::provision::failed"
    assert "sudo" in failed.stderr.partition("= evidence: ")[2]
