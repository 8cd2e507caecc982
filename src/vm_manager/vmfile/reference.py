"""The reference page of the language, docs/vmfile.md, made from its description."""

from __future__ import annotations

from collections.abc import Iterator

from vm_manager.vmfile.grammar import Argument, Entry, Flag, Number, Size, Text, Type, Word, Written
from vm_manager.vmfile.language import VM
from vm_manager.vmfile.values import shown_size

_INTRODUCTION = """\
# VMFile.kdl

This page is generated from the grammar that vmctl uses to read VMFiles. For a complete file with comments, see
[VMFile.kdl.example](../VMFile.kdl.example). `vmctl validate` checks a VMFile and reports all problems at once.

The file is [KDL](https://kdl.dev), version 2 or 1; use `/- kdl-version 1` on the first line to force a version. vmctl looks for
it in the working directory and its parents. Relative paths are relative to the directory of the VMFile, and `~` is the home
directory. A VM without `cloud-init`, `ssh` and `provision` gets no cloud-init seed.

Sizes are whole numbers, or strings with a unit: KiB, MiB, GiB and TiB count by 1024, KB, MB, GB and TB by 1000. The short units
of other tools (`"2g"`, `"512M"`, `"20gb"`) are rejected, and the help shows the size to write.

Limits: a VMFile can have up to 1 MiB and 100,000 nodes and values (128 KiB in KDL 1). Files that it refers to must be regular
files outside of /proc, /sys and /dev: user-data and network configurations up to 1 MiB each and 2 MiB together, keys up to
64 KiB, scripts up to 16 MiB. YAML that expands to more than 20,000 values, or is nested more than 64 levels deep, is rejected.

**✓** is supported. **later** is parsed and checked, but `vmctl up` rejects it for now. **=** marks a property, written after the
name of the node (`size=10`); **≙** can be written either way.
"""


def reference() -> str:
    """The page."""
    return "\n".join((_INTRODUCTION, *_section(VM, ())))


def _section(entry: Entry, around: tuple[str, ...]) -> Iterator[str]:
    path = (*around, entry.name)
    yield f"## `{' › '.join(path)}`\n"
    yield f"{entry.help[:1].upper()}{entry.help[1:]}.\n"
    yield f"```kdl\n{_shape(entry)}\n```\n"
    for argument in entry.arguments:
        default = f"; default: `{argument.default}`" if argument.default else ""
        yield f"- *{argument.name}*: {_type(argument.type)}{', one or more' if argument.many else ''}{default}"
    for choice in entry.choices:
        yield f"- Exactly one of {_listed(choice.names)}{_only(choice.only, entry.name)}."
    if entry.entries:
        yield "\n| | name | value | default | meaning | |\n|---|---|---|---|---|---|"
        yield from (_row(child, entry) for child in entry.entries)
    yield ""
    for child in entry.entries:
        if child.entries:
            yield from _section(child, path)


def _row(entry: Entry, parent: Entry) -> str:
    mark = {Written.CHILD: "", Written.PROPERTY: "=", Written.EITHER: "≙"}[entry.written]
    value = "; ".join(_type(argument.type) for argument in entry.arguments) or (
        "a block" if entry.takes_block else "properties"
    )
    default = "required" if entry.required else entry.default
    meaning = entry.help + _only(entry.only, parent.name) + ("; may be repeated" if entry.many else "")
    return f"| {mark} | `{entry.name}` | {value} | {default} | {meaning} | {_state(entry)} |"


def _state(entry: Entry) -> str:
    words = [word for argument in entry.arguments for word in _later_words(argument)]
    return f"✓ ({_listed(words)}: later)" if words else "✓"


def _later_words(argument: Argument) -> Iterator[str]:
    if isinstance(argument.type, Word):
        yield from (f'"{word}"' for word in argument.type.words if word in argument.type.later)


def _type(kind: Type) -> str:
    match kind:
        case Text():
            return kind.form.title if kind.form else "a string"
        case Number():
            number = f"{kind.low} to {kind.high}{f' {kind.unit}' if kind.unit else ''}"
            return f'{number}, or `"{kind.word}"`' if kind.word else number
        case Size():
            unit = "MiB" if kind.unit_bytes == 1024**2 else "GiB"
            return f'{unit}, or "2GiB", "512MiB", "2GB"; {shown_size(kind.low)} to {shown_size(kind.high)}'
        case Word():
            return " or ".join(f'`"{word}"`' for word in kind.words)
        case Flag():
            return "`#true` or `#false`"


def _shape(entry: Entry) -> str:
    words = [entry.name, *(f'"{argument.name}"' for argument in entry.arguments)]
    words += [f"{child.name}=…" for child in entry.entries if child.written is not Written.CHILD]
    return " ".join(words) + (" { … }" if entry.takes_block else "")


def _only(words: tuple[str, ...], parent: str) -> str:
    listed = " or ".join(f'`{parent} "{word}"`' for word in words)
    return f" (with {listed})" if words else ""


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
