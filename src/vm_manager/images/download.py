"""Fetching a file over HTTP, in pieces, with everything checked that can be checked while it flows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests

from vm_manager.diagnostics.errors import DownloadFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import CancelToken

_CONNECT_TIMEOUT_S = 20
_READ_TIMEOUT_S = 60
_CHUNK = 1024 * 1024

ProgressSink = Callable[[int, int | None], None]


def download(url: str, destination: Path, progress: ProgressSink, cancel: CancelToken) -> None:
    """Fetch `url` into `destination`, which is complete on return.

    progress: told the bytes so far and in all (None when the server does not say).
    Raises: `image::download_failed`, `host::disk_full`, `vmctl::interrupted`.
    """
    shown = {"url": redacted(url)}
    try:
        with requests.get(
            url, stream=True, timeout=(_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S), headers={"Accept-Encoding": "identity"}
        ) as response:
            if not response.ok:
                raise _refused(response, url)
            size = int(response.headers.get("Content-Length", "0")) or None
            received = _store(response, destination, lambda done: progress(done, size), cancel)
    except (requests.RequestException, ValueError) as error:
        raise DownloadFailed("{url} could not be fetched", shown, retryable=True) from error
    if size is not None and received != size:
        raise DownloadFailed(
            "{url} ended early: {received} of {size} bytes",
            {**shown, "received": received, "size": size},
            retryable=True,
        )


def redacted(url: str) -> str:
    """A URL without what may be secret in it: user info and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))


def _store(response: requests.Response, destination: Path, told: Callable[[int], None], cancel: CancelToken) -> int:
    received = 0
    with os_errors(destination), destination.open("wb") as file:
        # Not from .iter_content(): that would undo a Content-Encoding which is none of the image's.
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            cancel.raise_if_cancelled()
            file.write(chunk)
            received += len(chunk)
            told(received)
    return received


def _refused(response: requests.Response, url: str) -> DownloadFailed:
    answer = f"HTTP {response.status_code} {response.reason}"
    found = "check the URL" if response.status_code in (404, 410) else "check that the server lets you have it"
    return DownloadFailed(
        "the server refused {url}",
        {"url": redacted(url)},
        help=(found,),
        evidence=(Evidence("http", "answer", (answer,)),),
    )
