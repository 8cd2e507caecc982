"""Where in user-data the key stands that a module failed at, without showing what it is set to."""

from __future__ import annotations

import pytest

from vm_manager.vmfile.user_data import find_key

_CONFIG = b"""#cloud-config
chpasswd: {expire: false, s3cret: x}
locale: s3cret
runcmd:
  - echo hello
"""


def test_the_first_of_the_keys_is_marked() -> None:
    label = find_key(_CONFIG, "user-data.yaml", ("ntp", "locale", "runcmd"))
    assert label
    assert label.source.text[label.span.start : label.span.end] == "locale"
    assert label.source.position(label.span.start) == (3, 1)
    assert "s3cret" not in label.source.text


@pytest.mark.parametrize(
    "content",
    [
        b"#!/bin/sh\nlocale: x\n", b"", b"\x1f\x8blocale: x", b"#cloud-config\n- locale\n", b"#cloud-config\nlocale: [\n",
        b"#cloud-config\nx: {locale: y}\n", b"## template: jinja\n#cloud-config\nlocale: x\n", b"#cloud-config\n", b"\xff",
    ],
)  # fmt: skip
def test_where_it_cannot_be_told_nothing_is(content: bytes) -> None:
    assert find_key(content, "user-data", ("locale",)) is None
