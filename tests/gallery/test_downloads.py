"""Downloads"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from driver import Result, Vmctl
from first_screen import Gallery
from hostile_sshd import listening
from servers import Server, serving

_FAILED = "vm_manager::image::download_failed"
_NEVER = ("urllib3", "Pool(", "Max retries", "HTTPSConnection", "check the URL and the network connection")
_NOBODY = ipaddress.ip_address("127.0.0.1")
_DAY = datetime.timedelta(days=1)


@pytest.fixture
def image() -> bytes:
    """A raw disk."""
    return bytes(510) + b"\x55\xaa" + os.urandom(1024 * 1024)


@pytest.fixture
def server(image: bytes) -> Iterator[Server]:
    """Serves the disk, and what goes wrong."""
    with serving(image) as found:
        yield found


@pytest.fixture
def user(vmctl: Vmctl) -> Vmctl:
    """Somebody whose environment says nothing about certificates and proxies."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY", "no_proxy")
    vmctl.env.update(dict.fromkeys((*names, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), ""))
    return vmctl


def _pull(vmctl: Vmctl, url: str, **env: str) -> Result:
    return vmctl("image", "pull", url, status=None, env=env)


class Authority:
    """Issues certificates. file: by which it is trusted."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self._home, self._key = home, ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"authority {home.name}")
        self.file = home / "authority.pem"
        self.file.write_bytes(
            _pem(self._certificate(f"authority {home.name}", [], -_DAY, _DAY, self._key, is_authority=True))
        )

    @contextmanager
    def serving(
        self,
        root: Path,
        names: list[x509.GeneralName],
        begins: datetime.timedelta = -_DAY,
        ends: datetime.timedelta = _DAY,
    ) -> Iterator[int]:
        """An https server for these names whose certificate is good from then to then; yields its port."""
        key = ec.generate_private_key(ec.SECP256R1())
        identity = self._home / "server.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        identity.write_bytes(_pem(self._certificate("server", names, begins, ends, key)) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity)
        with _http(partial(_Files, directory=str(root)), context) as port:
            yield port

    def _certificate(
        self,
        subject: str,
        names: list[x509.GeneralName],
        begins: datetime.timedelta,
        ends: datetime.timedelta,
        key: ec.EllipticCurvePrivateKey,
        *,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        number = x509.random_serial_number()
        made = x509.CertificateBuilder(
            self._name, _name(subject), key.public_key(), number, now + begins, now + ends
        ).add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self._key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def _http(handler: Callable[..., BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Which nobody knows but by its file."""
    return Authority(tmp_path / "tls")


@pytest.fixture
def www(tmp_path: Path, image: bytes) -> Path:
    """The directory that https servers serve."""
    root = tmp_path / "www"
    root.mkdir()
    (root / "disk.img").write_bytes(image)
    return root


_HERE: list[x509.GeneralName] = [x509.IPAddress(_NOBODY)]


def test_nothing_listens(user: Vmctl, gallery: Gallery, image: bytes) -> None:
    """The server is not running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gallery.shows(
        _pull(user, f"http://127.0.0.1:{port}/disk.img"),
        _FAILED,
        place=None,
        says=(f"nothing listens on port {port} of 127.0.0.1",),
        never=_NEVER,
    )
    gallery.by_hand("whether the server is running")
    with serving(image) as running:
        gallery.works(_pull(user, f"{running.url}/disk.img"))


def test_a_host_that_nobody_knows(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """The host's name is misspelt."""
    gallery.shows(
        _pull(user, "http://nowhere.invalid/disk.img"),
        _FAILED,
        place=None,
        says=("nowhere.invalid",),
        never=(*_NEVER, "listens"),
    )
    gallery.by_hand("nowhere.invalid" if "getent" in (gallery._shown or "") else "check the host name in the URL")
    gallery.works(_pull(user, f"{server.url}/disk.img"))


def test_a_certificate_that_has_expired(
    user: Vmctl, gallery: Gallery, server: Server, authority: Authority, www: Path
) -> None:
    """The server's certificate has expired."""
    with authority.serving(www, _HERE, -2 * _DAY, -_DAY) as port:
        gallery.shows(
            _pull(user, f"https://127.0.0.1:{port}/disk.img", SSL_CERT_FILE=str(authority.file)),
            _FAILED,
            place=None,
            says=("the certificate of 127.0.0.1 has expired", "this host's clock says 20"),
            never=_NEVER,
        )
    gallery.by_hand("use another mirror")
    gallery.works(_pull(user, f"{server.url}/disk.img"))


def test_a_clock_that_is_wrong(user: Vmctl, gallery: Gallery, authority: Authority, www: Path) -> None:
    """The server's certificate is not valid yet: this host's clock is slow."""
    trusted = {"SSL_CERT_FILE": str(authority.file)}
    with authority.serving(www, _HERE, _DAY, 2 * _DAY) as port:
        gallery.shows(
            _pull(user, f"https://127.0.0.1:{port}/disk.img", **trusted),
            _FAILED,
            place=None,
            says=("the certificate of 127.0.0.1 is not valid yet",),
            never=_NEVER,
        )
    gallery.by_hand("this host's clock says")
    with authority.serving(www, _HERE) as port:  # what a clock that is right makes of it
        gallery.works(_pull(user, f"https://127.0.0.1:{port}/disk.img", **trusted))


def test_an_authority_of_ones_own(user: Vmctl, gallery: Gallery, authority: Authority, www: Path) -> None:
    """A company's server has a certificate of the company's own authority."""
    with authority.serving(www, _HERE) as port:
        url = f"https://127.0.0.1:{port}/disk.img"
        gallery.shows(
            _pull(user, url),
            _FAILED,
            place=None,
            says=("is from an authority that is not known here",),
            never=_NEVER,
        )
        gallery.by_hand("set SSL_CERT_FILE to its path")
        gallery.works(_pull(user, url, SSL_CERT_FILE=str(authority.file)))


def test_a_bundle_that_is_set_already(user: Vmctl, gallery: Gallery, authority: Authority, www: Path) -> None:
    """The same where REQUESTS_CA_BUNDLE is set, which goes before SSL_CERT_FILE."""
    other = Authority(www.parent / "other").file
    with authority.serving(www, _HERE) as port:
        url = f"https://127.0.0.1:{port}/disk.img"
        gallery.shows(
            _pull(user, url, REQUESTS_CA_BUNDLE=str(other)),
            _FAILED,
            place=None,
            says=("set REQUESTS_CA_BUNDLE",),
            never=(*_NEVER, "SSL_CERT_FILE"),
        )
        gallery.by_hand("set REQUESTS_CA_BUNDLE to its path")
        gallery.works(_pull(user, url, REQUESTS_CA_BUNDLE=str(authority.file)))


def test_a_certificate_for_another_name(user: Vmctl, gallery: Gallery, authority: Authority, www: Path) -> None:
    """The URL has the server's address, and its certificate is for its name."""
    trusted = {"SSL_CERT_FILE": str(authority.file)}
    with authority.serving(www, [x509.DNSName("localhost")]) as port:
        gallery.shows(
            _pull(user, f"https://127.0.0.1:{port}/disk.img", **trusted),
            _FAILED,
            place=None,
            says=("the certificate of 127.0.0.1 is for another name",),
            never=_NEVER,
        )
        gallery.by_hand("use the name in the URL that the certificate is for")
        gallery.works(_pull(user, f"https://localhost:{port}/disk.img", **trusted))


def test_certificates_that_are_not_there(user: Vmctl, gallery: Gallery, authority: Authority, www: Path) -> None:
    """SSL_CERT_FILE names a file that does not exist."""
    with authority.serving(www, _HERE) as port:
        url = f"https://127.0.0.1:{port}/disk.img"
        gallery.shows(
            _pull(user, url, SSL_CERT_FILE="/nowhere.pem"),
            _FAILED,
            place=None,
            says=("SSL_CERT_FILE is set to /nowhere.pem, which does not exist",),
            never=_NEVER,
        )
        gallery.by_hand("correct SSL_CERT_FILE")
        gallery.works(_pull(user, url, SSL_CERT_FILE=str(authority.file)))


def test_https_where_there_is_none(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """The URL says https, and the server has no TLS."""
    digest = hashlib.sha256(server.image).hexdigest()
    gallery.shows(
        _pull(user, f"https://127.0.0.1:{server.port}/disk.img"),
        _FAILED,
        place=None,
        says=(f"what answers on port {server.port} of 127.0.0.1 does not speak TLS",),
        never=_NEVER,
    )
    gallery.by_hand("use http:// together with a checksum")
    gallery.works(user("image", "pull", f"{server.url}/disk.img", "--sha256", digest.upper()))


def test_another_service(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """The port is that of an SSH server."""

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        connection.recv(1024)

    with listening(greet) as endpoint:
        gallery.shows(
            _pull(user, f"http://127.0.0.1:{endpoint.port}/disk.img"),
            _FAILED,
            place=None,
            says=("does not speak HTTP",),
            never=_NEVER,
        )
    gallery.by_hand("check the port")
    gallery.works(_pull(user, f"{server.url}/disk.img"))


class _Guarded(_Files):
    """Wants a password."""

    def do_GET(self) -> None:
        expected = base64.b64encode(b"me:sesame").decode()
        if self.headers.get("Authorization") == f"Basic {expected}":
            super().do_GET()
        else:
            self.send_error(401)


def test_a_login_is_required(user: Vmctl, gallery: Gallery, www: Path, tmp_path: Path) -> None:
    """The server answers with 401."""
    with _http(partial(_Guarded, directory=str(www))) as port:
        url = f"http://127.0.0.1:{port}/disk.img"
        gallery.shows(
            _pull(user, url),
            _FAILED,
            place=None,
            says=("the server requires a login", "HTTP 401"),
            never=_NEVER,
        )
        gallery.by_hand("write it into the URL")
        gallery.works(_pull(user, url.replace("://", "://me:sesame@")))


@pytest.mark.parametrize(
    ("status", "says", "help"),
    [
        (403, "the server denies access", "check the URL"),
        (404, "the server does not have", "check the URL"),
        (410, "the server does not have", "check the URL"),
        (429, "the server gets too many requests", "try again later"),
        (503, "the server failed to send", "try again later"),
    ],
    ids=("403", "404", "410", "429", "503"),
)
def test_a_refusal(user: Vmctl, gallery: Gallery, server: Server, status: int, says: str, help: str) -> None:
    """The server answers with an error."""
    gallery.shows(
        _pull(user, f"{server.url}/disk.img?status={status}"),
        _FAILED,
        place=None,
        says=(says, f"HTTP {status}"),
        never=_NEVER,
    )
    gallery.by_hand(help)
    gallery.works(_pull(user, f"{server.url}/disk.img"))


@pytest.mark.parametrize("scheme", ["http://me:sesame@", ""], ids=["URL", "address"])
def test_a_proxy_that_does_not_run(user: Vmctl, gallery: Gallery, authority: Authority, www: Path, scheme: str) -> None:
    """HTTPS_PROXY names a proxy that is not running, by its URL or its address alone."""
    with authority.serving(www, _HERE) as port:
        url, trusted = f"https://127.0.0.1:{port}/disk.img", str(authority.file)
        gallery.shows(
            _pull(user, url, HTTPS_PROXY=f"{scheme}127.0.0.1:1", SSL_CERT_FILE=trusted),
            _FAILED,
            place=None,
            says=("the proxy http://127.0.0.1:1 cannot be used", "nothing listens on port 1"),
            never=(*_NEVER, "sesame"),
        )
        gallery.by_hand("set NO_PROXY=127.0.0.1")
        gallery.works(_pull(user, url, HTTPS_PROXY="http://127.0.0.1:1", SSL_CERT_FILE=trusted, NO_PROXY="127.0.0.1"))


class _Proxy(BaseHTTPRequestHandler):
    status = 407

    def do_CONNECT(self) -> None:
        self.send_error(self.status)

    def log_message(self, format: str, *args: object) -> None:
        return


class _StrictProxy(_Proxy):
    status = 403


@pytest.mark.parametrize("proxy", [_Proxy, _StrictProxy], ids=["login", "forbidden"])
def test_a_proxy_that_refuses(
    user: Vmctl, gallery: Gallery, authority: Authority, www: Path, proxy: type[_Proxy]
) -> None:
    """The proxy refuses: it wants a login, or does not let everybody through."""
    says = {_Proxy: "wants a login", _StrictProxy: "does not let us through to 127.0.0.1"}[proxy]
    with authority.serving(www, _HERE) as port, _http(proxy) as at:
        url, env = f"https://127.0.0.1:{port}/disk.img", {"SSL_CERT_FILE": str(authority.file)}
        env["HTTPS_PROXY"] = f"http://127.0.0.1:{at}"
        gallery.shows(_pull(user, url, **env), _FAILED, place=None, says=(says,), never=_NEVER)
        gallery.by_hand("NO_PROXY=127.0.0.1")
        gallery.works(_pull(user, url, **env, NO_PROXY="127.0.0.1"))


def test_a_download_that_stalls(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """The server stops sending in the middle."""
    url = f"{server.url}/disk.img?stall=3000&times=1"
    command = user.start("image", "pull", url, start_new_session=True)
    said = ""
    assert command.stderr is not None
    while "nothing from the server" not in said:
        line = command.stderr.readline()
        assert line, said
        said = line
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=120)
    gallery.shows(
        Result(0, "", said), None, place=None, says=("nothing from the server for 1", "keeps what has arrived")
    )
    gallery.by_hand("Ctrl-C ends the wait")
    gallery.works(_pull(user, url))


def test_a_name_instead_of_a_url(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """`vmctl image pull debian`, as with containers."""
    gallery.shows(
        _pull(user, "debian"),
        "vmctl::create::image_not_found",
        place=None,
        says=("'debian' is neither a URL nor a file", "vmctl has no images by name"),
    )
    gallery.by_hand("use a complete URL")
    gallery.works(_pull(user, f"{server.url}/disk.img"))


def test_a_url_without_its_scheme(user: Vmctl, gallery: Gallery, authority: Authority, www: Path) -> None:
    """`https://` was left out."""
    with authority.serving(www, _HERE) as port:
        gallery.shows(
            _pull(user, f"127.0.0.1:{port}/disk.img"),
            "vmctl::create::image_not_found",
            place=None,
            says=("is neither a URL nor a file",),
        )
        gallery.by_hand(f"did you mean https://127.0.0.1:{port}/disk.img?")
        gallery.works(_pull(user, f"https://127.0.0.1:{port}/disk.img", SSL_CERT_FILE=str(authority.file)))


def test_a_checksum_of_another_kind(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """A SHA-512 checksum is given as `sha256`."""
    digest = hashlib.sha512(server.image).hexdigest()
    vm = 'vm "a" {\n    image-url "URL" KIND="DIGEST"\n    accel "tcg"\n    memory 64\n}\n'
    vm = vm.replace("URL", f"{server.url}/disk.img").replace("DIGEST", digest)
    user.write(vm.replace("KIND", "sha256"))
    gallery.shows(
        user("up", status=None),
        "vm_manager::vmfile::validation",
        place="VMFile.kdl:2:",
        says=("`sha256` is not a SHA-256 checksum",),
    )
    gallery.by_hand("write it as sha512")
    user.write(vm.replace("KIND", "sha512"))
    gallery.works(user("up"))


def test_a_list_of_checksums_that_is_missing(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """`checksum-url` leads to nothing."""
    server.files["/SHA256SUMS"] = f"{hashlib.sha256(server.image).hexdigest()}  disk.img\n".encode()
    vm = 'vm "a" {\n    image-url "URL/disk.img" checksum-url="URL/LIST"\n    accel "tcg"\n    memory 64\n}\n'
    vm = vm.replace("URL", server.url)
    user.write(vm.replace("LIST", "SHA1SUMS?status=404"))
    gallery.shows(
        user("up", status=None), _FAILED, place=None, says=("the server does not have", "SHA1SUMS"), never=("renamed",)
    )
    gallery.by_hand("check checksum-url")
    user.write(vm.replace("LIST", "SHA256SUMS"))
    gallery.works(user("up"))


def test_a_reference_without_a_repository(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """An oci reference names a registry only."""
    gallery.shows(
        _pull(user, "oci://ghcr.io"),
        "vmctl::usage",
        place=None,
        says=("does not refer to an image in a registry", "it has no repository"),
    )
    gallery.by_hand("oci://ghcr.io/repository:tag")
    gallery.works(_pull(user, f"{server.url}/disk.img"))


def test_a_scheme_that_nothing_fetches(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """An ftp URL."""
    gallery.shows(_pull(user, "ftp://127.0.0.1/disk.img"), "vmctl::usage", place=None, says=("'ftp'",))
    gallery.by_hand("use an https, http, oci or file URL")
    gallery.works(_pull(user, f"{server.url}/disk.img"))


def test_an_image_option_with_a_url(user: Vmctl, gallery: Gallery, server: Server) -> None:
    """`vmctl create --image` with a URL."""
    url, new = f"{server.url}/disk.img", ("create", "--name", "a", "--accel", "tcg")
    gallery.shows(
        user(*new, "--image", url.replace("://", "://me:sesame@"), status=None),
        "vmctl::create::image_not_found",
        place=None,
        says=(f"the image {url} is a URL, not a path",),
        never=("sesame",),
    )
    gallery.by_hand("to download it, use `--image-url`")
    gallery.works(user(*new, "--image-url", url))
