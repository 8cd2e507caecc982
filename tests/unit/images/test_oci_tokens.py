"""Who asks a registry: tokens, and where credentials go and where not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripted import Asked, Say, Scripted, internet, scripted
from scripted_registry import (
    BASIC,
    DISK,
    LIMITS,
    PASSWORD,
    ScriptedRegistry,
    TokenServer,
    closed_port,
    failure_of,
    log_in,
    pull,
    ranged,
)
from vm_manager.diagnostics.errors import ChecksumMismatch
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.spec import ImageSource
from vm_manager.images.download import fetch
from vm_manager.images.sources import source_of

# Where the disk breaks off.
_BROKEN = 200_000

pytestmark = pytest.mark.usefixtures("docker")


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_is_fetched_when_the_registry_wants_one(tmp_path: Path, name: str) -> None:
    tokens = TokenServer(name=name)
    with (
        scripted(tokens.give) as giver,
        scripted(ScriptedRegistry(tokens.allow(f"http://{giver.host}/token?a=b"))) as server,
    ):
        pull(f"{server.host}/image:1", tmp_path / "disk")
    (asked,) = giver.asked
    assert (asked.method, asked.path) == ("GET", "/token")
    assert asked.query == {"a": "b", "service": "the registry", "scope": "repository:image:pull"}
    assert asked.authorization is None
    assert [one.authorization for one in server.asked] == [None, "Bearer token-0", "Bearer token-0"]


def test_the_token_server_is_told_who_asks_and_the_registry_is_not(tmp_path: Path, docker: Path) -> None:
    tokens = TokenServer(user=BASIC)
    with (
        scripted(tokens.give) as giver,
        scripted(ScriptedRegistry(tokens.allow(f"http://{giver.host}/token"))) as server,
    ):
        log_in(docker, server.host)
        pull(f"{server.host}/image:1", tmp_path / "disk")
    assert [one.authorization for one in giver.asked] == [BASIC]
    assert BASIC not in [one.authorization for one in server.asked]


def test_a_refresh_token_is_posted(tmp_path: Path, docker: Path) -> None:
    tokens = TokenServer(user="nobody")
    with (
        scripted(tokens.give) as giver,
        scripted(ScriptedRegistry(tokens.allow(f"http://{giver.host}/token"))) as server,
    ):
        log_in(docker, server.host, identitytoken=PASSWORD)
        pull(f"{server.host}/image:1", tmp_path / "disk")
    (asked,) = giver.asked
    assert (asked.method, asked.query, asked.authorization) == ("POST", {}, None)
    assert asked.form == {
        "grant_type": "refresh_token", "refresh_token": PASSWORD, "client_id": "vmctl",
        "service": "the registry", "scope": "repository:image:pull",
    }  # fmt: skip


@contextmanager
def _expiring() -> Iterator[tuple[Scripted, Scripted]]:
    """A token server and a registry whose tokens are good for the manifest and one request for the disk, which breaks off."""
    tokens = TokenServer(good_for=2)

    def blob(asked: Asked) -> Say | None:
        return None if "range" in asked.headers else Say(200, DISK, {"ETag": '"x"'}, stop_at=_BROKEN)

    with (
        scripted(tokens.give) as giver,
        scripted(ScriptedRegistry(tokens.allow(f"http://{giver.host}/token"), blob=blob)) as server,
    ):
        yield giver, server


def test_an_expired_token_is_renewed_and_the_download_goes_on_from_where_it_was(tmp_path: Path) -> None:
    with _expiring() as (giver, server):
        pull(f"{server.host}/image:1", tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == DISK
    assert len(giver.asked) == 2
    ranges = [one.headers["range"] for one in server.asked if "range" in one.headers]
    assert set(ranges) == {f"bytes={_BROKEN}-"}


def test_a_renewed_token_changes_nothing_about_what_the_disk_must_be(tmp_path: Path) -> None:
    cancel = CancelToken()
    with _expiring() as (_, server):
        wanted = ImageSource(url=f"oci://{server.host}/image:1", sha512="0" * 128)
        with pytest.raises(ChecksumMismatch):
            fetch(source_of(wanted, cancel, LIMITS), tmp_path / "disk", lambda done, total: None, cancel, LIMITS)


def test_credentials_that_the_token_server_refuses(tmp_path: Path, docker: Path) -> None:
    tokens = TokenServer(user="somebody else")
    with (
        scripted(tokens.give) as giver,
        scripted(ScriptedRegistry(tokens.allow(f"http://{giver.host}/token"))) as server,
    ):
        log_in(docker, server.host)
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"registry {server.host} denies user 'me' access to 'image'"
    assert str(docker / "config.json") in error.diagnostic.help[0]
    assert error.diagnostic.evidence[0].lines == ("HTTP 401 Unauthorized", "DENIED: denied")


@pytest.mark.parametrize(
    "answer",
    [
        Say(200, b"not JSON"),
        Say.json({}),
        Say.json({"token": 1}),
        Say.json({"token": "two\r\nX-Evil: lines"}),
        Say.json({"token": "tökén"}),
        Say.json([]),
        Say(200, b"[" * 100_000),
    ],
)
def test_a_token_server_that_talks_nonsense(tmp_path: Path, answer: Say) -> None:
    with (
        scripted(lambda asked: answer) as giver,
        scripted(ScriptedRegistry(TokenServer().allow(f"http://{giver.host}/token"))) as server,
    ):
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"the token server of registry {server.host} returned no token"


def test_a_token_server_that_is_not_there(tmp_path: Path) -> None:
    with scripted(ScriptedRegistry(TokenServer().allow(f"http://127.0.0.1:{closed_port()}/token"))) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert "which registry" in str(error)
    assert error.diagnostic.retryable


@pytest.mark.parametrize(
    "realm",
    ["http://auth.example/token", "ftp://127.0.0.1/token", "/token", "", "https://me:pw@auth.example/", "http://[::1"],
)
def test_credentials_are_not_sent_where_they_could_be_read(tmp_path: Path, docker: Path, realm: str) -> None:
    with scripted(ScriptedRegistry(TokenServer().allow(realm))) as server:
        log_in(docker, server.host)
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert "not secure" in str(error)


def test_a_token_server_does_not_send_the_credentials_on(tmp_path: Path, docker: Path) -> None:
    with scripted(lambda asked: Say.json({"token": "x"})) as other:
        redirect = Say(307, headers={"Location": f"http://{other.host}/token"})
        with (
            scripted(lambda asked: redirect) as giver,
            scripted(ScriptedRegistry(TokenServer().allow(f"http://{giver.host}/token"))) as server,
        ):
            log_in(docker, server.host, identitytoken=PASSWORD)
            error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert other.asked == []
    assert error.diagnostic.evidence[0].lines[0] == "HTTP 307 Temporary Redirect"


# Where credentials go, and where not


def test_a_redirect_to_another_host_carries_no_credentials(tmp_path: Path, docker: Path) -> None:
    def guard(asked: Asked) -> Say | None:
        wants = Say(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return None if asked.authorization == BASIC else wants

    with scripted(lambda asked: ranged(asked, DISK)) as store:
        away = Say(307, headers={"Location": f"http://{store.host}/elsewhere?signature=0"})
        with scripted(ScriptedRegistry(guard, blob=lambda asked: away)) as server:
            log_in(docker, server.host)
            pull(f"{server.host}/image:1", tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == DISK
    assert [one.authorization for one in store.asked] == [None]
    assert server.asked[-1].authorization == BASIC


@pytest.mark.parametrize("challenge", ['Basic realm="x"', 'Bearer realm="http://HOST/token"'])
def test_whoever_a_redirect_leads_to_learns_nothing_by_asking_back(
    tmp_path: Path, docker: Path, challenge: str
) -> None:
    with scripted(lambda asked: Say.json({"token": "x"})) as giver:
        ask_back = Say(401, headers={"WWW-Authenticate": challenge.replace("HOST", giver.host)})
        with scripted(lambda asked: ask_back) as other:
            away = Say(307, headers={"Location": f"http://{other.host}/x"})
            with scripted(lambda asked: away) as server:
                log_in(docker, server.host)
                failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert giver.asked == []
    assert [one.authorization for one in other.asked] == [None]


def test_another_host_is_asked_over_https_with_its_own_credentials(
    tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = TokenServer(user=f"Basic {base64.b64encode(b'x-access-token:gh-token').decode()}")
    registry = ScriptedRegistry(tokens.allow("https://ghcr.io/token"))
    answers = lambda asked: tokens.give(asked) if asked.path == "/token" else registry(asked)  # noqa: E731
    with internet(tmp_path / "net", answers, "ghcr.io") as net:
        monkeypatch.setenv("HTTPS_PROXY", net.proxy)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(net.authority))
        (tmp_path / "netrc").write_text("machine ghcr.io login netrc password netrc\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        error = failure_of("ghcr.io/image:1", tmp_path / "disk")
        assert "GITHUB_TOKEN" in error.diagnostic.help[0]
        monkeypatch.setenv("GITHUB_TOKEN", "gh-token")
        pull("ghcr.io/image:1", tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == DISK
    said = [asked.authorization for asked in net.asked]
    assert said == [None, None, None, tokens.user, "Bearer token-0", "Bearer token-0"]


def test_dockers_registry_is_found_under_its_other_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = TokenServer()
    registry = ScriptedRegistry(tokens.allow("https://auth.docker.io/token"))

    def answers(asked: Asked) -> Say:
        if asked.host == "auth.docker.io":
            return tokens.give(asked)
        assert asked.path.startswith("/v2/library/")
        shorter = Asked(**{**vars(asked), "path": asked.path.replace("/library/", "/")})
        return registry(shorter)

    with internet(tmp_path / "net", answers, "registry-1.docker.io", "auth.docker.io") as net:
        monkeypatch.setenv("HTTPS_PROXY", net.proxy)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(net.authority))
        pull("docker.io/image:1", tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == DISK


def test_a_certificate_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with internet(tmp_path / "net", ScriptedRegistry(), "reg.example") as net:
        monkeypatch.setenv("HTTPS_PROXY", net.proxy)
        error = failure_of("reg.example/image:1", tmp_path / "disk")
    assert "SSL_CERT_FILE" in error.diagnostic.help[0]
    assert net.asked == []
    assert not error.diagnostic.retryable
