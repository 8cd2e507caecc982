"""Values of KDL → values of the language: types, units, ranges and forms."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

from vm_manager.domain.names import closest
from vm_manager.vmfile.blocks import Located, Plain
from vm_manager.vmfile.grammar import Complaint, Flag, Number, Size, Text, Type, Word
from vm_manager.vmfile.nodes import Value
from vm_manager.vmfile.problems import Problems

_KIB = 1024
_MAX_SHOWN = 80
_UNITS = {
    "KiB": _KIB, "MiB": _KIB**2, "GiB": _KIB**3, "TiB": _KIB**4, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,9})\s*([A-Za-z]+)")


class ValueReader:
    """Reads the values of one source text; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def read(self, name: str, value: Value, kind: Type) -> Located[Plain] | None:
        """The value of an entry of that name, or None when it is wrong."""
        if value.tag is not None:
            tag = "…" if "…" in self._problems.written(value.span) else value.tag
            self._problems.add(
                value.span, f"`{name}` with a type annotation", f"({tag}) has no meaning here",
                f"remove ({tag}); put units in quotes: \"2GiB\"",
            )  # fmt: skip
            return None
        plain = self._plain(name, value, kind)
        return None if plain is None else Located(plain, value.span)

    def _plain(self, name: str, value: Value, kind: Type) -> Plain | None:
        match kind:
            case Text():
                return self._text(name, value, kind)
            case Number():
                return self._number(name, value, kind)
            case Size():
                return self._size(name, value, kind)
            case Word():
                return self._word(name, value, kind)
            case Flag():
                return self._flag(name, value)

    def _string(self, name: str, value: Value) -> str | None:
        if isinstance(value.value, str):
            return value.value
        written = _shown(self._problems.written(value.span).lstrip("#"))
        self._wrong_type(name, value, "a string", f'put it in quotes: {name} "{written}"')
        return None

    def _text(self, name: str, value: Value, kind: Text) -> str | None:
        text = self._string(name, value)
        if text is None:
            return None
        if "\0" in text or not (text or kind.empty):
            label = "empty" if not text else "contains a NUL"
            self._problems.add(value.span, f"`{name}` needs a value", label, f'write it: {name} "…"')
            return None
        if kind.form and not kind.form.check(text):
            advice, complaint = kind.form.advice(text), kind.form.complaint
            self.complain(value, replace(complaint, help=advice) if advice else complaint, name, text)
            return None
        return text

    def complain(self, value: Value, complaint: Complaint, name: str, text: str) -> None:
        """Say what the description of the language says about such a mistake."""
        written = self._problems.written(value.span)
        fill = {"name": name, "value": _shown(written.strip('#"') if "…" in written else text)}
        self._problems.add(
            value.span,
            complaint.message.format(**fill),
            complaint.label.format(**fill),
            complaint.help.format(**fill),
        )

    def _word(self, name: str, value: Value, kind: Word) -> str | None:
        text = self._string(name, value)
        if text is None or text in kind.words:
            return text
        near = closest(text, kind.words)
        self._problems.add(
            value.span, f"`{name}` cannot be '{_shown(text)}'", "not one of the choices",
            did_you_mean(near, kind.words), instead=f'"{near}"' if near else None,
        )  # fmt: skip
        return None

    def _flag(self, name: str, value: Value) -> bool | None:
        if isinstance(value.value, bool):
            return value.value
        self._wrong_type(name, value, "#true or #false", f"write it without quotes: {name}=#true")
        return None

    def _number(self, name: str, value: Value, kind: Number) -> int | str | None:
        if kind.word and value.value == kind.word:
            return kind.word
        if isinstance(value.value, bool) or not isinstance(value.value, int):
            example = kind.low * 2 if kind.low < 10 else kind.low
            if isinstance(value.value, str) and value.value.isascii() and value.value.isdecimal():
                example = int(value.value[:9])
            if kind.word:
                wanted, help = f'a whole number, or "{kind.word}"', f'write digits, or {name}="{kind.word}"'
            else:
                wanted, help = "a whole number", f"write digits: {name} {example}"
            self._wrong_type(name, value, wanted, help)
            return None
        return self._bounded(name, value, value.value, (str(kind.low), str(kind.high)), kind)

    def _size(self, name: str, value: Value, kind: Size) -> int | None:
        size = size_with_unit(value.value) if isinstance(value.value, str) else None
        if isinstance(value.value, int) and not isinstance(value.value, bool):
            size = value.value * kind.unit_bytes
        if size is None:
            meant = _meant_size(value.value) if isinstance(value.value, str) else None
            help = (
                f'write it with its unit: {name} "{meant}"'
                if meant
                else f'write a number, or a string such as {name} "2GiB"'
            )
            self._wrong_type(name, value, "a size", help, instead=f'"{meant}"' if meant else None)
            return None
        return self._bounded(name, value, size, (shown_size(kind.low), shown_size(kind.high)), kind)

    def _bounded(self, name: str, value: Value, number: int, shown: tuple[str, str], kind: Number | Size) -> int | None:
        if number < kind.low:
            help = f"write at least {shown[0]}"
            if isinstance(kind, Size) and isinstance(value.value, int) and 0 < value.value < 1024:
                unit = _unit_of(kind.unit_bytes)
                help += f': without a unit it counts {unit}, so {value.value} GiB is {name} "{value.value}GiB"'
            self._problems.add(value.span, f"`{name}` is too small", "too small", help)
            return None
        if number > kind.high:
            self._problems.add(value.span, f"`{name}` is too large", "too large", f"write at most {shown[1]}")
            return None
        return number

    def _wrong_type(self, name: str, value: Value, wanted: str, help: str, instead: str | None = None) -> None:
        found = "a fraction" if isinstance(value.value, (Decimal, float)) else with_article(value.type_name)
        self._problems.add(value.span, f"`{name}` is {wanted}", f"this is {found}", help, instead=instead)


def _shown(text: str) -> str:
    """What was written, in one line of reasonable length."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_SHOWN else f"{line[: _MAX_SHOWN - 1]}…"


def size_with_unit(text: str) -> int | None:
    """The bytes that a text such as "2GiB" means, or None when it is no size."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) * _UNITS[match[2]] if match and match[2] in _UNITS else None


def _meant_size(text: str) -> str | None:
    """The size for one in the short units of other tools, such as "2G" or "512m", in which they count by 1024."""
    match = _SIZE.fullmatch(text.strip())
    short = match is not None and match[2].lower() in ("k", "m", "g", "t", "kib", "mib", "gib", "tib")
    return f"{match[1]}{match[2][0].upper()}iB" if match and short else None


def _unit_of(unit_bytes: int) -> str:
    return next(unit for unit, size in _UNITS.items() if size == unit_bytes)


def with_article(noun: str) -> str:
    """A noun with "a" or "an", as it is spoken."""
    return f"{'an' if noun[0] in 'aeiou' or noun == 'ssh' else 'a'} {noun}"


def shown_size(size: int) -> str:
    """A size in bytes for people, in whole GiB or MiB."""
    return f"{size // _KIB**3} GiB" if size >= _KIB**3 else f"{size // _KIB**2} MiB"


def did_you_mean(near: str | None, known: tuple[str, ...]) -> str:
    """The advice for a word that is not known."""
    return f"did you mean `{near}`?" if near else f"write one of: {', '.join(known)}"
