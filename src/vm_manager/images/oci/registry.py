"""A registry, asked for one repository. Source: the OCI distribution specification 1.1, "Pull"."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec

from vm_manager.diagnostics.errors import DownloadFailed, OciPullFailed, VmError
from vm_manager.domain.bounded_json import Unreadable
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.oci_reference import OciReference, is_digest, is_tag
from vm_manager.images.download import Source
from vm_manager.images.http import TRANSIENT, Answer, Limits, asked, is_loopback
from vm_manager.images.oci.challenge import Challenge, parse_challenges
from vm_manager.images.oci.credentials import Credentials, find_credentials
from vm_manager.images.oci.documents import MAX_BYTES, decoded
from vm_manager.images.oci.failures import (
    DOCKER,
    Reply,
    in_trouble,
    no_digest,
    no_repository,
    no_tag,
    refused,
    unreachable,
)
from vm_manager.images.oci.manifest import ACCEPT, Descriptor, Manifest, read_manifest, verify_manifest
from vm_manager.images.oci.tokens import Request, bearer_token, host_of

_log = logging.getLogger(__name__)

_LATER = "run the command again: it resumes the download"
_DAMAGED = "the registry lacks a layer that its manifest refers to: the image has to be pushed again"
# Docker's own registry goes by another name than its host's, and its official images by a shorter one.
_DOCKER_HOST = "registry-1.docker.io"
_DOCKER_NAMESPACE = "library"


class Registry:
    """The registry that a reference names. It is told who asks when it wants to know, not before."""

    def __init__(self, reference: OciReference, cancel: CancelToken, limits: Limits | None = None) -> None:
        if reference.registry in DOCKER and "/" not in reference.repository:
            reference = replace(reference, repository=f"{_DOCKER_NAMESPACE}/{reference.repository}")
        self._reference, self._cancel, self._limits = reference, cancel, limits or Limits()
        self._host = _DOCKER_HOST if reference.registry in DOCKER else reference.registry
        scheme = "http" if is_loopback(host_of(self._host)) else "https"
        self._base = f"{scheme}://{self._host}/v2/{reference.repository}"
        self._secret: Mapping[str, str] = {}
        self._credentials: Credentials | None = None

    def manifest(self, version: str) -> Manifest:
        """The manifest or index of a tag or digest, verified.

        Raises: `oci::pull_failed`, `host::missing_tool` for a credential helper, `vmctl::interrupted`.
        """
        reply = self._get(f"{self._base}/manifests/{version}", accept=ACCEPT)
        if reply.status == 404:
            raise self._missing(version, reply)
        self._require_success(reply)
        told = reply.headers.get("Docker-Content-Digest", "")
        for digest in (version, told):
            if is_digest(digest):
                verify_manifest(reply.body, digest, self._reference)
        return read_manifest(reply.body, reply.headers.get("Content-Type", ""), self._reference)

    def blob(self, descriptor: Descriptor, version: str) -> Source:
        """Where the bytes of a layer are. version: of the manifest that names it, by which a new token is had."""

        def renew() -> Source:
            self._secret = {}
            self.manifest(version)
            return self.blob(descriptor, version)

        return Source(
            url=f"{self._base}/blobs/{descriptor.digest}",
            headers={"Accept": "*/*", **self._secret},
            digests=(descriptor.digest,),
            size_bytes=descriptor.size,
            renew=renew,
            failed=self._failed,
        )

    def _failed(self, error: DownloadFailed) -> OciPullFailed:
        """The failure that a layer's failed download is."""
        return OciPullFailed(
            "could not pull the disk image of {image}",
            {"image": str(self._reference)},
            help=(_LATER if error.diagnostic.retryable else _DAMAGED,),
            evidence=error.diagnostic.evidence,
            retryable=error.diagnostic.retryable,
        )

    def _missing(self, version: str, reply: Reply) -> OciPullFailed:
        """Of a 404 it is not clear what is missing, and most registries' codes do not say either."""
        if "NAME_UNKNOWN" in reply.codes:
            return no_repository(self._reference, reply)
        tags = self._get(f"{self._base}/tags/list", accept="application/json")
        if tags.status == 404:
            return no_repository(self._reference, reply)
        if is_digest(version):
            return no_digest(self._reference, version, reply)
        return no_tag(self._reference, reply, _tags_of(tags.body) if tags.status == 200 else ())

    def _require_success(self, reply: Reply) -> None:
        if reply.status in (401, 403):
            raise refused(self._reference, reply, self._credentials)
        if reply.status != 200:
            raise in_trouble(self._reference, reply)

    def _get(self, url: str, *, accept: str) -> Reply:
        """Ask the registry; when it asks back who we are, tell it."""
        headers = {"Accept": accept}
        reply = self._send(url, headers, self._secret)
        if reply.status == 401 and _same_host(reply.url, url) and self._authorize(reply):
            reply = self._send(url, headers, self._secret)
        return reply

    def _authorize(self, reply: Reply) -> bool:
        """Get what the registry wants to see. False when it wants nothing that can be had."""
        challenges = parse_challenges(reply.headers.get("WWW-Authenticate", ""))
        by_scheme: dict[str, Challenge] = {challenge.scheme: challenge for challenge in reversed(challenges)}
        if not by_scheme.keys() & {"bearer", "basic"}:
            return False
        try:
            self._credentials = find_credentials(self._reference.registry)
        except VmError:
            self._cancel.raise_if_cancelled()  # Ctrl-C ends a helper, too
            raise
        whose = self._credentials.origin if self._credentials else "nobody in particular"
        _log.info("%s wants to know who asks (%s): %s", self._host, ", ".join(sorted(by_scheme)), whose)
        if "bearer" in by_scheme:
            token = bearer_token(self._reference, by_scheme["bearer"], self._credentials, self._send_for_token)
            self._secret = {"Authorization": f"Bearer {token}"}
            return True
        if self._credentials is None or self._credentials.is_refresh_token:
            return False
        self._secret = {"Authorization": self._credentials.basic}
        return True

    def _send_for_token(self, request: Request) -> Reply:
        return self._send(request.url, {"Accept": "application/json"}, request.secret, form=request.form, follow=False)

    def _send(
        self,
        url: str,
        headers: Mapping[str, str],
        secret: Mapping[str, str],
        *,
        form: Mapping[str, str] | None = None,
        follow: bool = True,
    ) -> Reply:
        """A request, tried again where that may help. Raises: `oci::pull_failed`, `vmctl::interrupted`."""
        pauses = iter(self._limits.retry_delays_s)
        while True:
            try:
                with asked(
                    url,
                    cancel=self._cancel,
                    headers=headers,
                    secret=secret,
                    form=form,
                    follow=follow,
                    limits=self._limits,
                ) as answer:
                    reply = Reply(answer.status, answer.url, answer.headers, self._body(answer))
            except DownloadFailed as error:
                pause = next(pauses, None) if error.diagnostic.retryable else None
                if pause is None:
                    raise unreachable(self._reference, urlsplit(url).netloc, error) from error
            else:
                pause = next(pauses, None) if reply.status in TRANSIENT else None
                if pause is None:
                    return reply
            self._cancel.wait(pause)

    def _body(self, answer: Answer) -> bytes:
        """All of an answer, as long as that is neither too much nor too slow. Raises: `oci::pull_failed`."""
        body, ends = bytearray(), time.monotonic() + self._limits.answer_s
        with closing(answer.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > MAX_BYTES:
                    raise self._hostile("sent more than {most} bytes for a manifest", most=MAX_BYTES)
                if time.monotonic() > ends:
                    raise self._hostile(
                        "took more than {seconds} s for a manifest", seconds=round(self._limits.answer_s)
                    )
        return bytes(body)

    def _hostile(self, what: str, **args: int) -> OciPullFailed:
        return OciPullFailed(
            f"registry {{registry}} {what}",
            {"registry": self._reference.registry, **args},
            help=("check that the reference points to a registry",),
        )


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


def _tags_of(body: bytes) -> tuple[str, ...]:
    try:
        return tuple(filter(is_tag, decoded(body, _Tags).tags or ()))
    except Unreadable:
        return ()


def _same_host(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]
