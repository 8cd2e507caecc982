"""Fetching a file over HTTP, in pieces, with everything checked that can be checked while it flows."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3

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
            with _ended_by(cancel, response):
                received = _store(response, destination, lambda done: progress(done, size), cancel)
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        cancel.raise_if_cancelled()
        # Not `from error`: its text quotes the URL with all that is secret in it.
        reason = Evidence("http", type(error).__name__, (_redacted_text(str(error), url),))
        raise DownloadFailed("{url} could not be fetched", shown, evidence=(reason,), retryable=True) from _root(error)
    cancel.raise_if_cancelled()
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


def _root(error: BaseException) -> OSError | None:
    """What the operating system said, at the bottom of it; the libraries' own texts quote the URL."""
    found, context = None, error.__cause__ or error.__context__
    while context is not None:
        found = context if isinstance(context, OSError) and context.errno else found
        context = context.__cause__ or context.__context__
    return found


def _redacted_text(text: str, url: str) -> str:
    parts = urlsplit(url)
    for secret in (parts.query, parts.fragment, parts.netloc.rpartition("@")[0], parts.password, parts.username):
        if secret:
            text = text.replace(secret, "…")
    return text[:500]


@contextmanager
def _ended_by(cancel: CancelToken, response: requests.Response) -> Iterator[None]:
    """Ctrl-C ends a read that waits for a server that has stalled: the connection is shut down under it."""

    def shut_down() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(response.raw.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)

    with cancel.calling(shut_down):
        yield


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
