"""Keys of SSH that a VMFile names, looked at from outside: no key is decrypted or used."""

from __future__ import annotations

import base64
import binascii
import re

from vm_manager.domain.private_keys import without_passphrase
from vm_manager.vmfile.flaws import Flaw

# RFC 4253, section 6.6, RFC 5656, RFC 8709 and OpenSSH's PROTOCOL.u2f; certificates are no keys to inject.
_PUBLIC = re.compile(
    rb"(?:^|[ \t])((?:sk-)?(?:ssh-(?:rsa|ed25519)|ecdsa-sha2-nistp(?:256|384|521))(?:@openssh\.com)?)[ \t]+([A-Za-z0-9+/=]+)"
)
_OPENSSH = b"openssh-key-v1\0"
_PRIVATE = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")


def check_public_key(content: bytes, name: str) -> list[Flaw]:
    """What is wrong with the file of a public key."""
    if b"PRIVATE KEY" in content:
        return [
            Flaw(
                problem="names a private key",
                help="use the .pub file next to it; a private key must stay on the host",
                of_word=True,
            )
        ]
    lines = [line.strip() for line in content.splitlines()]
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if len(keys) == 1 and (found := _PUBLIC.search(keys[0])) and _is_key(found[1], found[2]):
        return []
    advice = "use a file with a single line such as: ssh-ed25519 AAAA… you@host"
    return [Flaw(problem="is not in OpenSSH format" if len(keys) < 2 else "has several lines", help=advice)]


def check_private_key(content: bytes, name: str) -> list[Flaw]:
    """What is wrong with the file of a private key."""
    if _PRIVATE.search(content):
        if not _is_encrypted(content):
            return []
        help = f"leave it out, and vmctl generates a key pair; or name {without_passphrase(name)}"
        return [Flaw(problem="has a passphrase, which vmctl cannot ask for", help=help)]
    if _PUBLIC.search(content):
        return [Flaw(problem="names a public key", help="use the file next to it, without .pub", of_word=True)]
    return [Flaw(problem="is not in OpenSSH or PEM format", help="use a file created by `ssh-keygen`")]


def _is_encrypted(content: bytes) -> bool:
    """Whether a private key needs a passphrase. Sources: OpenSSH's PROTOCOL.key, RFC 1421 and RFC 5958."""
    if b"ENCRYPTED" in content:
        return True
    body = b"".join(line.strip() for line in content.splitlines() if b"-----" not in line)
    try:
        blob = base64.b64decode(body, validate=True)
    except binascii.Error:
        return False
    # The name of the cipher follows, with its length in four bytes.
    return blob.startswith(_OPENSSH) and not blob.startswith(_OPENSSH + b"\0\0\0\4none")


def _is_key(kind: bytes, encoded: bytes) -> bool:
    """Whether the encoded key begins with its own kind, as RFC 4253, section 6.6, wants it."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    return blob[4 : 4 + len(kind)] == kind and int.from_bytes(blob[:4], "big") == len(kind)
