"""Who logs in, and with which key: one order for paramiko and OpenSSH alike."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vm_manager.diagnostics.errors import NoKey
from vm_manager.domain.spec import VmSpec
from vm_manager.state.layout import InstanceFiles

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Credentials:
    """user: the account; keys: private key files to offer, best first; agent: offer the agent's keys as well."""

    user: str
    keys: tuple[Path, ...]
    agent: bool


def credentials_for(
    spec: VmSpec, files: InstanceFiles, *, user: str | None = None, key: Path | None = None
) -> Credentials:
    """The credentials for a guest.

    user, key: given on the command line; they win. After them the private key of the VMFile, the generated one, the private
    half of `ssh-key`, and only when there is none of these the agent's and the user's default keys.
    Raises: `ssh::no_key` when `key`, or the private key that the VMFile names, does not exist.
    """
    named = spec.access.private_key
    if key is None and named and not os.path.lexists(named):
        raise NoKey(
            "the private key {path} does not exist",
            {"path": named},
            help=("put it back, or correct `private-key` in the VMFile and run `vmctl down` and `vmctl up`",),
        )
    if key is not None and not key.is_file():
        raise NoKey(
            "the private key {path} does not exist", {"path": str(key)}, help=("check the path given to `--key`",)
        )
    chosen = next((path for path in _specific_keys(spec, files, key) if path.exists()), None)
    if chosen is not None:
        return Credentials(user or spec.access.user, (chosen,), agent=False)
    home = Path.home() / ".ssh"
    found = tuple(home / name for name in _DEFAULT_KEYS if (home / name).exists())
    return Credentials(user or spec.access.user, found, agent="SSH_AUTH_SOCK" in os.environ)


def _specific_keys(spec: VmSpec, files: InstanceFiles, key: Path | None) -> list[Path]:
    candidates = [files.user_key]
    if key is not None:
        return [key]
    if spec.access.private_key:
        return [Path(spec.access.private_key)]
    if spec.cloud_init and spec.cloud_init.ssh_key and spec.cloud_init.ssh_key.endswith(".pub"):
        candidates.append(Path(spec.cloud_init.ssh_key.removesuffix(".pub")))
    return candidates
