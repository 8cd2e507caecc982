"""Where in user-data the key stands that a module failed at, without showing what it is set to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vm_manager.diagnostics.model import Label
from vm_manager.vmfile.user_data import find_keys

_CONFIG = b"""#cloud-config
chpasswd: {expire: false, s3cret: x}
locale: s3cret
runcmd:
  - echo hello
"""


def _marked(labels: Sequence[Label]) -> list[tuple[str, int]]:
    """What each label marks, and in which line."""
    return [
        (label.source.text[label.span.start : label.span.end], label.source.position(label.span.start)[0])
        for label in labels
    ]


def test_the_keys_are_marked_and_nothing_that_they_are_set_to_is_shown() -> None:
    labels = find_keys(_CONFIG, "user-data.yaml", ("ntp", "runcmd", "locale"), "")
    assert [label.primary for label in labels] == [True, False, False]
    assert all("s3cret" not in label.source.text and "hello" not in label.source.text for label in labels)
    assert _marked(labels) == [("-", 5), ("runcmd", 4), ("locale", 3)]


@pytest.mark.parametrize(
    ("items", "said", "line"),
    [
        ("- echo a\n- 'false'\n", "", 4),
        ("- echo a\n- [cat, /nonexistent]\n- |\n  true\n  false\n", "", 5),
        # sh stops at what it cannot read; the first line of its script is no item.
        ("- echo a\n- |\n  true\n  if ( then\n- echo b\n", 'scripts/runcmd: 4: Syntax error: "then" unexpected', 4),
        ("- echo a\n- 'x)'\n- echo b\n", "scripts/runcmd: line 3: syntax error near unexpected token `)'", 4),
        # Which one ended the script is not plain.
        ("- test -e /x || exit 3\n- echo b\n", "", None),
        ("- set -eu\n- 'false'\n- echo b\n", "", None),
        ("- [sh, -c, 'exit 3']\n- echo b\n", "", None),
        ("- echo a\n- exit 3\n", "", 4),
    ],
)
def test_the_item_of_runcmd_that_failed_is_marked_where_that_is_plain(items: str, said: str, line: int | None) -> None:
    text = f"#cloud-config\nruncmd:\n{items}"
    *found, _ = find_keys(text.encode(), "user-data.yaml", ("runcmd",), f"/var/lib/cloud/instance/{said}\n")
    assert [place for _, place in _marked(found)] == ([line] if line else [])


@pytest.mark.parametrize("items", ["", "5\n", "{a: b}\n", "[]\n", "[{a: b}, [[x]]]\n", "[echo a, exit 3]\n"])
def test_a_runcmd_of_another_form_does_no_harm(items: str) -> None:
    said = "/var/lib/cloud/instance/scripts/runcmd: 99: Syntax error: x unexpected"
    for log in ("", said):
        assert find_keys(f"#cloud-config\nruncmd: {items}".encode(), "user-data.yaml", ("runcmd",), log)


@pytest.mark.parametrize(
    "content",
    [
        b"#!/bin/sh\nlocale: x\n", b"", b"\x1f\x8blocale: x", b"#cloud-config\n- locale\n", b"#cloud-config\nlocale: [\n",
        b"#cloud-config\nx: {locale: y}\n", b"## template: jinja\n#cloud-config\nlocale: x\n", b"#cloud-config\n", b"\xff",
    ],
)  # fmt: skip
def test_where_it_cannot_be_told_nothing_is(content: bytes) -> None:
    assert find_keys(content, "user-data", ("locale",), "") == ()
