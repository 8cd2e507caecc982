"""The Debian guest that the tests of this tier share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from driver import Result, Vmctl

_VM = """\
vm "web" {{
    image "{image}"
    vcpus 2
    memory 1024
    disk 3; boot-timeout 1800

    cloud-init {{
        hostname "web-guest"
    }}
    ssh {{
        user "founder"
    }}

    {steps}
}}
"""
#: The provision blocks that it came up with.
STEPS = (
    '"file" { source "site.conf"; destination "/etc/site/site.conf"; }',
    '"shell" { inline "cloud-init status; hostname"; }',
    '"shell" { script "setup.sh"; }',
)


@dataclass(frozen=True)
class Debian:
    """A project whose VM `web` is a Debian guest."""

    vmctl: Vmctl
    image: Path

    def define(self, *steps: str) -> None:
        """Write its VMFile, with these provision blocks."""
        blocks = "\n    ".join(f"provision {step}" for step in steps)
        self.vmctl.write(_VM.format(image=self.image, steps=blocks))

    def run(self, command: str, status: int = 0) -> str:
        """What a command in the guest prints."""
        return self.vmctl("ssh", "web", "--", command, status=status).stdout

    def provision(self, *steps: str, status: int | None = 0) -> Result:
        """Write these provision blocks and run them."""
        self.define(*steps)
        return self.vmctl("provision", status=status)


def generate_key(path: Path) -> str:
    """A key pair, as ssh-keygen would make it; its public half."""
    from vm_manager.guest.keys import generate_key_pair

    pair = generate_key_pair("test")
    path.write_text(pair.private)
    path.chmod(0o600)
    return pair.public.strip()
