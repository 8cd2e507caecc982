"""Pulling from registries that say what a test tells them to: what is missing, not allowed, out of reach, or hostile.

What a registry does by itself is tested against a real one, in tests/integration/test_oci.py.
"""

from __future__ import annotations

import hashlib
import json
import platform
import threading
from pathlib import Path

import pytest

from oci_registry import INDEX, MANIFEST, OCTETS, digest_of
from scripted import Asked, Say, scripted
from scripted_registry import DISK, LIMITS, PASSWORD, ScriptedRegistry, closed_port, failure_of, manifest_of, pull
from vm_manager.diagnostics.errors import ChecksumMismatch, Interrupted, Usage
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.oci.source import oci_source

_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


pytestmark = pytest.mark.usefixtures("docker")


def test_a_disk_image_is_pulled_anonymously(tmp_path: Path) -> None:
    with scripted(ScriptedRegistry()) as server:
        fetched = pull(f"{server.host}/image:1", tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == DISK
    assert fetched.digests == (digest_of(DISK),)
    assert all(asked.authorization is None for asked in server.asked)


def test_a_sha512_digest_is_verified_too(tmp_path: Path) -> None:
    digest = f"sha512:{hashlib.sha512(DISK).hexdigest()}"
    with scripted(ScriptedRegistry(manifest=manifest_of(digest=digest))) as server:
        assert pull(f"{server.host}/image:1", tmp_path / "disk").digests == (digest,)


def test_what_is_no_reference_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(Usage) as caught:
        pull("me:s3cret-pw@example.org/image", tmp_path / "disk")
    assert PASSWORD not in repr(caught.value.diagnostic)


# What is missing, not allowed, out of reach


def test_an_index_whose_image_is_gone(tmp_path: Path) -> None:
    gone = digest_of(b"gone")
    named = {"os": "linux", "architecture": _ARCHITECTURE}
    entry = {"mediaType": MANIFEST, "digest": gone, "size": 4, "platform": named}
    index = json.dumps({"mediaType": INDEX, "manifests": [entry]}).encode()

    def answers(asked: Asked) -> Say:
        if asked.path.endswith("/tags/list"):
            return Say.json({"tags": ["1"]})
        return Say(200, index, {"Content-Type": INDEX}) if asked.path.endswith("/1") else Say(404)

    with scripted(answers) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"'{server.host}/image' has nothing with the digest {gone}"


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    host = f"127.0.0.1:{closed_port()}"
    error = failure_of(f"{host}/image:1", tmp_path / "disk")
    assert str(error) == f"registry {host} is unreachable"
    assert "nothing is listening there" in error.diagnostic.help[0]
    assert error.diagnostic.retryable
    assert [cause.type for cause in error.diagnostic.causes] == ["DownloadFailed", "ConnectionRefusedError"]


def test_a_registry_whose_name_nobody_knows(tmp_path: Path) -> None:
    error = failure_of("registry.invalid:5000/image:1", tmp_path / "disk")
    assert "the name registry.invalid cannot be resolved" in error.diagnostic.help[0]


def test_what_is_not_allowed_may_be_missing_as_well(tmp_path: Path) -> None:
    denied = Say.json({"errors": [{"code": "DENIED", "message": "no\x1b[31m"}]}, 403)
    with scripted(lambda asked: denied) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert "docker login" in error.diagnostic.help[0]
    assert "does not exist" in error.diagnostic.notes[0]
    assert error.diagnostic.evidence[0].lines == ("HTTP 403 Forbidden", "DENIED: no")
    assert len(server.asked) == 1


def test_a_challenge_that_nobody_can_meet(tmp_path: Path) -> None:
    with scripted(lambda asked: Say(401, headers={"WWW-Authenticate": "Negotiate"})) as server:
        failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert len(server.asked) == 1


def test_the_registrys_own_code_says_that_there_is_no_such_repository(tmp_path: Path) -> None:
    with scripted(lambda asked: Say.json({"errors": [{"code": "NAME_UNKNOWN"}]}, 404)) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"registry {server.host} has no repository 'image'"
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("tags", "help"),
    [
        (Say.json({"tags": ["1.0.0", "1.2.3", "2.0.0"]}), "did you mean '1.2.3'?"),
        (Say.json({"tags": ["nothing-like-it"]}), "use an existing tag"),
        (Say.json({"tags": ["1.2.\x1b4"]}), "use an existing tag"),
        (Say.json({"tags": None}), "use an existing tag"),
        (Say(200, b"garbage"), "use an existing tag"),
        (Say(403), "use an existing tag"),
    ],
)
def test_a_tag_that_is_not_there(tmp_path: Path, tags: Say, help: str) -> None:
    def answers(asked: Asked) -> Say:
        return tags if asked.path == "/v2/image/tags/list" else Say(404)

    with scripted(answers) as server:
        error = failure_of(f"{server.host}/image:1.2.4", tmp_path / "disk")
    assert str(error) == f"'{server.host}/image' has no tag '1.2.4'"
    assert error.diagnostic.help == (help,)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_in_trouble_is_asked_again(tmp_path: Path, status: int) -> None:
    trouble = iter([Say(status), Say(status)])
    with scripted(ScriptedRegistry(lambda asked: next(trouble, None))) as server:
        pull(f"{server.host}/image:1", tmp_path / "disk")
    with scripted(lambda asked: Say(status)) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "another")
    assert error.diagnostic.retryable
    assert len(server.asked) == 1 + len(LIMITS.retry_delays_s)


def test_a_registry_that_sends_one_in_circles(tmp_path: Path) -> None:
    with scripted(lambda asked: Say(302, headers={"Location": asked.path})) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"could not pull oci://{server.host}/image:1"
    assert "redirect loop" in error.diagnostic.notes[0]


def test_what_is_no_registry(tmp_path: Path) -> None:
    with scripted(lambda asked: Say(418)) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"registry {server.host} answered with HTTP 418"


def test_a_disk_that_the_registry_does_not_give_out(tmp_path: Path) -> None:
    with scripted(ScriptedRegistry(blob=lambda asked: Say(404))) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"could not pull the disk image of oci://{server.host}/image:1"
    assert error.diagnostic.causes[0].code == "vm_manager::image::download_failed"


def test_a_pull_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    ended, cancel = threading.Event(), CancelToken()

    def stall(asked: Asked) -> Say:
        cancel.cancel()
        ended.wait(60)
        return Say()

    with scripted(stall) as server:
        with pytest.raises(Interrupted):
            oci_source(f"oci://{server.host}/image:1", cancel)
        ended.set()


# Hostility


def test_a_manifest_that_is_not_the_one_asked_for(tmp_path: Path) -> None:
    asked_for = digest_of(manifest_of(b"another"))
    with scripted(lambda asked: Say(200, manifest_of(), {"Content-Type": MANIFEST})) as server:
        error = failure_of(f"{server.host}/image@{asked_for}", tmp_path / "disk")
    assert asked_for in str(error)
    assert digest_of(manifest_of()) in str(error)


def test_a_manifest_that_is_not_what_the_registry_says_it_is(tmp_path: Path) -> None:
    with scripted(ScriptedRegistry(told=digest_of(b"another"))) as server:
        failure_of(f"{server.host}/image:1", tmp_path / "disk")
    with scripted(ScriptedRegistry(told=digest_of(manifest_of()))) as server:
        pull(f"{server.host}/image:1", tmp_path / "disk")


def test_a_disk_that_is_not_the_one_in_the_manifest(tmp_path: Path) -> None:
    with scripted(ScriptedRegistry(disk=DISK[:-1] + b"!")) as server, pytest.raises(ChecksumMismatch) as caught:
        pull(f"{server.host}/image:1", tmp_path / "disk")
    assert digest_of(DISK) in str(caught.value)
    assert list(tmp_path.glob("disk*")) == []


@pytest.mark.parametrize("disk", [DISK + b"!", DISK[:-1]])
def test_a_disk_of_another_size(tmp_path: Path, disk: bytes) -> None:
    with scripted(ScriptedRegistry(disk=disk)) as server:
        failure_of(f"{server.host}/image:1", tmp_path / "disk")


def test_a_manifest_without_end(tmp_path: Path) -> None:
    huge = b'{"layers": [' + b" " * 5 * 1024**2
    with scripted(ScriptedRegistry(manifest=huge)) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert "more than" in str(error)


def _twisted(**changes: object) -> bytes:
    return json.dumps({**json.loads(manifest_of()), **changes}).encode()


_LAYER = {"mediaType": OCTETS, "digest": digest_of(DISK), "size": len(DISK)}


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 100_000,
        b'{"layers": ' + b"[" * 100_000,
        b"\xff\xfe",
        _twisted(layers=None),
        _twisted(layers={}),
        _twisted(layers=[{}]),
        _twisted(layers=[{**_LAYER, "digest": "sha256:../../../../etc/passwd"}]),
        _twisted(layers=[{**_LAYER, "digest": f"md5:{'0' * 32}"}]),
        _twisted(layers=[{**_LAYER, "digest": digest_of(DISK) + "\n"}]),
        _twisted(layers=[{**_LAYER, "size": -1}]),
        _twisted(layers=[{**_LAYER, "size": 1e400}]),
        _twisted(layers=[{**_LAYER, "size": "12"}]),
        _twisted(manifests=[]),
        _twisted(mediaType=INDEX),
    ],
)
def test_a_manifest_that_makes_no_sense(tmp_path: Path, manifest: bytes) -> None:
    with scripted(ScriptedRegistry(manifest=manifest)) as server:
        failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert server.paths() == ["/v2/image/manifests/1"]


def test_something_else_than_an_image(tmp_path: Path) -> None:
    with scripted(ScriptedRegistry(manifest=b'{"mediaType": "text/\x1b[31m"}', type="text/html")) as server:
        failure_of(f"{server.host}/image:1", tmp_path / "disk")
    with scripted(ScriptedRegistry(manifest=b'{"mediaType": "text/x"}', type="text/html")) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"oci://{server.host}/image:1 is not an image, but of type text/x"


def test_an_image_without_a_disk(tmp_path: Path) -> None:
    with scripted(ScriptedRegistry(manifest=manifest_of(type="application/vnd.oci.image.layer.v1.tar+gzip"))) as server:
        error = failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert str(error) == f"oci://{server.host}/image:1 has no layer that is a disk image"
    assert error.diagnostic.evidence[0].lines == ("application/vnd.oci.image.layer.v1.tar+gzip",)


def test_layers_are_fetched_from_the_registry_whatever_the_manifest_says(tmp_path: Path) -> None:
    with scripted(lambda asked: Say(200, DISK)) as elsewhere:
        foreign = _twisted(layers=[{**_LAYER, "urls": [f"http://{elsewhere.host}/layer"]}])
        with scripted(ScriptedRegistry(manifest=foreign)) as server:
            pull(f"{server.host}/image:1", tmp_path / "disk")
    assert elsewhere.asked == []


def test_an_index_leads_to_an_image_and_not_to_another_index(tmp_path: Path) -> None:
    named = {"os": "linux", "architecture": _ARCHITECTURE}
    inner = json.dumps({"mediaType": INDEX, "manifests": []}).encode()
    entry = {"mediaType": INDEX, "digest": digest_of(inner), "size": len(inner), "platform": named}
    outer = json.dumps({"mediaType": INDEX, "manifests": [entry]}).encode()

    def answers(asked: Asked) -> Say:
        return Say(200, outer if asked.path.endswith("/1") else inner, {"Content-Type": INDEX})

    with scripted(answers) as server:
        failure_of(f"{server.host}/image:1", tmp_path / "disk")
    assert len(server.asked) == 2
