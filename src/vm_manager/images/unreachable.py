"""Why there is no answer of a server, and what to do about it: told by types, numbers and codes, never by what a text says."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies, select_proxy

from vm_manager.diagnostics.urls import cut_url

# Certificates to trust, by who reads them first. Sources: Requests' manual, SSL_CTX_load_verify_locations(3).
_CA_FILE = "SSL_CERT_FILE"
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", _CA_FILE, "SSL_CERT_DIR")
# Certificates of this system, by distribution: Debian and Arch, Fedora, SUSE.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)
# Source: openssl/x509_vfy.h.
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED = 9, 10, (18, 19)
_UNKNOWN_ISSUER, _REVOKED, _OTHER_NAME = (2, 20, 21), 23, (62, 63, 64)
_PORTS = {"http": 80, "https": 443}
_AGAIN = "run the command again; what has arrived is kept"


@dataclass(frozen=True)
class Reason:
    """Why there is no answer. why: follows "could not download …:"; help: the next step."""

    why: str
    help: tuple[str, ...]


def reason(error: BaseException, url: str) -> Reason | None:
    """What the failure of a request for `url` means; None when it is none of those that are known."""
    if variable := _missing_ca():
        path = os.environ[variable]
        return Reason(f"{variable} is set to {path}, which does not exist", (f"correct {variable}, or unset it",))
    causes = list(chain(error))
    if any(isinstance(cause, _PROXY_ERRORS) for cause in causes):
        return _proxy(causes, url)
    if found := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
        return _tls(found, url)
    return _connection(causes, url)


def verified_by() -> str | bool:
    """The file or directory of certificates that the user has set for OpenSSL; True: Requests decides."""
    return os.environ.get(_CA_FILE) or os.environ.get("SSL_CERT_DIR") or True


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it came from, and what urllib3 carries inside instead of raising from it."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        inside = getattr(found, "reason", None) or next((a for a in found.args if isinstance(a, BaseException)), None)
        found = found.__cause__ or found.__context__ or (inside if isinstance(inside, BaseException) else None)


_PROXY_ERRORS = (
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,  # of a SOCKS proxy; other schemes are refused before
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.ProxySchemeUnknown,
)
_TIMEOUTS = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


def _ca_variable() -> str | None:
    """The variable that says what is trusted, if any."""
    return next((variable for variable in _CA_VARIABLES if os.environ.get(variable)), None)


def _missing_ca() -> str | None:
    set_one = _ca_variable()
    return set_one if set_one and not os.path.exists(os.environ[set_one]) else None


def _host_and_port(url: str) -> tuple[str, int]:
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or _PORTS.get(parts.scheme.lower(), 0)
    return "", 0


def _proxy(causes: list[BaseException], url: str) -> Reason:
    host, _ = _host_and_port(url)
    proxy = select_proxy(url, get_environ_proxies(url, no_proxy=None)) or ""
    variable = next((name for name in _proxy_variables(url) if os.environ.get(name)), "HTTPS_PROXY")
    # As Requests reads it.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    shown = cut_url(proxy)
    around = f"check {variable}; or set NO_PROXY={host}, if the server can be reached without a proxy"
    if proxy.lower().startswith("socks"):
        return Reason(f"the proxy {shown} is a SOCKS proxy", (f"set {variable} to an HTTP proxy, http://host:port",))
    found = _connection(causes, proxy)
    if found is not None:
        return Reason(f"the proxy {shown} cannot be used: {found.why}", (around,))
    # http.client has no more for it than a text.
    tunnel = next((str(cause) for cause in causes if str(cause).startswith("Tunnel connection failed: ")), "")
    if tunnel.startswith("Tunnel connection failed: 407"):
        return Reason(
            f"the proxy {shown} wants a login",
            (f"write the user and the password into {variable}, before the host", around),
        )
    if tunnel:
        return Reason(f"the proxy {shown} does not let us through to {host}", (around,))
    return Reason(f"the proxy {shown} cannot be used", (f"write {variable} as http://host:port", around))


def _proxy_variables(url: str) -> tuple[str, ...]:
    scheme = urlsplit(url).scheme.lower()
    return f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"


def _tls(error: ssl.SSLError, url: str) -> Reason:
    host, port = _host_and_port(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error.verify_code, host)
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"):
        return Reason(
            f"what answers on port {port} of {host} does not speak TLS",
            ("check the port; if the server has no https, use http:// together with a checksum",),
        )
    if error.reason in ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB"):
        variable = _ca_variable() or _CA_FILE
        return Reason(f"{variable} names a file that has no certificates", (f"correct {variable}, or unset it",))
    return Reason(f"there is no secure connection to {host}", ("the server may only know outdated versions of TLS",))


def _certificate(code: int, host: str) -> Reason:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    clock = f"this host's clock says {today}: correct it if that is wrong"
    if code == _EXPIRED:
        help = (f"{clock}; otherwise whoever runs {host} has to renew the certificate, or use another mirror",)
        return Reason(f"the certificate of {host} has expired", help)
    if code == _NOT_YET_VALID:
        return Reason(f"the certificate of {host} is not valid yet", (clock,))
    if code in _OTHER_NAME:
        return Reason(
            f"the certificate of {host} is for another name", ("use the name in the URL that the certificate is for",)
        )
    if code == _REVOKED:
        return Reason(f"the certificate of {host} has been revoked", ("use another mirror",))
    if code in _SELF_SIGNED:
        return Reason(f"the certificate of {host} is self-signed", _trusting("the server's certificate"))
    if code in _UNKNOWN_ISSUER:
        return Reason(
            f"the certificate of {host} is from an authority that is not known here",
            _trusting("the authority's certificate"),
        )
    return Reason(f"the certificate of {host} is not trusted", _trusting("the certificate"))


def _trusting(what: str) -> tuple[str, ...]:
    """How somebody makes vmctl trust what they trust."""
    set_one = _ca_variable()
    own = f"if you trust it, save {what} to a file and set {set_one or _CA_FILE} to its path"
    bundle = next((path for path in _SYSTEM_BUNDLES if os.path.exists(path)), None)
    if bundle is None or set_one:
        return (own,)
    return (own, f"if this system trusts it already, set {_CA_FILE}={bundle}")


def _connection(causes: list[BaseException], url: str) -> Reason | None:
    host, port = _host_and_port(url)
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return _name(cause, host)
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if errno.ECONNREFUSED in numbers:
        return Reason(
            f"nothing listens on port {port} of {host}",
            ("check the port in the URL, and whether the server is running",),
        )
    if numbers & {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}:
        return Reason(f"this host has no route to {host}", ("check this host's network: `ip route` shows its routes",))
    if any(
        isinstance(cause, (requests.exceptions.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError))
        for cause in causes
    ):
        help = f"{host} is down, or a firewall drops the connection; behind a proxy, set HTTPS_PROXY=http://host:port"
        return Reason(f"no connection to {host} on port {port} in time", (help,))
    if any(isinstance(cause, _TIMEOUTS) for cause in causes):
        return Reason("the server stopped answering", (_AGAIN,))
    if numbers & {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}:
        return Reason("the server closed the connection", (f"check the scheme and the port in the URL; or {_AGAIN}",))
    return _protocol(causes, host, port)


def _name(error: socket.gaierror, host: str) -> Reason:
    if error.errno == socket.EAI_AGAIN:
        help = f"check this host's network: `getent hosts {host}` asks for the name again"
        return Reason(f"no name server answers for {host}", (help,))
    return Reason(f"the name {host} is not known", ("check the host name in the URL",))


def _protocol(causes: list[BaseException], host: str, port: int) -> Reason | None:
    from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

    for cause in causes:
        match cause:
            case RemoteDisconnected():
                return Reason("the server closed the connection without an answer", (_AGAIN,))
            case IncompleteRead() | urllib3.exceptions.IncompleteRead():
                return Reason("the connection broke off", (_AGAIN,))
            case BadStatusLine() | HTTPException():
                help = "check the port, and whether the URL begins with http:// or https://"
                return Reason(f"what answers on port {port} of {host} does not speak HTTP", (help,))
    return None
