"""Debian's docker-registry on loopback, and pushing to it by HTTP as its specification says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from scripted import Asked, Say, certificate_of

QCOW2_LAYER = "application/vnd.cloudnebula.qcow2.layer.v1"
OCTETS = "application/octet-stream"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"

USER, PASSWORD = "me", "s3cret-pw"
# The password with bcrypt, the only kind that the registry knows.
_HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuufbu7IbsAKnz0sK.RhkuQd5ApLvLcZVy\n"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Registry:
    """A registry that runs. host: with its port. storage: where it keeps what is pushed."""

    host: str
    storage: Path
    auth: tuple[str, str] | None

    @property
    def reference(self) -> str:
        """The beginning of references into it."""
        return f"oci://{self.host}"

    def push(
        self, repository: str, tag: str, content: bytes, *, layers: Sequence[tuple[str, bytes]] = (), kind: str = OCTETS
    ) -> str:
        """Push an image: `layers`, then a layer of that content. Returns the manifest's digest."""
        empty = b"{}"
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(repository, CONFIG, empty),
            "layers": [self._blob(repository, type, data) for type, data in (*layers, (kind, content))],
        }
        return self._put(repository, tag, MANIFEST, manifest)

    def push_index(self, repository: str, tag: str, images: dict[str, str]) -> str:
        """Push an index: manifests, already there, by platform. Returns its digest."""
        manifests = []
        for platform, digest in images.items():
            system, architecture = platform.split("/")
            size = len(self._ask("GET", f"{repository}/manifests/{digest}", headers={"Accept": MANIFEST}).content)
            named = {"os": system, "architecture": architecture}
            manifests.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": named})
        return self._put(repository, tag, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})

    def stored(self, digest: str) -> Path:
        """The file in which it keeps a blob or manifest."""
        algorithm, value = digest.split(":")
        return self.storage / "docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"

    def _blob(self, repository: str, type: str, content: bytes) -> dict[str, object]:
        digest = digest_of(content)
        place = self._ask("POST", f"{repository}/blobs/uploads/").headers["Location"]
        self._ask("PUT", place, params={"digest": digest}, data=content)
        return {"mediaType": type, "digest": digest, "size": len(content)}

    def _put(self, repository: str, tag: str, type: str, manifest: object) -> str:
        body = json.dumps(manifest).encode()
        self._ask("PUT", f"{repository}/manifests/{tag}", data=body, headers={"Content-Type": type})
        return digest_of(body)

    def _ask(self, method: str, path: str, **more: object) -> requests.Response:
        url = path if path.startswith("http") else f"http://{self.host}/v2/{path}"
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, url, auth=self.auth, timeout=60, **more)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer


class TokenServer:
    """Gives out tokens that the registry believes, to whoever logs in as the user."""

    def __init__(self) -> None:
        self.realm = ""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = certificate_of(self._key, [x509.DNSName("tests")])

    def __call__(self, asked: Asked) -> Say:
        wanted = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        if asked.authorization != wanted:
            return Say.json({"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}, 401)
        type, name, actions = asked.query["scope"].split(":")
        access = [{"type": type, "name": name, "actions": actions.split(",")}]
        return Say.json({"token": self._sign(asked.query["service"], access)})

    def _sign(self, service: str, access: object) -> str:
        """A JSON Web Token. Sources: RFC 7515, RFC 7518 section 3.4, and the registry's "Token Authentication Implementation"."""
        chain = [base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()]
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": USER,
            "aud": service,
            "exp": now + 300,
            "nbf": now - 300,
            "iat": now,
            "jti": "1",
        }
        parts = ({"typ": "JWT", "alg": "ES256", "x5c": chain}, {**claims, "access": access})
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@contextmanager
def running_registry(home: Path, *, password: bool = False, tokens: TokenServer | None = None) -> Iterator[Registry]:
    """A registry, with what was pushed to one at this place before. password, tokens: what it wants to see, for everything."""
    home.mkdir(parents=True, exist_ok=True)
    storage = home / "storage"
    lines = [
        "version: 0.1",
        "log: {level: info}",
        f"storage: {{filesystem: {{rootdirectory: {storage}}}}}",
        'http: {addr: "127.0.0.1:0", secret: "of the uploads"}',
    ]
    if password:
        (home / "htpasswd").write_text(_HTPASSWD)
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {home / 'htpasswd'}}}}}")
    if tokens:
        bundle = home / "tokens.pem"
        bundle.write_bytes(tokens.certificate.public_bytes(serialization.Encoding.PEM))
        lines.append(
            f"auth: {{token: {{realm: '{tokens.realm}', service: tests, issuer: tests, rootcertbundle: {bundle}}}}}"
        )
    (home / "config.yml").write_text("\n".join(lines) + "\n")
    command = ["docker-registry", "serve", str(home / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Registry(_address(process), storage, (USER, PASSWORD) if password else None)
        finally:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    """Where it says that it listens. What it says later is thrown away, as a full pipe would stop it."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found[1]
    raise AssertionError(f"docker-registry did not start:\n{''.join(said)}")
