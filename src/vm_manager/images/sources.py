"""From an image as it is asked for to what the engine fetches: decided by the URL's scheme."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.oci_reference import is_oci
from vm_manager.domain.spec import ImageSource
from vm_manager.images.checksums import digest_in_list
from vm_manager.images.download import Source
from vm_manager.images.http import Limits
from vm_manager.images.oci.source import oci_source


def source_of(image: ImageSource, cancel: CancelToken, limits: Limits | None = None) -> Source:
    """Where the image of a URL comes from, with the checksums it must have.

    Raises: `image::download_failed` for a list of checksums; `oci::pull_failed` when a registry does not say where the image
    is; `vmctl::usage` for a scheme that nothing fetches.
    """
    url = image.url or ""
    if is_oci(url):
        source = oci_source(url, cancel, limits, image.architecture)
    elif (scheme := urlsplit(url).scheme.lower()) in ("http", "https", "file"):
        source = Source(url=url)
    else:
        raise Usage("unsupported image URL scheme: '{scheme}'", {"scheme": scheme}, help=(_SCHEMES,))
    source = replace(source, digests=(*source.digests, *image.digests))
    if image.checksum_url:
        listed = digest_in_list(image.checksum_url, url, cancel, limits)
        source = replace(source, digests=tuple(dict.fromkeys((*source.digests, listed))))
    return source


_SCHEMES = "use an https, http, oci or file URL, or a path"
