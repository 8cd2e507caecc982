"""Names of images in OCI registries.

The grammar of repositories, tags and digests is that of the OCI distribution specification 1.1, "Pulling manifests", and of
the image specification, "Digests"; that a name begins with the registry's host is Docker's custom.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "oci://"
_DEFAULT_TAG = "latest"
_MAX_NAME = 255  # "Many clients impose a limit of 255 characters on the length of the concatenation" of host and name

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]{{2,39}}\])(?::(?P<port>[0-9]{{1,5}}))?")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# Of the registered algorithms, those that everybody has.
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class NotAReference(ValueError):
    """What is wrong with a text that should be a reference.

    reason: as the second half of a sentence about the text. help: what to write instead.
    """

    def __init__(self, reason: str, help: str) -> None:
        super().__init__(reason)
        self.reason, self.help = reason, help


@dataclass(frozen=True)
class OciReference:
    """An image in a registry: `oci://registry[:port]/repository[:tag][@digest]`.

    registry: host and port, as written. tag: None when only a digest is given; with a digest it is not looked at.
    digest: of the manifest or index, `sha256:…` or `sha512:…`, or None.
    """

    registry: str
    repository: str
    tag: str | None = _DEFAULT_TAG
    digest: str | None = None

    @property
    def version(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or _DEFAULT_TAG

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{SCHEME}{self.name}{tag}{digest}"


def is_oci(url: str) -> bool:
    """Whether a URL has the scheme of a reference."""
    return url[: len(SCHEME)].lower() == SCHEME


def is_tag(text: str) -> bool:
    """Whether a text can be a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether a text is a digest of an algorithm that is known here."""
    return _DIGEST.fullmatch(text) is not None


def parse_reference(text: str) -> OciReference:
    """Read a reference; without tag and digest it means the tag `latest`.

    Raises: `NotAReference`, with what is wrong with it.
    """
    if not is_oci(text):
        raise NotAReference("it does not begin with oci://", "write oci://registry/repository:tag")
    rest, at, digest = text[len(SCHEME) :].partition("@")
    registry, slash, path = rest.partition("/")
    if "@" in digest or (at and not slash):
        raise NotAReference(
            "it has a user name", "leave out the user; credentials come from Docker's config.json: `docker login`"
        )
    repository, colon, tag = path.partition(":")
    _check_registry(registry)
    if not repository:
        raise NotAReference("it has no repository", f"add it after the registry: oci://{registry}/repository:tag")
    _check_repository(registry, repository)
    if colon and not is_tag(tag):
        raise NotAReference(
            "the tag has invalid characters" if tag else "the tag is empty",
            "a tag has letters, digits, _, . and -, 128 at most, and does not begin with . or -",
        )
    if at and not is_digest(digest):
        raise NotAReference(
            "the digest is incomplete", "write the whole digest: @sha256: and 64 hexadecimal digits in lower case"
        )
    default = None if at else _DEFAULT_TAG
    return OciReference(registry, repository, tag or default, digest or None)


def _check_registry(registry: str) -> None:
    if not registry:
        raise NotAReference("it has no registry", "write the registry's host first: oci://registry/repository:tag")
    found = _HOST.fullmatch(registry)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:
        raise NotAReference(
            "the registry is not a host", "write a host name, and a port unless it is 443: oci://host:5000/…"
        )


def _check_repository(registry: str, repository: str) -> None:
    if _REPOSITORY.fullmatch(repository) is None:
        if _REPOSITORY.fullmatch(repository.lower()):
            raise NotAReference(
                "the repository has capital letters", f"write it in lower case: {SCHEME}{registry}/{repository.lower()}"
            )
        raise NotAReference(
            "the repository has invalid characters",
            "use lower case letters and digits, with ., _, - or / between them",
        )
    if len(registry) + 1 + len(repository) > _MAX_NAME:
        raise NotAReference(
            "registry and repository are too long",
            f"use at most {_MAX_NAME} characters for registry and repository together",
        )
