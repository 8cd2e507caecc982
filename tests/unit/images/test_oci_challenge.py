"""What servers ask for in WWW-Authenticate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_manager.images.oci.challenge import parse_challenges

_BEARER = 'Bearer realm="https://auth.example/token",service="reg.example",scope="repository:a/b:pull,push"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('BASIC realm="x"', [("basic", {"realm": "x"})]),
        (
            _BEARER,
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.example/token",
                        "service": "reg.example",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('Basic realm="a\\"b\\\\c"', [("basic", {"realm": 'a"b\\c'})]),
        ("Basic Realm = token68", [("basic", {"realm": "token68"})]),
        (
            'Negotiate, Basic realm="x", Bearer realm=y',
            [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y"})],
        ),
        ('Bearer realm="x",, service="s"', [("bearer", {"realm": "x", "service": "s"})]),
        ('Bearer realm="first", realm="second"', [("bearer", {"realm": "first"})]),
        ('Bearer realm="never ends', [("bearer", {})]),
        ("=,=", []),
    ],
)
def test_challenges_are_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(found.scheme, found.parameters) for found in parse_challenges(header)] == expected


@given(st.text(alphabet='aB"\\=, \t;/', max_size=200))
def test_nonsense_is_read_to_an_end(header: str) -> None:
    assert len(parse_challenges(header)) <= len(header)
