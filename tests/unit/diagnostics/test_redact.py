"""What must never be shown, logged or sent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unit.stderr_lines import objects
from vm_manager.cli.crash import report_crash
from vm_manager.diagnostics.errors import DownloadFailed, SshFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.redact import redact, redact_lines
from vm_manager.ui.documents import diagnostic_item
from vm_manager.ui.ndjson import diagnostic_line
from vm_manager.ui.report import report

_KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW",
    "-----END OPENSSH PRIVATE KEY-----",
)
_GITHUB_TOKEN = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hunter2@example.org/x", "https://…@example.org/x"),
        ("proxy http://me:hunter2@10.0.0.1:3128/ refused", "proxy http://…@10.0.0.1:3128/ refused"),
        ("a://b:c@d and e://f:g@h", "a://…@d and e://…@h"),
        ("Authorization: Basic bWU6aHVudGVyMg==", "Authorization: …"),
        ("authorization: bearer abc.def", "authorization: …"),
        ("sent 'Bearer abcdefgh.ijkl-mn_op' to it", "sent 'Bearer …' to it"),
        *((f"git clone gh{letter}_{_GITHUB_TOKEN}", "git clone …") for letter in "pousr"),
        ("password=hunter2", "password=…"),
        ("PASSWORD=hunter2&user=me", "PASSWORD=…&user=me"),
        ("export DB_PASSWORD=hunter2; run", "export DB_PASSWORD=…; run"),
        ("client_secret=hunter2 access_token=hunter2", "client_secret=… access_token=…"),
        ("?api_key=hunter2&a=b", "?api_key=…&a=b"),
    ],
)
def test_a_credential_is_taken_out_and_the_rest_is_left(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"github_pat_11ABCDEFG0_{_GITHUB_TOKEN}", _GITHUB_TOKEN),
        ("https://:hunter2@example.org/", "hunter2"),
        ("https://hunter2@example.org/", "hunter2"),
        ("https://me:hun@ter2@example.org/", "ter2"),
        ("password: hunter2", "hunter2"),
        ('{"password": "hunter2"}', "hunter2"),
        ("secret = hunter2", "hunter2"),
        ("token: hunter2", "hunter2"),
        ("password='hunter2 and more'", "hunter2"),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "hunter2"),
        ("https://example.org/x?X-Amz-Signature=hunter2", "hunter2"),
        ("https://example.org/x?sig=hunter2", "hunter2"),
    ],
)
def test_other_ways_to_write_a_credential_are_known_too(text: str, secret: str) -> None:
    assert secret not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no VM is named 'web'",
        "https://example.org/images/debian-13.qcow2?arch=amd64",
        "https://example.org:8443/a:b@c",
        "ssh://debian@10.0.2.15:22",
        "git@example.org:a/b.git",
        "listening on 127.0.0.1:40022, 10:20:30 me@here",
        "sshd[300]: Failed password for root from 10.0.2.2 port 1234 ssh2",
        "passwordless=yes, the password= option",
        "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:0-:22",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJq me@here",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "the bearer of bad news",
        "[    0.000000] Linux version 6.12 (gcc 14.2) #1 SMP",
        "tokens are counted; secrets are kept",
    ],
)
def test_ordinary_lines_are_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text", ["bearer authentication required", "authorization: access denied for user", "the bearer certificates"]
)
def test_talk_about_credentials_is_no_credential(text: str) -> None:
    assert redact(text) == text


# Private keys


def test_a_private_key_is_one_line_that_says_so() -> None:
    assert redact_lines(("before", *_KEY, "after")) == ("before", "(a private key)", "after")
    assert redact("\n".join(("before", *_KEY, "after"))) == "before\n(a private key)\nafter"


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH "])
def test_keys_of_every_kind_are_known(kind: str) -> None:
    lines = (f"-----BEGIN {kind}PRIVATE KEY-----", "c2VjcmV0", f"-----END {kind}PRIVATE KEY-----")
    assert redact_lines(lines) == ("(a private key)",)
    assert redact("\n".join(lines)) == "(a private key)"


def test_two_keys_are_two_lines_and_a_log_may_stand_before_each_line() -> None:
    lines = tuple(f"[ 1.0] ci: {line}" for line in (*_KEY, "between", *_KEY))
    assert redact_lines(lines) == ("(a private key)", "[ 1.0] ci: between", "(a private key)")


def test_a_key_that_does_not_end_takes_the_rest_with_it() -> None:
    assert redact_lines(("a", *_KEY[:2], "more of it")) == ("a", "(a private key)")


def test_a_key_whose_beginning_was_cut_off_is_taken_out() -> None:
    assert _KEY[1] not in redact_lines((*_KEY[1:], "after"))


def test_a_key_of_pgp_is_a_private_key() -> None:
    block = "-----BEGIN PGP PRIVATE KEY BLOCK-----", "c2VjcmV0", "-----END PGP PRIVATE KEY BLOCK-----"
    assert redact_lines(block) == ("(a private key)",)


# Where it counts

_URL = "https://me:hunter2@example.org/disk.qcow2"


def _failure() -> DownloadFailed:
    error = DownloadFailed("could not download {url}", {"url": _URL}, evidence=(Evidence("http", "x", (_URL, *_KEY)),))
    error.__cause__ = OSError(f"cannot reach {_URL}")
    return error


def test_messages_causes_and_evidence_are_without_secrets() -> None:
    error = _failure()
    shown = [
        str(error),
        error.diagnostic.message,
        error.diagnostic.causes[0].message,
        *error.diagnostic.evidence[0].lines,
    ]
    assert [text for text in shown if "hunter2" in text or "b3Blbn" in text] == []
    assert "hunter2" not in "\n".join(line.text for line in report(error.diagnostic))


def test_the_cause_of_a_cause_is_without_secrets() -> None:
    middle = SshFailed("lost")
    middle.__cause__ = FileNotFoundError(2, "No such file", _URL)
    error = SshFailed("lost")
    error.__cause__ = middle
    assert "hunter2" not in repr(error.diagnostic)


def test_arguments_are_without_secrets() -> None:
    assert "hunter2" not in json.dumps(diagnostic_item(_failure().diagnostic))
    assert "hunter2" not in repr(_failure().diagnostic.as_virerror())
    assert "hunter2" not in json.dumps(objects(diagnostic_line(_failure().diagnostic)))


def test_notes_and_help_are_without_secrets() -> None:
    error = SshFailed("lost", notes=(f"command: curl {_URL}",), help=(f"try {_URL}",)).enrich(
        notes=("password=hunter2",)
    )
    assert "hunter2" not in "\n".join(line.text for line in report(error.diagnostic))


def test_what_stands_around_evidence_is_without_secrets() -> None:
    assert "hunter2" not in repr(Evidence("http", _URL, (), _URL, error=_URL))


def test_a_crash_report_is_without_secrets() -> None:
    try:
        raise TypeError(f"no such thing: {_URL}")
    except TypeError as error:
        report_crash(error)
    (crash,) = (Path(os.environ["XDG_DATA_HOME"]) / "vmctl" / "crashes").iterdir()
    text = crash.read_text()
    assert "no such thing" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("prefix", ["", "[   98.1] cloud-init[281]: "])
def test_what_errors_of_yaml_quote_is_left_out(prefix: str) -> None:
    told = (
        'Failed loading yaml blob. Invalid format at line 3 column 11: "while parsing a flow sequence',
        '  in "<unicode string>", line 3, column 11:',
        "    packages: [hunter2",
        "              ^",
        "expected ',' or ']', but got ':'",
        '  in "<unicode string>", line 4, column 7:',
        "    runcmd: [echo hunter2]",
        "          ^",
        "the next entry",
    )
    shown = redact_lines([f"{prefix}{line}" for line in told])
    assert shown == tuple(f"{prefix}{told[at]}" for at in (0, 1, 4, 5, 8))


def test_other_lines_below_which_a_place_is_marked_are_kept() -> None:
    gcc = ("x.c:1:5: error: expected ';'", "    int a", "        ^")
    assert redact_lines(gcc) == gcc
    assert redact_lines(('  in "<unicode string>", line 4, column 7:', "quoted", "kept")) == (
        '  in "<unicode string>", line 4, column 7:',
        "kept",
    )
