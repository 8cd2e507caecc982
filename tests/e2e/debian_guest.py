"""The Debian guest that the tests of this tier share."""

from __future__ import annotations

from dataclasses import dataclass

from driver import Result, Vmctl

CONFIG = """\
vm "web" {
    image "debian-12.qcow2"
    vcpus 2
    memory 1024
    disk 3

    cloud-init {
        hostname "web-guest"
    }
    ssh {
        user "founder"
    }

    provision "file" { source "site.conf"; destination "/etc/site/site.conf"; }
    provision "shell" { inline "cloud-init status; hostname"; }
    provision "shell" { script "setup.sh"; }
}
"""


@dataclass(frozen=True)
class Debian:
    """A project whose VM `web` is up, and what the first `vmctl up` said."""

    vmctl: Vmctl
    first_up: Result

    def run(self, command: str, status: int = 0) -> str:
        """What a command in the guest prints."""
        return self.vmctl("ssh", "web", "--", command, status=status).stdout
