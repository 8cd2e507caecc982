"""How a registry wants to know who asks, and the header that tells it.

Whom the user's credentials are sent to: the registry itself, over https, or over plain http when it is on this host; and the
token server that the registry names. That one may well be another host (Docker's and GitLab's are), and the registry, which
could have asked for the credentials itself, is to be believed; but only by its own word (an answer that came by way of a
redirect is nobody's), and only over https, or over plain http when both are on this host. Nothing is sent on when the token
server redirects. Source: CVE-2020-15157, in which another client answered whoever asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from vm_manager.diagnostics.errors import OciPullFailed
from vm_manager.domain.bounded_json import Unreadable
from vm_manager.domain.oci_reference import OciReference
from vm_manager.images.http import is_loopback, redacted
from vm_manager.images.oci.challenge import Challenge
from vm_manager.images.oci.credentials import Credentials
from vm_manager.images.oci.documents import decoded
from vm_manager.images.oci.failures import Reply, in_trouble, refused

# Of what a header may hold; a token is otherwise opaque.
_HEADER_SAFE = re.compile(r"[!-~]+")
_CLIENT = "vmctl"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to a token server. secret: headers; form: sent by POST, and as secret."""

    url: str
    secret: Mapping[str, str]
    form: Mapping[str, str] | None = None


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


def bearer_token(
    reference: OciReference, challenge: Challenge, credentials: Credentials | None, send: Callable[[Request], Reply]
) -> str:
    """A token for what the challenge is about, for this user or for anybody.

    Source: the distribution project's "Token Authentication Specification" and "OAuth2 Token Authentication".
    send: makes the request, and follows no redirect. Raises: `oci::pull_failed`.
    """
    realm = challenge.parameters.get("realm", "")
    _require_safe(reference, realm)
    asked = {
        "service": challenge.parameters.get("service", ""),
        "scope": challenge.parameters.get("scope") or f"repository:{reference.repository}:pull",
    }
    asked = {name: value for name, value in asked.items() if value}
    if credentials and credentials.is_refresh_token:
        form = {**asked, "grant_type": "refresh_token", "refresh_token": credentials.secret, "client_id": _CLIENT}
        reply = send(Request(url=realm, secret={}, form=form))
    else:
        secret = {"Authorization": credentials.basic} if credentials else {}
        reply = send(Request(url=_with_query(realm, asked), secret=secret))
    if reply.status in (401, 403) or (reply.status == 400 and credentials):
        raise refused(reference, reply, credentials)
    if reply.status != 200:
        raise in_trouble(reference, reply)
    return _token_of(reference, reply)


def _token_of(reference: OciReference, reply: Reply) -> str:
    try:
        answer = decoded(reply.body, _Token)
    except Unreadable:
        answer = _Token()
    # "For compatibility with OAuth 2.0, we will also accept token under the name access_token."
    token = answer.token or answer.access_token
    if _HEADER_SAFE.fullmatch(token) is None:
        raise OciPullFailed(
            "the token server of registry {registry} returned no token",
            {"registry": reference.registry},
            help=("the registry has a problem: try again later",),
            notes=(f"asked: {redacted(reply.url)}",),
            retryable=True,
        )
    return token


def _require_safe(reference: OciReference, realm: str) -> None:
    """Raises: `oci::pull_failed` when credentials must not be sent there."""
    try:
        parts = urlsplit(realm)
        host, scheme, has_user = parts.hostname or "", parts.scheme.lower(), "@" in parts.netloc
    except ValueError:
        host, scheme, has_user = "", "", False
    both_here = is_loopback(host) and is_loopback(host_of(reference.registry))
    if not host or has_user or not (scheme == "https" or (scheme == "http" and both_here)):
        raise OciPullFailed(
            "registry {registry} asks to send the credentials to {realm}, which is not secure",
            {"registry": reference.registry, "realm": redacted(realm)[:200] if host else "nowhere"},
            help=("do not use this registry: tokens must be issued over https",),
        )


def host_of(registry: str) -> str:
    """A registry without its port."""
    return urlsplit(f"//{registry}").hostname or ""


def _with_query(realm: str, more: Mapping[str, str]) -> str:
    parts = urlsplit(realm)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *more.items()]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
