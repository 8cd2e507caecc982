"""SSH key pairs. Source: RFC 8709 (Ed25519), and OpenSSH's PROTOCOL.key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from vm_manager.diagnostics.errors import KeygenFailed


@dataclass(frozen=True)
class KeyPair:
    """private: in OpenSSH's own PEM format; public: `ssh-ed25519 AAAA… comment`."""

    private: str
    public: str


def generate_key_pair(comment: str, generate: Callable[[], Ed25519PrivateKey] = Ed25519PrivateKey.generate) -> KeyPair:
    """A new Ed25519 key pair without passphrase.

    generate: where the key comes from; replaced only to see what happens when it fails.
    Raises: `ssh::keygen_failed`.
    """
    try:
        key = generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except Exception as error:  # the backend of cryptography raises what OpenSSL does; every reason is an internal one
        raise KeygenFailed("no key pair could be generated for {comment}", {"comment": comment}) from error
    return KeyPair(private.decode(), f"{public.decode()} {comment}")


def load_key_pair(private: str, comment: str) -> KeyPair:
    """The pair of a private key without passphrase. Raises: `ValueError` for what is none."""
    public = (
        load_ssh_private_key(private.encode(), None).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    )
    return KeyPair(private, f"{public.decode()} {comment}")
