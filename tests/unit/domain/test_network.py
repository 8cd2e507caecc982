"""Forwards as options have them."""

from __future__ import annotations

import pytest

from vm_manager.domain.network import Forward, Transport, forward_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", Forward(guest=80)),
        ("auto:80", Forward(guest=80)),
        ("8080:80", Forward(guest=80, host=8080)),
        ("5353:53/udp", Forward(guest=53, host=5353, transport=Transport.UDP)),
        ("0.0.0.0:8080:80/tcp", Forward(guest=80, host=8080, address="0.0.0.0")),
        ("127.0.0.2:auto:80", Forward(guest=80, address="127.0.0.2")),
    ],
)
def test_a_forward_is_read(text: str, expected: Forward) -> None:
    assert forward_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", "web", ":80", "80:", "0:80", "80:0", "65536", "80:65536", "1:2:3", "80/sctp", "80 ", "٨٠", "8080:80\n"]
)
def test_what_is_none_is_refused(text: str) -> None:
    assert forward_of(text) is None
