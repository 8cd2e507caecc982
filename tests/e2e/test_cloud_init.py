"""User-data that is wrong, in a Debian guest's first boot: told, with its line, also where cloud-init calls it "done"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import Vmctl
from e2e.debian_guest import generate_key
from proofs import prove

_FAILING = """\
#cloud-config
locale: en_US.UTF-8  # the image has no locales
runcmd:
  - echo about to fail
  - exit 3
users:
  - {name: vm, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['@KEY@']}
"""
# What is wrong in a template shows when it has been rendered: `vmctl validate` says nothing of it.
_UNREADABLE = """\
Content-Type: multipart/mixed; boundary="part"
MIME-Version: 1.0

--part
Content-Type: text/cloud-config

#cloud-config
users:
  - {name: vm, shell: /bin/bash, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['@KEY@']}
--part
Content-Type: text/jinja2

## template: jinja
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
_VMFILE = """\
vm "failing" {{
    image "{image}"
    vcpus 1
    cloud-init {{ user-data "failing.yaml"; on-error "{on_error}" }}
    ssh {{ private-key "key" }}
}}
vm "unreadable" {{
    image "{image}"
    vcpus 1
    cloud-init {{ user-data "unreadable.txt"; network-config "net.yaml"; on-error "{on_error}" }}
    ssh {{ private-key "key" }}
    provision "shell" {{ inline "true" }}
}}
"""


@pytest.fixture(scope="module")
def guests(debian_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vmctl]:
    """Both guests, while they boot."""
    vmctl = Vmctl.below(tmp_path_factory.mktemp("wrong"))
    key = generate_key(vmctl.directory / "key")
    vmctl.write(_FAILING.replace("@KEY@", key), "failing.yaml")
    vmctl.write(_UNREADABLE.replace("@KEY@", key), "unreadable.txt")
    vmctl.write(_NETWORK, "net.yaml")
    vmctl.write(_VMFILE.format(image=debian_image, on_error="fail"))
    started = vmctl("up", "--wait", "none", "--no-provision").stdout
    assert started == "failing: created, started\nunreadable: created, started\n"
    yield vmctl
    vmctl.destroy_all()


def on_error(guests: Vmctl, value: str) -> None:
    """Write another value into the VMFile."""
    text = (guests.directory / "VMFile.kdl").read_text()
    guests.write(re.sub('on-error "[a-z]+"', f'on-error "{value}"', text))


def test_modules_that_fail_are_reported_not_passed_over(guests: Vmctl) -> None:
    on_error(guests, "fail")
    result = guests("up", "failing", status=10)
    prove(result, "vm_manager::cloudinit::failed", evidence="locale")
    assert "locale" in result.stderr.split("evidence: cloud-init status")[1]
    assert "about to fail" in result.stderr
    assert "cloud-init failed in the guest: locale, runcmd\n" in result.stderr
    # The line of the user-data, but none of its values.
    assert re.search(r"--> \S*failing\.yaml:5:3\n", result.stderr)
    assert "en_US" not in result.stderr.split("= vm:")[0]
    # Raw user-data is untouched, and the host key is pinned all the same, by vendor-data.
    assert "could not be verified" not in result.stderr
    assert guests("list").stdout.splitlines()[1].split()[:2] == ["failing", "running!"]

    # A guest whose cloud-init has found no seed leaves these files; no real one could be logged in to.
    edit = "sudo sed -i.kept 's/DataSourceNoCloud[^\"]*/DataSourceNone/' /run/cloud-init/*.json"
    guests("ssh", "failing", "--", edit)
    result = guests("up", "failing", status=10)
    assert result.code == "vm_manager::cloudinit::failed"
    assert "did not find its seed" in result.stderr
    guests(
        "ssh", "failing", "--", "cd /run/cloud-init && for f in result status; do sudo mv $f.json.kept $f.json; done"
    )

    on_error(guests, "warn")
    result = guests("up", "failing")
    assert result.stdout == "failing: ready\n"
    assert "warning[vm_manager::cloudinit::failed]: cloud-init failed in the guest: locale, runcmd\n" in result.stderr
    assert guests("up", "failing").stdout == "failing: already running\n"


def test_what_cannot_be_read_is_told_and_up_goes_on_from_whatever_was_waited_for(guests: Vmctl) -> None:
    on_error(guests, "fail")
    assert guests("up", "unreadable", "--wait", "ssh", "--no-provision").stdout == "unreadable: reachable by SSH\n"
    failed = guests("up", "unreadable", status=10)
    assert failed.code == "vm_manager::cloudinit::failed"
    assert "Failed loading yaml blob" in failed.stderr.partition("= evidence: ")[2]
    assert re.search(r"Invalid format at line \d+ column \d+", failed.stderr)
    on_error(guests, "warn")
    result = guests("up", "unreadable")
    assert result.stdout == "unreadable: ready, provisioned (1 step)\n"
    assert "warning[vm_manager::cloudinit::failed]" in result.stderr
    assert "10.77.0.5/24" in guests("ssh", "unreadable", "--", "ip -4 addr").stdout
