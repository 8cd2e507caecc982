"""A scripted registry with one image, a token server, and pulling from them."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oci_registry import CONFIG, MANIFEST, QCOW2_LAYER, digest_of
from scripted import Asked, Say
from vm_manager.diagnostics.errors import OciPullFailed
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.download import Fetched, fetch
from vm_manager.images.http import Limits
from vm_manager.images.oci.source import oci_source

DISK = b"a disk" * 50_000
LIMITS = Limits(connect_s=20, stall_s=20, retry_delays_s=(0.01, 0.01))
PASSWORD = "s3cret-pw"
_AUTH = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
BASIC = f"Basic {_AUTH}"


def log_in(docker: Path, registry: str, **more: str) -> None:
    """Keep the password for a registry, as `docker login` does. more: other fields of the entry."""
    (docker / "config.json").write_text(json.dumps({"auths": {registry: {"auth": _AUTH, **more}}}))


def manifest_of(disk: bytes = DISK, type: str = QCOW2_LAYER, digest: str = "") -> bytes:
    """A manifest with that disk as its only layer. digest: when it is not the SHA-256 one."""
    layer = {"mediaType": type, "digest": digest or digest_of(disk), "size": len(disk)}
    config = {"mediaType": CONFIG, "digest": digest_of(b"{}"), "size": 2}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).encode()


@dataclass
class ScriptedRegistry:
    """Has one image, `image:1`.

    allow: what it says to a request that it does not let in. type, told: the headers Content-Type and Docker-Content-Digest of
    the manifest. disk: what it sends as the layer; blob: what it says instead.
    """

    allow: Callable[[Asked], Say | None] = lambda asked: None
    manifest: bytes = field(default_factory=manifest_of)
    type: str = MANIFEST
    told: str | None = None
    disk: bytes = DISK
    blob: Callable[[Asked], Say | None] = lambda asked: None

    def __call__(self, asked: Asked) -> Say:
        if (said := self.allow(asked)) is not None:
            return said
        if asked.path in ("/v2/image/manifests/1", f"/v2/image/manifests/{digest_of(self.manifest)}"):
            told = {"Docker-Content-Digest": self.told} if self.told else {}
            return Say(200, self.manifest, {"Content-Type": self.type, **told})
        if asked.path.startswith("/v2/image/blobs/"):
            return self.blob(asked) or ranged(asked, self.disk)
        return Say.json({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, 404)


def ranged(asked: Asked, content: bytes) -> Say:
    """The content, or the rest of it from where the request says."""
    start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if start == 0:
        return Say(200, content, {"ETag": '"x"'})
    return Say(
        206, content[start:], {"ETag": '"x"', "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    )


@dataclass
class TokenServer:
    """Gives out tokens. user: whose `Authorization` it wants; good_for: so many requests; name: of the answer's field."""

    user: str | None = None
    good_for: int = 1000
    name: str = "token"
    left: dict[str, int] = field(default_factory=dict)

    def give(self, asked: Asked) -> Say:
        """The token server's answer."""
        if self.user and asked.authorization != self.user and asked.form.get("refresh_token") != PASSWORD:
            return Say.json({"errors": [{"code": "DENIED", "message": "denied"}]}, 401)
        token = f"token-{len(self.left)}"
        self.left[token] = self.good_for
        return Say.json({self.name: token, "expires_in": 60})

    def allow(self, realm: str) -> Callable[[Asked], Say | None]:
        """What a registry says that wants these tokens."""

        def check(asked: Asked) -> Say | None:
            token = (asked.authorization or "").removeprefix("Bearer ")
            if self.left.get(token, 0) > 0:
                self.left[token] -= 1
                return None
            challenge = f'Bearer realm="{realm}",service="the registry",scope="repository:image:pull"'
            return Say.json({"errors": [{"code": "UNAUTHORIZED"}]}, 401, **{"WWW-Authenticate": challenge})

        return check


def pull(reference: str, into: Path) -> Fetched:
    """Pull an image; the reference is without its scheme."""
    cancel = CancelToken()
    return fetch(oci_source(f"oci://{reference}", cancel, LIMITS), into, lambda done, total: None, cancel, LIMITS)


def failure_of(reference: str, into: Path) -> OciPullFailed:
    """How a pull fails: with help, without anything secret, and without leaving a file."""
    with pytest.raises(OciPullFailed) as caught:
        pull(reference, into)
    diagnostic = caught.value.diagnostic
    assert diagnostic.exit_code == 9
    assert diagnostic.help
    assert PASSWORD not in repr(diagnostic)
    assert BASIC.split()[1] not in repr(diagnostic)
    assert not into.exists()
    return caught.value


def closed_port() -> int:
    """A port of this host on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
