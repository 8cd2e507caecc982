"""The forms that strings in a VMFile must have."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from urllib.parse import urlsplit

from vm_manager.diagnostics.safe_text import is_plain
from vm_manager.domain.names import is_vm_name
from vm_manager.vmfile.grammar import Complaint, Form

_MAX_HOSTNAME = 253  # RFC 1035, section 2.3.4, without the final dot
SCHEMES = ("https", "http", "oci")


def _is_hostname(text: str) -> bool:
    return len(text) <= _MAX_HOSTNAME and all(map(is_vm_name, text.split(".")))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_card_address(text: str) -> bool:
    address, _, length = text.partition("/")
    if not (re.fullmatch("[1-9][0-9]?", length) and 8 <= int(length) <= 30 and _is_address(address)):
        return False
    card = ipaddress.IPv4Interface(text)
    usable = card.ip not in (card.network.network_address, card.network.broadcast_address)
    return usable and not (card.ip.is_loopback or card.ip.is_multicast or card.ip.is_unspecified)


def scheme_of(url: str) -> str:
    """The scheme of a URL in lower case; empty when it has none."""
    head, colon, _ = url.partition("://")
    return head.lower() if colon else ""


def host_of(url: str) -> str:
    """The host of a URL; empty when it has none or is no URL."""
    try:
        parts = urlsplit(url)
        # The port is read for its own check: a wrong one raises.
        return (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        return ""


def _is_web_url(text: str) -> bool:
    return (
        scheme_of(text) in ("http", "https") and bool(host_of(text)) and not re.search(r"\s", text) and is_plain(text)
    )


def _is_image_url(text: str) -> bool:
    # References, and other schemes, have diagnostics of their own.
    return _is_web_url(text) or scheme_of(text) not in ("", "http", "https")


def _pattern(expression: str, title: str, complaint: Complaint) -> Form:
    compiled = re.compile(expression)
    return Form(check=lambda text: compiled.fullmatch(text) is not None, complaint=complaint, title=title)


VM_NAME = Form(
    check=is_vm_name,
    title="a host name label",
    complaint=Complaint(
        "'{value}' cannot be the name of a VM", "not a host name",
        "use at most 63 letters, digits and inner hyphens: the name becomes the host name",
    ),
)  # fmt: skip
HOSTNAME = Form(
    check=_is_hostname,
    title="a host name",
    complaint=Complaint(
        "`{name}` is invalid", "not a host name",
        "use letters, digits and inner hyphens, in labels separated by dots",
    ),
)  # fmt: skip
IMAGE_URL = Form(
    check=_is_image_url,
    title="an https, http or oci URL",
    complaint=Complaint(
        "`{name}` is not a complete URL", "cannot be fetched",
        'include the scheme and host: {name} "https://…/disk.qcow2", or: {name} "oci://registry/repository:tag"',
    ),
)  # fmt: skip
WEB_URL = Form(
    check=_is_web_url,
    title="an https or http URL",
    complaint=Complaint("`{name}` is not an http or https URL", "cannot be fetched", "write a complete URL: https://…"),
)
GUEST_PATH = Form(
    check=lambda text: text.startswith("/") and is_plain(text),
    title="an absolute path in the guest",
    complaint=Complaint(
        "a {name} that is not absolute", "does not start with /", "write the full path in the guest, such as /srv/…"
    ),
)
ADDRESS = Form(
    check=_is_address,
    title="an IPv4 address",
    complaint=Complaint(
        "`{name}` is not an IPv4 address",
        "invalid address",
        "use an address of this host: 127.0.0.1, or 0.0.0.0 for all",
    ),
)
CARD_ADDRESS = Form(
    check=_is_card_address,
    title="an IPv4 address with the length of its prefix",
    complaint=Complaint(
        "`{name}` is not an address that a card can have",
        "invalid address",
        "write an address with the length of its prefix, from 8 to 30: 10.5.0.2/24",
    ),
)
MAC = _pattern(
    "[0-9a-fA-F][02468aceACE](?::[0-9a-fA-F]{2}){5}",
    "a MAC address",
    Complaint("`{name}` is not the MAC address of a card", "invalid address", "write six hex pairs: 52:54:00:12:34:56"),
)
INTERFACE = _pattern(
    # Linux takes any bytes but white space and slashes; nobody uses others on purpose.
    r"[!-.0-~]{1,15}",
    "the name of a network interface",
    Complaint(
        "`{name}` cannot be a network interface", "invalid name", "use at most 15 characters, without spaces or slashes"
    ),
)
_CHECKSUMS = {32: "MD5", 40: "SHA-1", 56: "SHA-224", 64: "sha256", 96: "SHA-384", 128: "sha512"}


def _other_checksum(text: str) -> str | None:
    """What a checksum is that is not of the kind that was asked for."""
    prefix, colon, _ = text.rpartition(":")
    if colon and prefix.lower() in ("sha256", "sha512"):
        return f"leave out {prefix}: and write the digits only"
    kind = _CHECKSUMS.get(len(text)) if re.fullmatch("[0-9a-fA-F]+", text) else None
    if kind is None:
        return None
    instead = f"write it as {kind}" if kind.islower() else "use sha256 or sha512 instead"
    return f"it has as many digits as {kind}: {instead}"


SHA256 = replace(
    _pattern(
        "[0-9a-fA-F]{64}",
        "64 hexadecimal digits",
        Complaint(
            "`{name}` is not a SHA-256 checksum", "not 64 hexadecimal digits", "copy all 64 digits of `sha256sum`"
        ),
    ),
    advice=_other_checksum,
)
SHA512 = replace(
    _pattern(
        "[0-9a-fA-F]{128}",
        "128 hexadecimal digits",
        Complaint(
            "`{name}` is not a SHA-512 checksum", "not 128 hexadecimal digits", "copy all 128 digits of `sha512sum`"
        ),
    ),
    advice=_other_checksum,
)
MODE = _pattern(
    "0?[0-7]{3,4}",
    "an octal mode",
    Complaint("`{name}` is not a file mode", "not octal digits", 'write three or four octal digits: {name} "0644"'),
)
OWNER = _pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?(?::[A-Za-z0-9_][A-Za-z0-9_.-]*\$?)?",
    "user or user:group",
    Complaint(
        "`{name}` is not a user and group", "invalid name", 'write a user, or user and group: {name} "root:root"'
    ),
)
USER = _pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?",
    "the name of a user",
    Complaint("`{name}` cannot be a user's name", "invalid name", "use at most 32 letters, digits, _, - and ."),
)
VARIABLE = _pattern(
    "[A-Za-z_][A-Za-z0-9_]*",
    "the name of an environment variable",
    Complaint(
        "'{value}' cannot be an environment variable",
        "invalid name",
        'use letters, digits and _, not starting with a digit; name and value are two words: env "NAME" "value"',
    ),
)
DRIVE_NAME = _pattern(
    "[A-Za-z0-9](?:[A-Za-z0-9-]{0,18}[A-Za-z0-9])?",
    "a name of at most 20 characters",
    # virtio-blk's serial, by which the guest knows the disk, has 20 bytes.
    Complaint(
        "'{value}' cannot be the name of a drive", "invalid name", "use at most 20 letters, digits and inner hyphens"
    ),
)
