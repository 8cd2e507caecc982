"""Who we are to a registry: Docker's configuration, its helpers, and GitHub's token."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import MissingTool, OciPullFailed, VmError
from vm_manager.images.oci.credentials import Credentials, find_credentials

_SECRET = "s3cret-pw"


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration is in a directory of this test's; helpers are looked for there, too."""
    directory = tmp_path / "docker"
    directory.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.delenv("GITHUB_ACTOR", raising=False)
    return directory


def _write(docker: Path, config: object) -> Path:
    path = docker / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def _auth(user: str, password: str = _SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _helper(docker: Path, name: str, script: str) -> None:
    path = docker / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _answering(user: str, secret: str = _SECRET) -> str:
    """A helper that notes what it was asked, and answers."""
    answer = json.dumps({"ServerURL": "x", "Username": user, "Secret": secret})
    return f"""echo "$1 $(cat)" >> "$(dirname "$0")/asked"; echo '{answer}'"""


def _asked(docker: Path) -> list[str]:
    return (docker / "asked").read_text().splitlines()


def _nothing_secret(error: VmError) -> bool:
    return _SECRET not in repr(error.diagnostic) and base64.b64encode(_SECRET.encode()).decode() not in repr(
        error.diagnostic
    )


def test_without_configuration_nobody_is_known(docker: Path) -> None:
    assert find_credentials("reg.example") is None
    _write(docker, {})
    assert find_credentials("reg.example") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("reg.example", "reg.example"),
        ("reg.example:5000", "reg.example:5000"),
        ("https://reg.example", "reg.example"),
        ("https://reg.example/v1/", "reg.example"),
        ("https://index.docker.io/v1/", "docker.io"),
    ],
)
def test_the_files_own_credentials(docker: Path, key: str, registry: str) -> None:
    path = _write(docker, {"auths": {"other.example": _auth("other"), key: _auth("me", "a:b")}})
    assert find_credentials(registry) == Credentials("me", "a:b", str(path))


@pytest.mark.parametrize("registry", ["reg.example:5001", "example", "xreg.example", "reg.example.evil"])
def test_another_hosts_credentials_are_not_taken(docker: Path, registry: str) -> None:
    _write(docker, {"auths": {"reg.example": _auth("me"), "reg.example:5000": _auth("me")}})
    assert find_credentials(registry) is None


def test_an_entry_without_credentials_is_none(docker: Path) -> None:
    _write(docker, {"auths": {"reg.example": {"email": "me@example.org"}}})
    assert find_credentials("reg.example") is None


def test_an_identity_token_is_a_refresh_token(docker: Path) -> None:
    path = _write(docker, {"auths": {"reg.example": {**_auth("me", ""), "identitytoken": _SECRET}}})
    assert find_credentials("reg.example") == Credentials("me", _SECRET, str(path), is_refresh_token=True)


def test_the_registrys_own_helper_comes_first(docker: Path) -> None:
    _helper(docker, "mine", _answering("helped"))
    _helper(docker, "all", _answering("all"))
    auths = {"reg.example": _auth("file")}
    _write(docker, {"credHelpers": {"reg.example": "mine"}, "credsStore": "all", "auths": auths})
    assert find_credentials("reg.example") == Credentials("helped", _SECRET, "docker-credential-mine")
    assert _asked(docker) == ["get reg.example"]


def test_the_helper_for_all_is_asked_by_dockers_own_key(docker: Path) -> None:
    _helper(docker, "all", _answering("all"))
    _write(docker, {"credsStore": "all"})
    assert find_credentials("docker.io") == Credentials("all", _SECRET, "docker-credential-all")
    assert _asked(docker) == ["get https://index.docker.io/v1/"]


def test_a_helper_may_hold_a_refresh_token(docker: Path) -> None:
    _helper(docker, "all", _answering("<token>"))
    _write(docker, {"credsStore": "all"})
    found = find_credentials("reg.example")
    assert found is not None
    assert found.is_refresh_token
    assert found.secret == _SECRET


def test_what_the_helper_for_all_does_not_know_may_be_in_the_file(docker: Path) -> None:
    _helper(docker, "all", "echo credentials not found in native keychain; exit 1")
    path = _write(docker, {"credsStore": "all", "auths": {"reg.example": _auth("me")}})
    assert find_credentials("reg.example") == Credentials("me", _SECRET, str(path))
    assert find_credentials("other.example") is None


def test_githubs_token_is_for_github_only(monkeypatch: pytest.MonkeyPatch, docker: Path) -> None:
    path = _write(docker, {"auths": {"ghcr.io": _auth("me"), "reg.example": _auth("me")}})
    assert find_credentials("ghcr.io") == Credentials("me", _SECRET, str(path))
    monkeypatch.setenv("GITHUB_TOKEN", "gh-token")
    assert find_credentials("ghcr.io") == Credentials("x-access-token", "gh-token", "GITHUB_TOKEN")
    for other in ("reg.example", "ghcr.io:5000", "ghcr.io.evil.example"):
        found = find_credentials(other)
        assert found is None or found.secret == _SECRET
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert find_credentials("ghcr.io") == Credentials("octocat", "gh-token", "GITHUB_TOKEN")


@pytest.mark.parametrize(
    "config",
    [
        '{"auths": ',
        "[]",
        '{"auths": {"reg.example": 1}}',
        '{"credsStore": {}}',
        "[" * 100_000,
        f'{{"auths": {{"reg.example": {{"auth": "{_SECRET}"}}}}}}',
        json.dumps({"auths": {"reg.example": {"auth": base64.b64encode(_SECRET.encode()).decode()}}}),
        json.dumps({"auths": {"reg.example": {"auth": base64.b64encode(b"\xff:" + _SECRET.encode()).decode()}}}),
    ],
    ids=["cut off", "a list", "a number", "no name", "deep", "no base64", "no user", "no text"],
)
def test_a_configuration_that_makes_no_sense_is_named_and_not_quoted(docker: Path, config: str) -> None:
    path = _write(docker, config)
    with pytest.raises(OciPullFailed) as caught:
        find_credentials("reg.example")
    assert str(path) in str(caught.value)
    assert _nothing_secret(caught.value)


def test_a_configuration_that_is_no_file(docker: Path) -> None:
    (docker / "config.json").mkdir()
    with pytest.raises(VmError) as caught:
        find_credentials("reg.example")
    assert str(docker) in str(caught.value)


def test_a_helper_that_is_not_installed(docker: Path) -> None:
    path = _write(docker, {"credsStore": "nowhere"})
    with pytest.raises(MissingTool) as caught:
        find_credentials("reg.example")
    assert "docker-credential-nowhere" in str(caught.value)
    assert str(path) in caught.value.diagnostic.help[0]


@pytest.mark.parametrize("name", ["../evil", "a/b", "-x", "a b"])
def test_a_helper_is_a_program_on_path_and_nothing_else(docker: Path, name: str) -> None:
    _write(docker, {"credsStore": name})
    with pytest.raises(OciPullFailed):
        find_credentials("reg.example")


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("echo the keychain is locked; exit 1", "the keychain is locked"),
        ("echo the keychain is locked >&2; exit 3", "exited with 3"),
        (f"""echo '{{"Username":"me","Secret":"{_SECRET}"}}'; exit 1""", "exited with 1"),
        ("kill -9 $$", "was killed by SIGKILL"),
    ],
)
def test_what_a_helper_says_when_it_fails_is_shown(docker: Path, script: str, shown: str) -> None:
    _helper(docker, "all", script)
    _write(docker, {"credsStore": "all"})
    with pytest.raises(OciPullFailed) as caught:
        find_credentials("reg.example")
    assert shown in caught.value.diagnostic.evidence[0].lines
    assert _nothing_secret(caught.value)


@pytest.mark.parametrize("answer", [_SECRET, f'{{"Secret": "{_SECRET}"}}', f'{{"Username": 1, "Secret": "{_SECRET}"}}'])
def test_a_helpers_answer_that_makes_no_sense_is_not_quoted(docker: Path, answer: str) -> None:
    _helper(docker, "all", f"echo '{answer}'")
    _write(docker, {"credsStore": "all"})
    with pytest.raises(OciPullFailed) as caught:
        find_credentials("reg.example")
    assert _nothing_secret(caught.value)


def test_a_secret_is_not_in_a_representation() -> None:
    assert _SECRET not in repr(Credentials("me", _SECRET, "x"))
