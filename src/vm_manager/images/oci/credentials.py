"""Who we are to a registry: what `docker login` has kept, and `GITHUB_TOKEN` for GitHub's.

Sources: Docker's "docker login" reference (config.json, credsStore, credHelpers), github.com/docker/docker-credential-helpers
(how helpers are asked), GitHub's "Working with the Container registry".
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vm_manager.diagnostics.errors import MissingTool, OciPullFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import diagnosed, os_errors
from vm_manager.domain.bounded_json import Unreadable
from vm_manager.host.process import ProcessFailed, describe_status, run
from vm_manager.host.tools import find_tool
from vm_manager.images.oci.documents import MAX_BYTES, decoded

GITHUB_REGISTRY = "ghcr.io"
# The name under which Docker keeps what belongs to its own registry.
_KEYS = {"docker.io": "https://index.docker.io/v1/", "index.docker.io": "https://index.docker.io/v1/"}
# What a helper calls the user when the secret is a refresh token.
_TOKEN_USER = "<token>"
# "Standardizes the not found error, so every helper returns the same message": the protocol's only way to say so.
_NOT_FOUND = "credentials not found in native keychain"
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A helper may have to ask the user to unlock the keychain.
_HELPER_TIMEOUT_S = 120


@dataclass(frozen=True)
class Credentials:
    """A user's name and secret. origin: where they were found. is_refresh_token: whether the secret is one (OAuth 2)."""

    user: str
    secret: str = field(repr=False)
    origin: str
    is_refresh_token: bool = False

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header. Source: RFC 7617."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.secret}'.encode()).decode()}"


def find_credentials(registry: str) -> Credentials | None:
    """What is known here for a registry, by its host and port; None for nobody.

    For ghcr.io the environment's GITHUB_TOKEN comes first; else, as for all others, Docker's configuration below
    `$DOCKER_CONFIG`, by default `~/.docker`: the registry's own helper, the helper for all, then the file itself.
    Raises: `oci::pull_failed` when the configuration or a helper's answer makes no sense; `host::missing_tool`,
    `host::permission_denied`.
    """
    token = os.environ.get("GITHUB_TOKEN", "")
    if registry == GITHUB_REGISTRY and token:
        # GitHub looks at the token only, but wants some name beside it.
        return Credentials(os.environ.get("GITHUB_ACTOR") or "x-access-token", token, "GITHUB_TOKEN")
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    config = _read(path)
    key = _KEYS.get(registry, registry)
    if helper := config.credHelpers.get(key) or config.credsStore:
        found = _ask(helper, key, path)
        if found is not None or key in config.credHelpers:
            return found
    return _from_file(config.auths, key, path)


class _Auth(msgspec.Struct):
    auth: str = ""
    identitytoken: str = ""


class _Config(msgspec.Struct):
    auths: dict[str, _Auth] = {}
    credHelpers: dict[str, str] = {}
    credsStore: str = ""


class _HelperAnswer(msgspec.Struct):
    Username: str
    Secret: str


def _read(path: Path) -> _Config:
    with os_errors(path):
        try:
            with path.open("rb") as file:
                return decoded(file.read(MAX_BYTES + 1), _Config)
        except FileNotFoundError:
            return _Config()
        except Unreadable as error:
            raise OciPullFailed(
                "could not read the credentials in {path}",
                {"path": str(path)},
                help=(f"fix the file: `python3 -m json.tool '{path}'` shows where the JSON is invalid",),
                evidence=(Evidence("probe", path.name, (str(error),)),),
            ) from None


def _from_file(auths: Mapping[str, _Auth], key: str, path: Path) -> Credentials | None:
    entry = auths.get(key) or next((auths[name] for name in auths if _host_of(name) == key), None)
    if entry is None or not (entry.auth or entry.identitytoken):
        return None
    try:
        user, colon, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if entry.auth and not colon:
        # Not `from` what base64 said: it would quote what is secret.
        raise OciPullFailed(
            "the credentials for {registry} in {path} are not in the format of `docker login`",
            {"registry": key, "path": str(path)},
            help=(f"log in again: `docker login {key}`",),
        )
    if entry.identitytoken:
        return Credentials(user, entry.identitytoken, str(path), is_refresh_token=True)
    return Credentials(user, password.strip("\0"), str(path))


def _host_of(name: str) -> str:
    """Older versions of Docker kept URLs where others keep hosts."""
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _ask(helper: str, key: str, path: Path) -> Credentials | None:
    """What a credential helper knows. Raises: `oci::pull_failed`, `host::missing_tool`."""
    name = f"docker-credential-{helper}"
    if not _HELPER_NAME.fullmatch(helper):
        raise OciPullFailed(
            "{path} has an invalid credential helper: {helper}",
            {"path": str(path), "helper": helper[:80]},
            help=(f"fix `credsStore` or `credHelpers` in {path}",),
        )
    try:
        program = find_tool(name)
    except MissingTool as error:
        raise error.enrich(
            help=(f"install the package that provides `{name}`, or remove it from {path}",),
            notes=(f"it keeps the credentials for {key}, says {path}",),
        ) from None
    # The whole environment: a helper is the user's own, and finds its keys, its agent or its cloud by that.
    try:
        answer = run((str(program), "get"), timeout_s=_HELPER_TIMEOUT_S, stdin=key, env=os.environ)
        found = decoded(answer.stdout, _HelperAnswer)
    except ProcessFailed as error:
        if error.result.stdout.strip() == _NOT_FOUND:
            return None
        raise _helper_failed(name, key, error) from None
    except OSError as error:
        raise diagnosed(error, program) from error
    except Unreadable:
        # Its answer is not quoted: it may hold the secret.
        raise OciPullFailed(
            "the credential helper {helper} did not return JSON with Username and Secret",
            {"helper": name},
            help=(f"try it: `echo {key} | {name} get`",),
        ) from None
    if found.Username == _TOKEN_USER:
        return Credentials("", found.Secret, name, is_refresh_token=True)
    return Credentials(found.Username, found.Secret, name)


def _helper_failed(name: str, key: str, error: ProcessFailed) -> OciPullFailed:
    # Helpers say what is wrong on standard output; what looks like an answer is kept back.
    said = [line for line in error.result.stdout.splitlines() if not line.lstrip().startswith("{")]
    lines = (*said[-3:], *error.result.stderr.splitlines()[-3:], describe_status(error.result.status))
    return OciPullFailed(
        "the credential helper {helper} returned no credentials for {registry}",
        {"helper": name, "registry": key},
        help=(f"try it: `echo {key} | {name} get`",),
        evidence=(Evidence("process", name, lines),),
    )
