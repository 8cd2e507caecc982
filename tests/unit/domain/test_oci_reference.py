"""References to images in OCI registries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_manager.domain.oci_reference import NotAReference, OciReference, parse_reference

_SHA256 = f"sha256:{'0a' * 32}"
_SHA512 = f"sha512:{'0a' * 64}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ghcr.io/org/image:1.2", OciReference("ghcr.io", "org/image", "1.2")),
        ("ghcr.io/image", OciReference("ghcr.io", "image", "latest")),
        (f"ghcr.io/image@{_SHA256}", OciReference("ghcr.io", "image", None, _SHA256)),
        (f"ghcr.io/image:1@{_SHA512}", OciReference("ghcr.io", "image", "1", _SHA512)),
        ("localhost:5000/a/b/c", OciReference("localhost:5000", "a/b/c", "latest")),
        ("[::1]:5000/a", OciReference("[::1]:5000", "a", "latest")),
        ("127.0.0.1/a.b-c__d/e--f:_X.-", OciReference("127.0.0.1", "a.b-c__d/e--f", "_X.-")),
    ],
)
def test_a_reference_is_read_into_its_parts(text: str, expected: OciReference) -> None:
    found = parse_reference(f"oci://{text}")
    assert found == expected
    assert parse_reference(str(found)) == found


def test_a_digest_comes_before_a_tag() -> None:
    assert parse_reference(f"oci://h/a:1@{_SHA256}").version == _SHA256
    assert parse_reference("oci://h/a").version == "latest"


def test_the_scheme_may_be_in_capital_letters() -> None:
    assert parse_reference("OCI://h/a") == parse_reference("oci://h/a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://ghcr.io/a", "begin with oci://"),
        ("oci://", "has no registry"),
        ("oci:///a", "has no registry"),
        ("oci://ghcr.io", "has no repository"),
        ("oci://ghcr.io/", "has no repository"),
        ("oci://ghcr.io/:1", "has no repository"),
        (f"oci://ghcr.io/@{_SHA256}", "has no repository"),
        ("oci://me@ghcr.io/a", "user name"),
        ("oci://me:pw@ghcr.io/a", "user name"),
        ("oci://my_host/a", "registry is not a host"),
        ("oci://-h/a", "registry is not a host"),
        ("oci://h:0/a", "registry is not a host"),
        ("oci://h:65536/a", "registry is not a host"),
        ("oci://h:x/a", "registry is not a host"),
        ("oci://h/A", "capital letters"),
        ("oci://h/a//b", "repository has invalid characters"),
        ("oci://h/../b", "repository has invalid characters"),
        ("oci://h/a/", "repository has invalid characters"),
        ("oci://h/a?x=1", "repository has invalid characters"),
        ("oci://h/a b", "repository has invalid characters"),
        ("oci://h/a\n", "repository has invalid characters"),
        ("oci://h/" + "a" * 254, "too long"),
        ("oci://h/a:", "tag is empty"),
        ("oci://h/a:.x", "tag has invalid characters"),
        ("oci://h/a:b:c", "tag has invalid characters"),
        ("oci://h/a:" + "x" * 129, "tag has invalid characters"),
        ("oci://h/a:1\r\nX: y", "tag has invalid characters"),
        ("oci://h/a@", "digest"),
        ("oci://h/a@sha256:0a", "digest"),
        (f"oci://h/a@{_SHA256.upper()}", "digest"),
        (f"oci://h/a@md5:{'0' * 32}", "digest"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(text: str, reason: str) -> None:
    with pytest.raises(NotAReference) as caught:
        parse_reference(text)
    assert reason in caught.value.reason
    assert caught.value.help


@given(st.text(alphabet=":/@.-_aZ09[]%?#\n\0é ", max_size=40))
def test_whatever_is_accepted_can_stand_in_a_url(text: str) -> None:
    try:
        found = parse_reference(f"oci://{text}")
    except NotAReference:
        return
    assert parse_reference(str(found)) == found
    assert not set(found.repository + found.version) & set("?#%\n\0@ ")
    assert ".." not in found.repository.split("/")
