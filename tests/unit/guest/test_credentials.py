"""Who logs in, and with which key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unit.samples import spec
from vm_manager.diagnostics.errors import NoKey
from vm_manager.domain.spec import CloudInit, SshAccess, VmSpec
from vm_manager.guest.credentials import credentials_for
from vm_manager.state.layout import InstanceFiles


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceFiles:
    """A VM's directory; the user has a default key and no agent."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    home = tmp_path / "vm"
    home.mkdir()
    return InstanceFiles(home)


def _spec(directory: Path) -> VmSpec:
    """A VM that names a private key and a public key whose private half lies beside it."""
    for name in ("named", "half", "half.pub", "given"):
        (directory / name).touch()
    return spec(
        ssh=SshAccess(user="debian", private_key=str(directory / "named")),
        cloud_init=CloudInit(hostname="web", ssh_key=str(directory / "half.pub")),
    )


def test_the_best_key_there_is_is_the_only_one_that_is_offered(files: InstanceFiles, tmp_path: Path) -> None:
    wanted = _spec(tmp_path)
    files.user_key.touch()
    offered: list[tuple[Path, ...]] = []
    for path in (tmp_path / "given", tmp_path / "named", files.user_key, tmp_path / "half"):
        key = tmp_path / "given" if not offered else None
        if path.name == files.user_key.name:
            wanted = replace(wanted, ssh=SshAccess(user="debian"))
        found = credentials_for(wanted, files, key=key)
        assert not found.agent
        offered.append(found.keys)
        path.unlink()
    assert offered == [(tmp_path / "given",), (tmp_path / "named",), (files.user_key,), (tmp_path / "half",)]


def test_only_without_a_key_of_its_own_the_users_keys_are_offered(
    files: InstanceFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert credentials_for(spec(), files).keys == (tmp_path / ".ssh" / "id_ed25519",)
    assert not credentials_for(spec(), files).agent
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert credentials_for(spec(), files).agent


def test_a_user_on_the_command_line_wins(files: InstanceFiles) -> None:
    assert credentials_for(spec(), files).user == "debian"
    assert credentials_for(spec(ssh=None), files).user == "vm"
    assert credentials_for(spec(), files, user="root").user == "root"


def test_a_named_key_that_is_gone_is_not_replaced_by_another(files: InstanceFiles, tmp_path: Path) -> None:
    wanted = _spec(tmp_path)
    files.user_key.touch()
    (tmp_path / "named").unlink()
    with pytest.raises(NoKey, match="named does not exist"):
        credentials_for(wanted, files)
    assert credentials_for(wanted, files, key=tmp_path / "given").keys == (tmp_path / "given",)


def test_a_key_on_the_command_line_that_does_not_exist_is_not_replaced_by_another(
    files: InstanceFiles, tmp_path: Path
) -> None:
    with pytest.raises(NoKey, match="typo does not exist"):
        credentials_for(spec(), files, key=tmp_path / "typo")


def test_a_public_key_without_suffix_is_not_taken_for_its_private_half(files: InstanceFiles, tmp_path: Path) -> None:
    (tmp_path / "authorized").touch()
    wanted = spec(cloud_init=CloudInit(hostname="web", ssh_key=str(tmp_path / "authorized")))
    assert tmp_path / "authorized" not in credentials_for(wanted, files).keys
