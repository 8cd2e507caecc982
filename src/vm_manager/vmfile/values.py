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
_LOOKED_AT = 80
_UNITS = {
    "KiB": _KIB, "MiB": _KIB**2, "GiB": _KIB**3, "TiB": _KIB**4, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,9})\s*([A-Za-z]+)")
_OTHER_SIZE = re.compile(
    r"(?P<number>[0-9]{1,9}(?:[.,][0-9]{1,6})?)\s*(?P<unit>(?:(?P<letter>[KMGT])i?b?)?)", re.IGNORECASE
)
_STEPS = ("KiB", "MiB", "GiB", "TiB")


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
        self._wrong_type(name, value, "a string", f'put it in quotes: {self._before(name, value)}"{written}"')
        return None

    def _text(self, name: str, value: Value, kind: Text) -> str | None:
        text = self._string(name, value)
        if text is None:
            return None
        if "\0" in text or not (text or kind.empty):
            label = "empty" if not text else "contains a NUL"
            self._problems.add(
                value.span, f"`{name}` needs a value", label, f'write it: {self._before(name, value)}"…"'
            )
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
        near = kind.also.get(text.lower().replace("_", "-")) or closest(text, kind.words)
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
            digits = value.value if isinstance(value.value, str) and value.value.isascii() else ""
            example = int(digits[:9]) if digits.isdecimal() else kind.low * 2 if kind.low < 10 else kind.low
            before = self._before(name, value)
            wanted, help = "a whole number", f"write digits: {before}{example}"
            if kind.word:
                wanted = f'{wanted}, or "{kind.word}"'
                help = f'{help if digits.isdecimal() else "write digits"}, or {before}"{kind.word}"'
            self._wrong_type(name, value, wanted, help)
            return None
        return self._bounded(name, value, value.value, (str(kind.low), str(kind.high)), kind)

    def _size(self, name: str, value: Value, kind: Size) -> int | None:
        size = size_with_unit(value.value) if isinstance(value.value, str) else None
        if isinstance(value.value, int) and not isinstance(value.value, bool):
            size = value.value * kind.unit_bytes
        if size is None:
            self._no_size(name, value, kind)
            return None
        bounded = self._bounded(name, value, size, (shown_size(kind.low), shown_size(kind.high)), kind)
        if bounded is not None and isinstance(value.value, int):
            self._doubt_unit(name, value, value.value, kind)
        return bounded

    def _no_size(self, name: str, value: Value, kind: Size) -> None:
        text = str(value.value) if isinstance(value.value, (str, Decimal)) else ""
        meant = meant_size(text, kind)
        if meant is None:
            example = f'{self._before(name, value)}"2GiB"'
            self._wrong_type(name, value, "a size", f"write a number, or a string such as {example}")
            return
        unit = _OTHER_SIZE.fullmatch(text.strip())["unit"]  # type: ignore[index]  # a size is meant
        if unit and unit not in _UNITS:
            label = f"{unit} is not a unit here"
        else:
            label = "not a whole number" if unit or isinstance(value.value, Decimal) else "a string without a unit"
        instead = f'"{meant}"'
        help = f"write it with its unit: {self._before(name, value)}{instead}"
        self._problems.add(value.span, f"`{name}` is a size", label, help, instead=instead)

    def _doubt_unit(self, name: str, value: Value, number: int, kind: Size) -> None:
        """Warn about a number that was probably meant in another unit."""
        unit, likely = _unit_of(kind.unit_bytes), _likely_unit(Decimal(number), kind)
        if likely != unit:
            other, same = (f'{self._before(name, value)}"{number}{each}"' for each in (likely, unit))
            self._problems.warn(
                value.span, f"without a unit, `{name}` counts {unit}: this is {number} {unit}", f"{number} {unit}",
                f"if you mean {number} {likely}, write {other}; if not, write {same}",
            )  # fmt: skip

    def _before(self, name: str, value: Value) -> str:
        """What stands before a value: the name, with a = where it is a property."""
        start = value.span.start
        before = self._problems.source.text[max(0, start - _LOOKED_AT) : start].rstrip()
        return f"{name}=" if before.endswith("=") else f"{name} "

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


def meant_size(text: str, kind: Size) -> str | None:
    """The size for one as other tools have it, such as "2g", "512mb" or "1.5GiB", all of which count by 1024; else None."""
    match = _OTHER_SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number = Decimal(match["number"].replace(",", "."))
    unit = f"{match['letter'].upper()}iB" if match["unit"] else _likely_unit(number, kind)
    if number % 1:
        number, unit = number * _KIB, _STEPS[max(_STEPS.index(unit) - 1, 0)]
    size = size_with_unit(meant := f"{number:.0f}{unit}")
    return meant if not number % 1 and size is not None and kind.low <= size <= kind.high else None


def _likely_unit(number: Decimal, kind: Size) -> str:
    """The unit in which a bare number was probably meant: the next larger one for few of them, the next smaller for many."""
    step = _STEPS.index(_unit_of(kind.unit_bytes))
    return _STEPS[step + (number < kind.few) - (number > kind.many)]


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
