"""URLs as they may be shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import requests

from vm_manager.cli.crash import report_crash
from vm_manager.diagnostics.errors import VmError
from vm_manager.diagnostics.urls import cut_argument, cut_url, cut_urls, without_secrets_of
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.http import Limits, asked

_LIMITS = Limits(connect_s=1, stall_s=1, head_s=2, retry_delays_s=())
_URLS = [
    "http://127.0.0.1:1/disk?k=S3^X|y",
    "http://me:S3^X|y@127.0.0.1:1/disk",
    "http://127.0.0.1:1/disk?k=S3%5EX%7Cy&b",
    "http://127.0.0.1:1/disk#S3^X|y",
    "http://me:S3^X|y@[::1/disk?k=S3^X|y",
    "http://me:S3^X|y@exa mple.org/disk",
    "http://me:S3^X|y@.../disk",
    "http://me:S3^X|y@example.org:99999/disk",
    "http://me:a/S3^X|y@127.0.0.1:1/disk",
    "http://me:a?S3^X|y@127.0.0.1:1/disk",
    "http://me:S3^X|y@",
    "http://?k=S3^X|y",
    "http:///disk?k=S3^X|y",
    "http://a b/?k=S3^X|y 'z",
    "http://\x00/?k=S3^X|y",
]


def _leaks(text: str) -> bool:
    return any(part in text for part in ("S3", "5EX", "7Cy", "X|y"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b.qcow2", "https://example.org/a/b.qcow2"),
        ("https://me:pw@example.org:8443/a", "https://example.org:8443/a"),
        ("https://example.org/a?token=x", "https://example.org/a?…"),
        ("https://example.org/a#x", "https://example.org/a"),
        ("https://example.org/a@b?x@y", "https://example.org/a@b?…"),
        ("https://me:pa/ss@example.org/a", "https://example.org/a"),
        ("oci://me:pw@ghcr.io/a/b:1", "oci://ghcr.io/a/b:1"),
        ("https://[::1]:80/a", "https://[::1]:80/a"),
        ("file:///srv/disk", "file:///srv/disk"),
        ("no URL", "no URL"),
    ],
)
def test_a_url_is_cut_where_it_has_its_parts(url: str, shown: str) -> None:
    assert cut_url(url) == shown


@pytest.mark.parametrize("url", _URLS)
def test_no_part_that_may_be_secret_is_shown_even_of_a_url_that_is_none(url: str) -> None:
    assert not _leaks(cut_url(url))
    assert not _leaks(cut_argument(f"--image-url={url}"))


@pytest.mark.parametrize("url", _URLS)
def test_what_the_libraries_say_of_a_url_is_without_its_secrets(url: str) -> None:
    with pytest.raises(VmError) as caught, asked(url, cancel=CancelToken(), limits=_LIMITS):
        pass
    assert not _leaks(repr(caught.value.diagnostic))
    try:
        requests.get(url, timeout=1)
    except Exception as error:
        assert not _leaks(cut_urls(without_secrets_of(str(error), url)))  # noqa: PT017


@pytest.mark.parametrize("url", _URLS)
def test_a_crash_report_is_without_the_secrets_of_urls(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["vmctl", "image", "pull", url])
    try:
        requests.get(url, timeout=1)
    except Exception as error:
        bug = report_crash(error)
    (crash,) = (Path(os.environ["XDG_DATA_HOME"]) / "vmctl" / "crashes").iterdir()
    assert "image pull http" in crash.read_text().replace("'", "")
    assert not _leaks(crash.read_text())
    assert not _leaks(repr(bug.diagnostic))
