"""Why a registry does not give an image: it has none, it does not let us, it is out of reach, or in trouble itself.

Told apart by the status of its answer, the code in it, and by asking for the repository's tags; never by what a text says.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from vm_manager.diagnostics.errors import DownloadFailed, OciPullFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.bounded_json import Unreadable
from vm_manager.domain.names import closest
from vm_manager.domain.oci_reference import OciReference
from vm_manager.images.http import TRANSIENT
from vm_manager.images.oci.credentials import GITHUB_REGISTRY, Credentials
from vm_manager.images.oci.documents import decoded

# The names of Docker's own registry; its host has another one.
DOCKER = ("docker.io", "index.docker.io")
_SHOWN_TAGS = 10
_SHOWN_ERRORS = 3


@dataclass(frozen=True)
class Reply:
    """A whole answer. url: that gave it, after redirects."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def codes(self) -> tuple[str, ...]:
        """The registry's own codes of what is wrong, such as `NAME_UNKNOWN`: "Error Codes" of the specification."""
        return tuple(error.code for error in self._errors())

    @property
    def evidence(self) -> Evidence:
        """The status and what the registry says."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        said = (f"{error.code}: {error.message}"[:200] for error in self._errors()[:_SHOWN_ERRORS])
        return Evidence("http", "the registry's answer", (f"HTTP {self.status} {phrase}".rstrip(), *said))

    def _errors(self) -> list[_Error]:
        try:
            return decoded(self.body, _Errors).errors or []
        except Unreadable:
            return []


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] | None = None


def unreachable(reference: OciReference, host: str, error: DownloadFailed) -> OciPullFailed:
    """No usable answer came at all. host: that was asked, with its port."""
    if not error.diagnostic.retryable and error.__cause__ is None:
        return OciPullFailed(
            "could not pull {image}", {"image": str(reference)}, help=error.diagnostic.help, notes=(str(error),)
        )
    is_registry = host == reference.registry or reference.registry in DOCKER
    return OciPullFailed(
        "registry {registry} is unreachable"
        if is_registry
        else "{host}, which registry {registry} refers to, is unreachable",
        {"registry": reference.registry, "host": host},
        help=_how_to_reach(host, error),
        evidence=error.diagnostic.evidence,
        retryable=error.diagnostic.retryable,
    )


def _how_to_reach(host: str, error: DownloadFailed) -> tuple[str, ...]:
    match error.__cause__:
        case socket.gaierror():
            return (f"the name {host.partition(':')[0]} cannot be resolved: check its spelling and the network",)
        case ConnectionRefusedError():
            known = "nothing is listening there: start the registry, or add its port to the reference"
            return (f"{known}, as in oci://{host}/…",)
        case ssl.SSLError() as cause if not isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "it does not speak TLS; plain HTTP is only allowed for registries on this host (localhost, 127.0.0.1)",
            )
        case _:
            return error.diagnostic.help


def refused(reference: OciReference, reply: Reply, credentials: Credentials | None) -> OciPullFailed:
    """The registry, or the server that gives out its tokens, answered with 401 or 403."""
    args = {"repository": reference.repository, "registry": reference.registry}
    note = "many registries answer the same for a repository that does not exist"
    if credentials is None:
        login = f"log in: `docker login {reference.registry}`"
        token = f"{login}, or set GITHUB_TOKEN to a token that can read packages"
        return OciPullFailed(
            "registry {registry} requires a login for '{repository}'",
            args,
            help=(token if reference.registry == GITHUB_REGISTRY else login,),
            notes=(note,),
            evidence=(reply.evidence,),
        )
    who = f"user '{credentials.user}'" if credentials.user else "the token's owner"
    return OciPullFailed(
        "registry {registry} denies {user} access to '{repository}'",
        {**args, "user": who},
        help=(f"check the credentials from {credentials.origin}, and that {who} can read '{reference.repository}'",),
        notes=(note,),
        evidence=(reply.evidence,),
    )


def no_repository(reference: OciReference, reply: Reply) -> OciPullFailed:
    """There is none of that name."""
    return OciPullFailed(
        "registry {registry} has no repository '{repository}'",
        {"registry": reference.registry, "repository": reference.repository},
        help=("check the spelling of the repository, including its namespace",),
        evidence=(reply.evidence,),
    )


def no_digest(reference: OciReference, digest: str, reply: Reply) -> OciPullFailed:
    """The repository is there, but not the manifest of this digest, whether it was asked for or an index names it."""
    return OciPullFailed(
        "'{repository}' has nothing with the digest {digest}",
        {"repository": reference.name, "digest": digest},
        help=("check the digest; the image may have been deleted",),
        evidence=(reply.evidence,),
    )


def no_tag(reference: OciReference, reply: Reply, tags: tuple[str, ...]) -> OciPullFailed:
    """The repository is there, but not this tag of it. tags: that it has."""
    near = closest(reference.version, tags)
    shown = Evidence("oci", "its tags", tags[:_SHOWN_TAGS], truncated=len(tags) > _SHOWN_TAGS)
    return OciPullFailed(
        "'{repository}' has no tag '{tag}'",
        {"repository": reference.name, "tag": reference.version},
        help=(f"did you mean '{near}'?" if near else "use an existing tag",),
        evidence=(reply.evidence, *((shown,) if tags else ())),
    )


def in_trouble(reference: OciReference, reply: Reply) -> OciPullFailed:
    """Any other status."""
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        help = f"wait a while, or log in for a higher limit: `docker login {reference.registry}`"
    elif reply.status in TRANSIENT:
        help = "the registry has a problem: try again later"
    else:
        help = "check that the reference points to a registry"
    return OciPullFailed(
        "registry {registry} answered with HTTP {status}",
        {"registry": reference.registry, "status": reply.status},
        help=(help,),
        evidence=(reply.evidence,),
        retryable=reply.status in TRANSIENT,
    )
