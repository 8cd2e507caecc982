"""Images from Debian's docker-registry, into VMs."""

from __future__ import annotations

import base64
import json
import os
import platform
import random
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from driver import Vmctl, wait_for
from oci_registry import OCTETS, PASSWORD, QCOW2_LAYER, USER, Registry, TokenServer, digest_of, running_registry
from proofs import prove
from scripted import scripted

_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_CODE = "vm_manager::oci::pull_failed"


def _disk(mib: int, seed: int = 1) -> bytes:
    """A disk of noise behind a boot sector that boots nothing."""
    content = bytearray(random.Random(seed).randbytes(mib * 1024**2))
    content[:512] = bytes(510) + b"\x55\xaa"
    return bytes(content)


_DISK = _disk(1)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry that lets everybody in."""
    with running_registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Registry]:
    """A registry that wants a password, with a disk in it."""
    with running_registry(tmp_path / "locked", password=True) as registry:
        registry.push("org/disk", "1.0", _DISK)
        yield registry


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, vmctl: Vmctl) -> Path:
    """Docker's configuration is this test's."""
    directory = tmp_path / "docker"
    directory.mkdir()
    vmctl.env["DOCKER_CONFIG"] = str(directory)
    return directory


def _vm(image: str, name: str = "blank") -> str:
    return f'vm "{name}" {{\n    image-url "{image}"\n    memory 64\n    accel "tcg"\n}}\n'


def _pull(vmctl: Vmctl, image: str) -> str:
    """The disk is in the cache after a pull. Returns everything that was told on the way."""
    result = vmctl("-vv", "image", "pull", image, "--json")
    assert Path(result.json["image"]["path"]).read_bytes() == _DISK
    return result.stderr


def _failed(vmctl: Vmctl, image: str, shown: str) -> str:
    """Standard error of a pull that failed, with the evidence that was shown."""
    result = vmctl("-vv", "image", "pull", image, status=9)
    assert result.code == _CODE
    assert shown in result.stderr.partition("= evidence: ")[2]
    return result.stderr


def _base_of(vmctl: Vmctl, name: str = "blank") -> bytes:
    return Path(vmctl.record(name)["base_image"]["path"]).read_bytes()


def test_an_image_by_tag_is_pulled_once_for_all_vms(vmctl: Vmctl, registry: Registry) -> None:
    registry.push("org/disk", "1.0", _DISK, layers=[("application/vnd.example.readme", b"read me")])
    reference = f"{registry.reference}/org/disk:1.0"
    vmctl.write(_vm(reference, "a") + _vm(reference, "b"))
    vmctl("up")
    assert _base_of(vmctl, "a") == _base_of(vmctl, "b") == _DISK
    assert vmctl.record("a")["base_image"]["path"] == vmctl.record("b")["base_image"]["path"]


def test_without_tag_it_is_the_latest(vmctl: Vmctl, registry: Registry) -> None:
    registry.push("disk", "latest", _DISK, kind=QCOW2_LAYER)
    _pull(vmctl, f"{registry.reference}/disk")


def test_an_image_by_digest_stays_the_same_when_its_tag_moves(vmctl: Vmctl, registry: Registry) -> None:
    digest = registry.push("org/disk", "1.0", _DISK)
    registry.push("org/disk", "1.0", _disk(1, seed=2))
    _pull(vmctl, f"{registry.reference}/org/disk:1.0@{digest}")
    assert vmctl("image", "list", "--quiet").stdout == "disk:1.0\n"


def test_of_an_index_it_is_the_image_for_this_host(vmctl: Vmctl, registry: Registry) -> None:
    other = registry.push("org/disk", "other", _disk(1, seed=2))
    mine = registry.push("org/disk", "mine", _DISK)
    digest = registry.push_index("org/disk", "1.0", {"linux/mips": other, f"linux/{_ARCHITECTURE}": mine})
    for version in (":1.0", f"@{digest}"):
        _pull(vmctl, f"{registry.reference}/org/disk{version}")


def test_an_index_without_an_image_for_this_host(vmctl: Vmctl, registry: Registry) -> None:
    other = registry.push("org/disk", "other", _DISK)
    registry.push_index("org/disk", "1.0", {"linux/mips": other, f"windows/{_ARCHITECTURE}": other})
    _failed(vmctl, f"{registry.reference}/org/disk:1.0", "linux/mips")


def test_a_containers_image_is_no_disk(vmctl: Vmctl, registry: Registry) -> None:
    registry.push("org/disk", "1.0", _DISK, kind="application/vnd.oci.image.layer.v1.tar+gzip")
    _failed(vmctl, f"{registry.reference}/org/disk:1.0", "application/vnd.oci.image.layer.v1.tar+gzip")


def test_a_tag_that_is_not_there(vmctl: Vmctl, registry: Registry) -> None:
    registry.push("org/disk", "1.2.3", _DISK)
    vmctl.write(_vm(f"{registry.reference}/org/disk:1.2.4"))
    result = vmctl("up", status=None)
    prove(result, "vm_manager::oci::pull_failed", evidence="MANIFEST_UNKNOWN")
    assert "has no tag '1.2.4'" in result.stderr
    assert "did you mean '1.2.3'?" in result.stderr


def test_a_repository_that_is_not_there(vmctl: Vmctl, registry: Registry) -> None:
    told = _failed(vmctl, f"{registry.reference}/org/disc:1.0", "HTTP 404")
    assert f"registry {registry.host} has no repository 'org/disc'" in told


def test_a_registry_that_wants_to_know_who_asks(vmctl: Vmctl, locked: Registry) -> None:
    told = _failed(vmctl, f"{locked.reference}/org/disk:1.0", "UNAUTHORIZED")
    assert f"log in: `docker login {locked.host}`" in told


def test_a_registry_that_is_not_there(vmctl: Vmctl) -> None:
    host = f"127.0.0.1:{_closed_port()}"
    result = vmctl("-vv", "image", "pull", f"oci://{host}/org/disk", status=9)
    assert result.code == _CODE
    assert f"registry {host} is unreachable" in result.stderr
    assert "caused by: Connection refused" in result.stderr


def test_what_is_no_reference(vmctl: Vmctl) -> None:
    result = vmctl("image", "pull", "oci://ghcr.io/Org/disk", status=2)
    assert result.code == "vmctl::usage"
    assert "oci://ghcr.io/org/disk" in result.stderr


def _closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _log_in(docker: Path, registry: Registry, password: str = PASSWORD) -> None:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))


def test_what_docker_login_has_kept_opens_a_registry(vmctl: Vmctl, locked: Registry, docker: Path) -> None:
    _log_in(docker, locked)
    told = _pull(vmctl, f"{locked.reference}/org/disk:1.0")
    assert PASSWORD not in told
    assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in told


def test_a_wrong_password_is_not_shown(vmctl: Vmctl, locked: Registry, docker: Path) -> None:
    _log_in(docker, locked, "wr0ng-pw")
    told = _failed(vmctl, f"{locked.reference}/org/disk:1.0", "UNAUTHORIZED")
    assert str(docker / "config.json") in told
    assert "wr0ng-pw" not in told


def test_a_credential_helper_opens_a_registry(vmctl: Vmctl, locked: Registry, docker: Path) -> None:
    answer = json.dumps({"ServerURL": locked.host, "Username": USER, "Secret": PASSWORD})
    helper = docker / "docker-credential-mine"
    helper.write_text(f"#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = '{locked.host}' ] && echo '{answer}'\n")
    helper.chmod(0o755)
    (docker / "config.json").write_text(json.dumps({"credHelpers": {locked.host: "mine"}}))
    vmctl.env["PATH"] = f"{docker}:{os.environ['PATH']}"
    told = _pull(vmctl, f"{locked.reference}/org/disk:1.0")
    assert PASSWORD not in told


def test_ctrl_c_while_a_credential_helper_waits_is_an_interruption(
    vmctl: Vmctl, locked: Registry, docker: Path
) -> None:
    helper = docker / "docker-credential-mine"
    helper.write_text(f"#!/bin/sh\ntouch '{docker}/asked'\nexec sleep 600\n")
    helper.chmod(0o755)
    (docker / "config.json").write_text(json.dumps({"credsStore": "mine"}))
    vmctl.env["PATH"] = f"{docker}:{os.environ['PATH']}"
    with vmctl.start("image", "pull", f"{locked.reference}/org/disk:1.0", start_new_session=True) as process:
        wait_for((docker / "asked").exists, "the helper")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130


def test_a_registry_that_believes_tokens_only(vmctl: Vmctl, tmp_path: Path, docker: Path) -> None:
    with running_registry(tmp_path / "registry") as registry:
        registry.push("org/disk", "1.0", _DISK)
    tokens = TokenServer()
    with scripted(tokens) as giver:
        tokens.realm = f"http://{giver.host}/token"
        with running_registry(tmp_path / "registry", tokens=tokens) as registry:
            _failed(vmctl, f"{registry.reference}/org/disk:1.0", "who are you")
            _log_in(docker, registry)
            told = _pull(vmctl, f"{registry.reference}/org/disk:1.0")
    assert giver.asked[-1].query == {"service": "tests", "scope": "repository:org/disk:pull"}
    assert PASSWORD not in told
    assert "ey" + "J" not in told  # as all JSON Web Tokens begin


def test_a_disk_that_was_changed_in_the_registry_is_refused(vmctl: Vmctl, registry: Registry) -> None:
    registry.push("org/disk", "1.0", _DISK)
    stored = registry.stored(digest_of(_DISK))
    stored.write_bytes(_DISK[:-1] + bytes([_DISK[-1] ^ 1]))
    result = vmctl("image", "pull", f"{registry.reference}/org/disk:1.0", status=8)
    assert result.code == "vm_manager::image::checksum_mismatch"
    assert digest_of(_DISK) in result.stderr
    assert not [path for path in vmctl.data.rglob("*") if path.is_file() and path.stat().st_size >= len(_DISK)]


class _Relay:
    """A slow line to a registry. sent: bytes that came over it so far."""

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self.sent, self.is_slow = 0, True

    def carry(self, client: socket.socket) -> None:
        """One connection, to its end."""
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
            back.start()
            self._copy(client, server)
            back.join()

    def _copy(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(64 * 1024):
                to.sendall(piece)
                if source.getpeername() == self._target:
                    self.sent += len(piece)
                    time.sleep(0.02 if self.is_slow else 0)
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def _relayed(registry: Registry) -> Iterator[tuple[str, _Relay]]:
    """The host to go by, and the relay."""
    relay = _Relay(registry.host)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            relay.carry(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", relay
        server.shutdown()


def test_a_pull_that_was_killed_goes_on_from_where_it_was(vmctl: Vmctl, registry: Registry) -> None:
    disk = _disk(16)
    registry.push("org/disk", "1.0", disk, kind=OCTETS)
    with _relayed(registry) as (host, relay):
        reference = f"oci://{host}/org/disk:1.0"
        with vmctl.start("image", "pull", reference) as process:
            wait_for(lambda: relay.sent > len(disk) // 2, "half of the disk")
            process.kill()
        relay.is_slow, relay.sent = False, 0
        pulled = vmctl("image", "pull", reference, "--json").json
    assert digest_of(Path(pulled["image"]["path"]).read_bytes()) == digest_of(disk)
    assert relay.sent < len(disk) * 3 // 4
