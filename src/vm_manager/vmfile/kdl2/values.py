"""Scalars of KDL 2: bare words, numbers, keywords; and what people write in their place.

Source: the KDL 2.0.0 specification (https://kdl.dev/spec), sections Identifier String, Number, Boolean and Null.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from vm_manager.vmfile.kdl2.strings import read_raw, read_string
from vm_manager.vmfile.kdl2.text import NEWLINE, REST_OF_LINE, SPACE, WORD, Cursor, in_quotes, past, shortened
from vm_manager.vmfile.nodes import Scalar

# Python prints integers of up to 4300 digits and turns 1e999999999 into an integer by filling the memory; nothing above
# the reader has to think of that when literals end here. The specification leaves the range to the implementation.
MAX_DIGITS = 1000
MAX_EXPONENT = 9999

_KEYWORDS: Final[dict[str, bool | float | None]] = {
    "true": True,
    "false": False,
    "null": None,
    "inf": float("inf"),
    "-inf": float("-inf"),
    "nan": float("nan"),
}
_OTHER_KEYWORDS = {"yes": "true", "on": "true", "no": "false", "off": "false", "none": "null", "nil": "null"}

_MAY_RUN_ON = frozenset('/\\"#([]')
_NUMBER_STARTS = frozenset("0123456789+-.")
_LIKE_NUMBER = re.compile(r"[+-]?\.?[0-9]")
_DECIMAL = re.compile(r"[+-]?[0-9][0-9_]*(\.[0-9][0-9_]*)?(?:[eE]([+-]?[0-9][0-9_]*))?")
_RADIX = re.compile(r"([+-]?)0(?:x([0-9a-fA-F][0-9a-fA-F_]*)|o([0-7][0-7_]*)|b([01][01_]*))")
# As other tools have sizes, and in the units that VMFiles have.
_SHORT_SIZE = re.compile(r"([0-9]{1,9})([KMGTkmgt][iI]?[bB]?)")
_WHOLE_UNIT = re.compile("[KMGT]i?B")
_LIST = re.compile(rf"\[[^\]{NEWLINE}{{}}]*\]?")
_BAD_WORD = re.compile(rf'(?:[^{SPACE}{NEWLINE};{{}}"()]++|\([^{SPACE}{NEWLINE};{{}}"()]*\)?)+')
_NOT_IN_WORDS = re.compile(r"[\\/()\[\]#]")
_V1_RAW = re.compile(rf'r(?:"[^"{NEWLINE}]*"|#+")')
_COMMENT_SIGN = re.compile(rf"#+(?:[{SPACE}{NEWLINE}!]|\Z)")
_RAW_START = re.compile(r'#+"')


def read_scalar(cursor: Cursor) -> Scalar:
    """Read a string, number or keyword at the cursor.

    What is none of them becomes a problem and, as if quoted, a string; the cursor always advances.

    Raises: StopReading when nothing behind it can be read.
    """
    text, start = cursor.text, cursor.pos
    word = WORD.match(text, start)
    if word is None:
        return _read_marked(cursor)
    end = word.end()
    if text[end : end + 1] in _MAY_RUN_ON and _runs_on(cursor, end):
        return _read_bad_word(cursor)
    cursor.pos = end
    return _meaning(cursor, start, word[0])


def _read_marked(cursor: Cursor) -> Scalar:
    """Read what begins with a character that cannot stand in a word."""
    first = cursor.peek()
    if first == '"':
        return read_string(cursor)
    return _read_hash(cursor) if first == "#" else _read_bad_word(cursor)


def _meaning(cursor: Cursor, start: int, word: str) -> Scalar:
    if word[0] in _NUMBER_STARTS and _LIKE_NUMBER.match(word):
        return _number(cursor, start, word)
    if word in _KEYWORDS:
        help_text = f'write #{word} for the value, or "{word}" for the text'
        cursor.problem(start, cursor.pos, f"bare {word} is neither a keyword nor a string in KDL 2", help_text)
    return word


def _number(cursor: Cursor, start: int, word: str) -> Scalar:
    if len(word) > MAX_DIGITS:
        help_text = f'a number has at most {MAX_DIGITS} characters; a longer row of digits needs quotes: "…"'
        cursor.problem(start, cursor.pos, "number is too long", help_text)
        return 0
    if word.isdigit() and word.isascii():
        return int(word)
    if radix := _RADIX.fullmatch(word):
        digits = radix[2] or radix[3] or radix[4]
        base = 16 if radix[2] else 8 if radix[3] else 2
        return int(radix[1] + digits.replace("_", ""), base)
    if decimal := _DECIMAL.fullmatch(word):
        return _decimal(cursor, start, decimal)
    cursor.problem(start, cursor.pos, f"{shortened(word)} is not a number", _number_help(word))
    return word


def _decimal(cursor: Cursor, start: int, decimal: re.Match[str]) -> int | Decimal:
    plain = decimal[0].replace("_", "")
    if decimal[1] is None and decimal[2] is None:
        return int(plain)
    if decimal[2] and abs(int(decimal[2].replace("_", ""))) > MAX_EXPONENT:
        cursor.problem(start, cursor.pos, "exponent is too large", f"it may go from -{MAX_EXPONENT} to {MAX_EXPONENT}")
        return 0
    return Decimal(plain)


def _number_help(word: str) -> str:
    if _DECIMAL.fullmatch(bare := word.rstrip(",")):
        return f"values are separated by white space only: write {shortened(bare)}"
    sign, rest = (word[0], word[1:]) if word[0] in "+-" else ("", word)
    if rest.startswith(".") and _DECIMAL.fullmatch("0" + rest):
        return f"a digit is required before the point: write {sign}0{rest}"
    if rest.endswith(".") and _DECIMAL.fullmatch(word + "0"):
        return f"a digit is required after the point: write {shortened(word)}0"
    if _RADIX.fullmatch(word.lower()):
        return f"write {shortened(word.lower())}"
    if (size := _SHORT_SIZE.fullmatch(word)) and not _WHOLE_UNIT.fullmatch(size[2]):
        return f'a size needs quotes, and its whole unit: "{size[1]}{size[2][0].upper()}iB"'
    return f"a string that starts like a number needs quotes: {in_quotes(word)}"


def _runs_on(cursor: Cursor, end: int) -> bool:
    """Whether the character that follows a word spoils it: one of _MAY_RUN_ON, which begin something else in places."""
    text = cursor.text
    following = text[end : end + 1]
    if following == "/":
        return text[end + 1 : end + 2] not in ("/", "*", "-")
    if following == "\\":
        return not cursor.continues_line(end)
    if following == '"':
        return _V1_RAW.match(text, cursor.pos) is not None
    if following == "#":
        return not _RAW_START.match(text, end) or _V1_RAW.match(text, cursor.pos) is not None
    return True


def _read_bad_word(cursor: Cursor) -> str:
    start = cursor.pos
    if v1 := _V1_RAW.match(cursor.text, start):
        return _read_v1_raw(cursor, v1)
    listed = _LIST.match(cursor.text, start)
    cursor.pos = listed.end() if listed else max(past(_BAD_WORD, cursor.text, start), start + 1)
    word = cursor.text[start : cursor.pos]
    cursor.problem(start, cursor.pos, *_bad_word_message(word))
    return word


def _bad_word_message(word: str) -> tuple[str, str | None]:
    if word.startswith("[") and len(word) > 1:
        return "KDL has no lists in brackets", "write the values one after the other, with white space between them"
    if not word.strip("\\"):
        return "a \\ continues the line and must be at its end", "remove it, or put what follows on the next line"
    if word.startswith("\\") or len(word) == 1:
        return f"{shortened(word)} does not belong here", f"remove it, or put it in quotes: {in_quotes(word)}"
    key, equals, value = word.partition("=")
    where = _NOT_IN_WORDS.search(key)
    sign = where[0] if where else "="
    instead = f"{in_quotes(key)}={shortened(value)}" if equals and value else in_quotes(word)
    return f"a word with {sign} in it needs quotes", f"write {instead}"


def _read_v1_raw(cursor: Cursor, v1: re.Match[str]) -> str:
    start = cursor.pos
    if v1[0].startswith('r"'):
        cursor.pos = v1.end()
        value = v1[0][2:-1]
        instead = f"write {in_quotes(value)}" if '"#' not in value and len(value) < 60 else 'write #"…"#'
    else:
        cursor.pos = start + 1
        value = read_raw(cursor)
        instead = 'write it without the r: #"…"#'
    cursor.problem(start, cursor.pos, "raw strings are written without r in KDL 2", instead)
    return value


def _read_hash(cursor: Cursor) -> Scalar:
    start, text = cursor.pos, cursor.text
    if _COMMENT_SIGN.match(text, start):
        return _read_hash_comment(cursor)
    word = WORD.match(text, start + 1)
    if word is None:
        return read_raw(cursor) if _RAW_START.match(text, start) else _read_bad_word(cursor)
    if text[word.end() : word.end() + 1] in _MAY_RUN_ON and _runs_on(cursor, word.end()):
        return _read_bad_word(cursor)
    cursor.pos = word.end()
    if word[0] in _KEYWORDS:
        return _KEYWORDS[word[0]]
    cursor.problem(start, cursor.pos, f"#{shortened(word[0])} is not a keyword", _keyword_help(word[0]))
    return word[0]


def _keyword_help(word: str) -> str:
    meant = _OTHER_KEYWORDS.get(word.lower(), word.lower())
    if meant in _KEYWORDS:
        return f"write #{meant}"
    keywords = "the keywords are #true, #false, #null, #inf, #-inf and #nan"
    return f"{keywords}; a comment starts with //; a text needs quotes: {in_quotes('#' + word)}"


def _read_hash_comment(cursor: Cursor) -> str:
    start = cursor.pos
    cursor.pos = past(REST_OF_LINE, cursor.text, start)
    cursor.problem(start, start + 1, "# does not start a comment in KDL", "write // instead")
    return ""
