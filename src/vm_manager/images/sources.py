"""From an image as it is asked for to what the engine fetches: decided by the URL's scheme."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.spec import ImageSource
from vm_manager.images.checksums import digest_in_list
from vm_manager.images.download import Source
from vm_manager.images.http import Limits


def source_of(image: ImageSource, cancel: CancelToken, limits: Limits | None = None) -> Source:
    """Where the image of a URL comes from, with the checksums it must have.

    Raises: `image::download_failed` for a list of checksums; `vmctl::usage` for a scheme that nothing fetches.
    """
    url = image.url or ""
    scheme = urlsplit(url).scheme.lower()
    if scheme not in ("http", "https", "file"):
        raise Usage("images of the scheme '{scheme}' cannot be fetched", {"scheme": scheme}, help=(_SCHEMES,))
    source = Source(url=url, digests=image.digests)
    if image.checksum_url:
        listed = digest_in_list(image.checksum_url, url, cancel, limits)
        source = replace(source, digests=tuple(dict.fromkeys((*source.digests, listed))))
    return source


_SCHEMES = "name an https, http or file URL, or the path of a file"
