"""HTTP, one request at a time: redirects by our own rules, waits that can be ended, every failure translated.

A redirect is followed here and not by requests, which takes away `Authorization` when the host changes, but no other header
that is as secret, and which would follow from https to plain http, and from elsewhere to services of this machine.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from vm_manager.diagnostics.errors import DownloadFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.urls import cut_url, cut_urls, without_secrets_of
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.pace import Pace
from vm_manager.images.unreachable import chain, reason, verified_by
from vm_manager.images.wire import LeadsHere, Wire, noted_by

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What another try may change. Source: RFC 9110 section 15, RFC 6585 (429), RFC 8470 (425).
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_REDIRECTS = 10
_READ_BYTES = 1024 * 1024
# TLS hands out 16 KiB at a time: pieces are put together, but not for longer than a display shows nothing new.
_CHUNK_BYTES = 512 * 1024
_CHUNK_S = 0.25
_PORTS = {"http": 80, "https": 443}
# Of a number of seconds that somebody would wait.
_DIGITS = 6
_NETRC = "machine {host} login USER password PASSWORD"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to wait and how often to try.

    connect_s: for a connection. stall_s: for the next bytes of an answer. head_s: for all of an answer's head, from the
    request on; answer_s: for all of an answer that has to be small.
    least_rate: bytes a second; a server that sends less, on average over `window_s` seconds, is given up.
    retry_delays_s: between tries that bring nothing new; when all have been waited through, the failure stands, and before
    that with the second try in a row that took as long as the window.
    """

    connect_s: float = 20
    stall_s: float = 60
    head_s: float = 120
    answer_s: float = 120
    least_rate: float = 1024
    window_s: float = 60
    retry_delays_s: tuple[float, ...] = (0.5, 1, 2, 4)


class Answer:
    """A server's answer. status, url (after redirects), headers (by name in any case)."""

    def __init__(self, response: requests.Response, cancel: CancelToken, wire: Wire, limits: Limits) -> None:
        self._response, self._cancel, self._wire, self._limits = response, cancel, wire, limits
        self.status, self.url = response.status_code, response.url or ""
        self.headers: Mapping[str, str] = response.headers

    def chunks(self) -> Generator[bytes, None, None]:
        """The body as it was sent, no Content-Encoding undone; pieces of up to 1.5 MiB.

        Raises: `image::download_failed` when it breaks off, stalls, comes too slowly, or is shorter than its length;
        `vmctl::interrupted`.
        """
        held: list[bytes] = []
        limits = self._limits
        pace = Pace(limits.least_rate * limits.window_s, limits.window_s, self._wire.shut_down)
        try:
            with _translated(self.url, self._cancel), self._cancel.calling(self._wire.shut_down), pace:
                size, since = 0, time.monotonic()
                while piece := self._next(pace):
                    held.append(piece)
                    size += len(piece)
                    if size >= _CHUNK_BYTES or time.monotonic() - since >= _CHUNK_S:
                        yield b"".join(held)
                        held, size, since = [], 0, time.monotonic()
        except DownloadFailed:
            # What came before the connection broke need not be sent again.
            if held:
                yield b"".join(held)
            if pace.given_up:
                raise self._too_slow() from None
            raise
        self._cancel.raise_if_cancelled()
        if held:
            yield b"".join(held)
        if pace.given_up:
            # A body without a length ends like this, too.
            raise self._too_slow()

    def _next(self, pace: Pace) -> bytes:
        pace.waits()
        piece: bytes = self._response.raw.read1(_READ_BYTES, decode_content=False)
        pace.came(len(piece))
        return piece

    def _too_slow(self) -> DownloadFailed:
        limits = self._limits
        return DownloadFailed(
            "{url} is too slow: less than {rate} bytes per second for {seconds} s",
            {"url": redacted(self.url), "rate": round(limits.least_rate), "seconds": round(limits.window_s)},
            help=("run the command again later, or use another mirror",),
            retryable=True,
        )

    def read(self, most: int) -> bytes:
        """The whole body.

        Raises: `image::download_failed`, also when it has more than `most` bytes, or takes too long altogether.
        """
        body, ends = bytearray(), time.monotonic() + self._limits.answer_s
        with closing(self.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > most:
                    raise DownloadFailed("{url} is longer than {most} bytes", {"url": redacted(self.url), "most": most})
                if time.monotonic() > ends:
                    raise self._too_slow()
        return bytes(body)

    def refusal(self, url: str) -> DownloadFailed:
        """The failure that an answer with this status is. url: what was asked for, before redirects."""
        phrase = (self._response.reason or "")[:100]
        message, help = self._meaning(_host(self.url))
        return DownloadFailed(
            message,
            {"url": redacted(url), "status": self.status},
            help=(help,),
            notes=_elsewhere(url, self.url),
            evidence=(Evidence("http", "answer", (f"HTTP {self.status} {phrase}".rstrip(),)),),
            retryable=self.status in TRANSIENT,
        )

    def _meaning(self, host: str) -> tuple[str, str]:
        """What the status says, and what to do. Source: RFC 9110, section 15; RFC 6585, section 4."""
        match self.status:
            case 401:
                return (
                    "the server requires a login for {url}",
                    f"write it into the URL, before the host, or as a line of ~/.netrc: {_NETRC.format(host=host)}",
                )
            case 403:
                help = "check the URL: some servers say this of files that do not exist; or ask its owner for access"
                return "the server denies access to {url}", help
            case 404 | 410:
                return "the server does not have {url}", "check the URL: images are often renamed with each release"
            case 407:
                return (
                    "the proxy requires a login for {url}",
                    "write the user and the password into HTTP_PROXY, before the host",
                )
            case 429:
                return "the server gets too many requests for {url}", self._later()
            case status if status in TRANSIENT:
                return "the server failed to send {url}", f"the server has a problem: {self._later()}"
            case _:
                return "the server rejected {url} with HTTP {status}", "check the URL"

    def _later(self) -> str:
        seconds = self.headers.get("Retry-After", "")
        known = seconds.isascii() and seconds.isdecimal() and len(seconds) <= _DIGITS
        return f"try again in {seconds} s, as it asks" if known else "try again later, or use a mirror"


@contextmanager
def asked(
    url: str,
    *,
    cancel: CancelToken,
    headers: Mapping[str, str] | None = None,
    secret: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    follow: bool = True,
    limits: Limits | None = None,
) -> Iterator[Answer]:
    """GET a URL; the connection is closed at the end of the block.

    headers: sent with every request. secret: headers that are sent to this scheme, host and port only, over https or to this
    machine itself; after a redirect to elsewhere they are gone for good. When they are given, be it {}, ~/.netrc is not asked.
    form: sent by POST instead; not together with `follow`. follow: whether redirects are followed; else they are the answer.
    Raises: `image::download_failed` when there is no answer (any status is one), or redirects lead nowhere or to where they may
    not;
    `vmctl::interrupted`.
    """
    limits, at, use_netrc, secret = limits or Limits(), url, secret is None, dict(secret or {})
    seen: set[str] = set()
    may_be_near = True
    while True:
        with _translated(at, cancel):
            if not _may_carry_secrets(at) or _origin(at) != _origin(url):
                secret = {}
        sent = {"Accept-Encoding": "identity", "User-Agent": "vmctl", **(headers or {}), **secret}
        with closing(Wire(may_be_near=may_be_near)) as wire:
            try:
                with _translated(at, cancel):
                    response = _send(at, sent, form, use_netrc, limits, cancel, wire)
            except LeadsHere:
                raise _leads_here(url, at) from None
            with response:
                is_redirect = follow and response.status_code in _REDIRECTS
                target = response.headers.get("Location") if is_redirect else None
                if target is None:
                    yield Answer(response, cancel, wire, limits)
                    return
        # Services of this machine and of a cloud trust whoever gets there: only one that is there itself may send us to them.
        may_be_near = may_be_near and wire.is_near
        seen.add(at)
        with _translated(at, cancel):
            at = _redirected(url, at, target, seen)


def redacted(url: str) -> str:
    """A URL without what may be secret in it: user info, query and fragment."""
    return cut_url(url)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself. Source: RFC 6761 for names below localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@contextmanager
def _translated(url: str, cancel: CancelToken) -> Iterator[None]:
    """The libraries' failures as ours. Raises: `image::download_failed`, `vmctl::interrupted`."""
    try:
        yield
    except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
        cancel.raise_if_cancelled()
        # Not `from error`: its text quotes the URL with all that is secret in it.
        raise _failure(error, url) from _root(error)


def _failure(error: Exception, url: str) -> DownloadFailed:
    named, retryable = {"url": redacted(url)}, _is_transient(error)
    if (found := reason(error, url)) is not None:
        return DownloadFailed(
            "could not download {url}: {why}", {**named, "why": found.why}, help=found.help, retryable=retryable
        )
    said = Evidence("http", type(error).__name__, (cut_urls(without_secrets_of(str(error), url))[:500],))
    return DownloadFailed("could not download {url}", named, evidence=(said,), retryable=retryable)


class _NoNetrc(AuthBase):
    """Keeps requests from putting what ~/.netrc says in the place of an `Authorization` that was given."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Adapter(HTTPAdapter):
    """Tells a wire of its connections."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._watch(self.poolmanager, direct=True)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        known = len(self.proxy_manager)
        manager = super().proxy_manager_for(*args, **kwargs)
        if len(self.proxy_manager) > known:
            self._watch(manager, direct=False)
        return manager

    def _watch(self, manager: Any, *, direct: bool) -> None:
        manager.pool_classes_by_scheme = noted_by(self._wire, manager.pool_classes_by_scheme, direct=direct)


def _send(
    url: str,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None,
    use_netrc: bool,
    limits: Limits,
    cancel: CancelToken,
    wire: Wire,
) -> requests.Response:
    """The answer's head. In a thread of its own, as nothing else ends a wait for DNS, a connection or a silent server."""
    answers: SimpleQueue[requests.Response | BaseException | None] = SimpleQueue()
    abandoned = threading.Event()

    def work() -> None:
        try:
            with requests.Session() as session:
                # No proxy stands between this machine and itself, and none may see what is meant for it.
                session.trust_env = not (is_loopback(_host(url)) and urlsplit(url).scheme == "http")
                session.verify = verified_by()
                for scheme in _PORTS:
                    session.mount(f"{scheme}://", _Adapter(wire))
                response = session.request(
                    "GET" if form is None else "POST",
                    url,
                    headers=dict(headers),
                    data=form,
                    auth=None if use_netrc else _NoNetrc(),
                    stream=True,
                    allow_redirects=False,
                    timeout=(limits.connect_s, limits.stall_s),
                )
        except BaseException as error:
            answers.put(error)
            return
        answers.put(response)
        if abandoned.is_set():
            response.close()

    with cancel.calling(lambda: answers.put(None)):
        threading.Thread(target=work, name="http", daemon=True).start()
        try:
            answer = answers.get(timeout=limits.head_s)
        except Empty:
            answer = requests.exceptions.ReadTimeout(f"no response from the server in {round(limits.head_s)} s")
            abandoned.set()
            wire.shut_down()
    if answer is None:
        abandoned.set()
        wire.shut_down()
        with suppress(Exception):
            if isinstance(late := answers.get_nowait(), requests.Response):
                late.close()
        cancel.raise_if_cancelled()
    if isinstance(answer, BaseException):
        raise answer
    assert answer is not None
    return answer


def _redirected(url: str, at: str, target: str, seen: set[str]) -> str:
    """Where a redirect leads. Raises: `image::download_failed`."""
    to = urljoin(at, target)
    shown = {"url": redacted(url), "to": redacted(to)}
    notes = (f"redirected to {redacted(to)}",)
    if to in seen:
        raise DownloadFailed("redirect loop: {url} leads back to {to}", shown, notes=notes, help=_CHECK)
    if len(seen) >= _MOST_REDIRECTS:
        raise DownloadFailed(
            "{url} has more than {most} redirects", {**shown, "most": _MOST_REDIRECTS}, notes=notes, help=_CHECK
        )
    schemes = urlsplit(at).scheme.lower(), urlsplit(to).scheme.lower()
    if schemes[1] not in _PORTS:
        raise DownloadFailed("{url} is redirected to {to}, which is not an http or https URL", shown, help=_CHECK)
    if schemes == ("https", "http"):
        raise DownloadFailed(
            "{url} is redirected from https to plain http: {to}",
            shown,
            help=("use a URL that stays on https; over plain http the image could be modified in transit",),
        )
    return to


def _leads_here(url: str, to: str) -> DownloadFailed:
    return DownloadFailed(
        "{url} is redirected to this machine or its own link: {to}",
        {"url": redacted(url), "to": redacted(to)},
        help=_CHECK,
    )


_CHECK = ("check the URL: open it in a browser and copy the final address",)


def _may_carry_secrets(url: str) -> bool:
    return urlsplit(url).scheme.lower() == "https" or is_loopback(_host(url))


def _origin(url: str) -> tuple[str, str, int | None]:
    parts: SplitResult = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, _host(url), parts.port or _PORTS.get(scheme)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _elsewhere(url: str, final: str) -> tuple[str, ...]:
    return () if redacted(url) == redacted(final) else (f"redirected to {redacted(final)}",)


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment: not with a wrong certificate, name, proxy or URL."""
    if isinstance(error, (requests.exceptions.SSLError, requests.exceptions.InvalidURL, urllib3.exceptions.SSLError)):
        return False
    if isinstance(error, (ValueError, OSError)) and not isinstance(error, requests.RequestException):
        return False
    return not any(isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME for cause in chain(error))


def _root(error: BaseException) -> OSError | None:
    """What the operating system said, at the bottom of it; the libraries' own texts quote the URL."""
    found = None
    for cause in chain(error):
        found = cause if isinstance(cause, OSError) and cause.errno else found
    return found
