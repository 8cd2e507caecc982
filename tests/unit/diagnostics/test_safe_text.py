"""Text of guests, files and servers, made harmless."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_manager.diagnostics.safe_text import is_safe, safe_json, safe_line, safe_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, tabs\tand ünïcödé 日本 🙂", "plain text, tabs\tand ünïcödé 日本 🙂"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[?25l\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;ZXZpbA==", ""),
        ("\x1bP1$r\x1b\\dcs\x1b_apc\x1b\\\x1b^pm\x1b\\", "dcs"),
        ("\x1bc\x1b(B\x1b=reset", "reset"),
        ("a\x1b", "a"),
        ("\x9bC1\x85\x90", "C1"),
        ("a\x00b\x07c\x08d\x7fe", "abcde"),
        ("\u202egnp.exe\u2066\u200f\ufeff", r"\u{202e}gnp.exe\u{2066}\u{200f}\u{feff}"),
        ("a\u200bb\u200c\u200d\u2060\u00ad\u3164", r"a\u{200b}b\u{200c}\u{200d}\u{2060}\u{ad}\u{3164}"),
        ("a\u2028b\u2029\U000e0041\uffff", r"a\u{2028}b\u{2029}\u{e0041}\u{ffff}"),
        ("a\nb\rc", "abc"),
        ("\ud800", "?"),
    ],
)
def test_a_line_keeps_its_text_and_loses_what_drives_a_terminal(text: str, shown: str) -> None:
    assert safe_line(text) == shown


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb", ["a", "b"]),
        ("a\r\nb\r\n", ["a", "b", ""]),
        ("10%\r20%\r100%\nnext", ["100%", "next"]),
        ("\x1b[1mbold\nplain", ["bold", "plain"]),
    ],
)
def test_a_carriage_return_starts_a_line_over(text: str, lines: list[str]) -> None:
    assert safe_lines(text) == lines


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.text(st.sampled_from(["\x1b", "[", "]", "m", "\x9b", "\x07", "\\", ";", "0", "P", "\r", "\x00", "\u202e", "x"]))
)
def test_nothing_gets_through(text: str) -> None:
    assert not set(safe_line(text)) & set("\x1b\x9b\x07\r\x00\u202e")


def test_a_long_line_of_unfinished_escapes_takes_no_long_time() -> None:
    assert safe_line("\x1b[" * 100_000) == ""
    assert safe_line("\x1b]" * 100_000) == ""


@given(st.text(st.characters(exclude_characters="\n"), max_size=20))
def test_the_quick_look_passes_nothing_that_would_be_changed(text: str) -> None:
    assert not is_safe(text) or safe_line(text) == text


@given(text=st.text())
def test_a_json_document_without_what_cannot_be_seen_means_the_same(text: str) -> None:
    document = json.dumps({"text": text}, indent=2, ensure_ascii=False)
    assert json.loads(safe_json(document)) == {"text": text}


def test_in_a_json_document_what_cannot_be_seen_is_escaped() -> None:
    document = json.dumps("ünï\u202e\u2028\U000e0041\x9b\x7f", ensure_ascii=False)
    assert safe_json(document) == r'"ünï\u202e\u2028\udb40\udc41\u009b\u007f"'
