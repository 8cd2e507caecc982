"""Lists of checksums, as Debian, Ubuntu and Fedora publish them beside their images."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from vm_manager.diagnostics.errors import DownloadFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.http import Limits, asked, redacted

_MOST_BYTES = 4 * 1024**2
_ALGORITHMS = {64: "sha256", 128: "sha512"}
# "<digits>  name", binary mode with an asterisk: sha256sum(1), in Debian's and Ubuntu's SHA256SUMS and SHA512SUMS.
_GNU = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{128})(?: [ *]|\t)(\S.*)")
# "SHA256 (name) = <digits>": sha256sum --tag, in Fedora's CHECKSUM, which has a signature around it.
_TAGGED = re.compile(r"SHA(?:256|512) \((.+)\) = ([0-9a-fA-F]{64}|[0-9a-fA-F]{128})")


def digest_in_list(list_url: str, image_url: str, cancel: CancelToken, limits: Limits | None = None) -> str:
    """The strongest checksum that a list has for an image: `sha512:…` or `sha256:…`.

    Raises: `image::download_failed`, also when the list does not have it.
    """
    with asked(list_url, cancel=cancel, limits=limits) as answer:
        if answer.status != 200:
            help = ("check checksum-url: the list is usually in the same directory as the image",)
            raise answer.refusal(list_url).enrich(help=help)
        text = answer.read(_MOST_BYTES).decode(errors="replace")
    name = posixpath.basename(unquote(urlsplit(image_url).path))
    found = [digest for digest, named in entries(text) if posixpath.basename(named) == name]
    if not found:
        names = tuple(named for _, named in entries(text))[:6] or ("no checksums at all",)
        raise DownloadFailed(
            "the list {list} has no checksum for {name}",
            {"list": redacted(list_url), "name": name},
            help=("check that checksum-url points to the list for this image",),
            evidence=(Evidence("http", "contents of the list", names, truncated=len(names) == 6),),
        )
    return max(found, key=len)


def entries(text: str) -> Iterator[tuple[str, str]]:
    """The checksums of a list, each with its algorithm, and the names of their files."""
    for line in text.splitlines():
        if found := _GNU.fullmatch(line.strip()):
            digits, name = found[1], found[2]
        elif found := _TAGGED.fullmatch(line.strip()):
            digits, name = found[2], found[1]
        else:
            continue
        yield f"{_ALGORITHMS[len(digits)]}:{digits.lower()}", name
