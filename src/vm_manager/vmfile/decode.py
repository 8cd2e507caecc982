"""Nodes → definitions: names, types and ranges. Every problem is noted, and none hides another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.names import closest, is_vm_name
from vm_manager.domain.spec import Accelerator, NetworkMode, ProvisionerKind
from vm_manager.vmfile.definition import (
    CloudInitDefinition,
    Located,
    ProvisionDefinition,
    SshDefinition,
    Text,
    VmDefinition,
)
from vm_manager.vmfile.nodes import Node, Value
from vm_manager.vmfile.problems import Problems

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)

_KIB = 1024
_MIB = _KIB**2
_GIB = _KIB**3
_UNITS = {"KiB": _KIB, "MiB": _MIB, "GiB": _GIB, "TiB": 1024**4, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d{1,9})\s*([A-Za-z]+)")
_MAX_VCPUS = 512
_MAX_MEMORY_MIB = 16 * _MIB
_MAX_DISK_BYTES = 64 * 1024 * _GIB
_MAX_BOOT_TIMEOUT_S = 24 * 3600
_MAX_HOSTNAME = 253

# Words of the language whose runtime is still to come: refused by name, so that nothing is silently left out.
_VM_LATER = ("arch", "firmware", "depends-on", "drive", "mount")
_NETWORK_LATER = ("tap", "vnic")


def decode(nodes: Sequence[Node], problems: Problems) -> tuple[VmDefinition, ...]:
    """The definitions of a document's vm blocks; what is wrong goes to `problems`."""
    reader = _Reader(problems)
    definitions, seen = [], dict[str, Span]()
    for node in nodes:
        if node.name != "vm":
            reader.unknown(node, ("vm",), "at the top of a VMFile")
            continue
        definition = reader.vm(node)
        if definition is None:
            continue
        name = definition.name
        if name.value in seen:
            problems.add(
                name.span, f"the VM '{name.value}' is defined twice", "again here", "give one of the two another name",
                related=((seen[name.value], "first here"),),
            )  # fmt: skip
        seen.setdefault(name.value, name.span)
        definitions.append(definition)
    if not nodes:
        problems.add(
            Span(0, 0), "there is no vm in the file", "nothing here", 'write a block: vm "web" { image "disk.qcow2" }'
        )
    return tuple(definitions)


class _Fields:
    """The children of a block by name: which may stand, which may stand once."""

    def __init__(
        self, reader: _Reader, node: Node, known: Sequence[str], *, later: Sequence[str] = (), many: str = ""
    ) -> None:
        self._reader = reader
        self._first: dict[str, Node] = {}
        self.many: list[Node] = []
        for child in node.children:
            if child.name in later:
                reader.later(child.name_span, f"`{child.name}`")
            elif child.name not in known:
                reader.unknown(child, tuple(known), f"in a {node.name} block")
            elif child.name == many:
                self.many.append(child)
            elif child.name in self._first:
                reader.twice(child, self._first[child.name])
            else:
                self._first[child.name] = child

    def has(self, name: str) -> bool:
        """Whether a child of that name was written, be it right or wrong."""
        return name in self._first

    def get(self, name: str, decode: Callable[[Node], _T | None]) -> _T | None:
        """The decoded child of that name, or None when it is missing or wrong."""
        return decode(self._first[name]) if name in self._first else None


class _Reader:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    # Blocks

    def vm(self, node: Node) -> VmDefinition | None:
        name = self.text(node, block=True)
        known = (
            "image", "image-url", "vcpus", "memory", "disk", "accel", "cpu", "boot-timeout", "network", "cloud-init", "ssh",
            "provision",
        )  # fmt: skip
        fields = _Fields(self, node, known, later=_VM_LATER, many="provision")
        provisioners = [self.provision(child) for child in fields.many]
        definition = VmDefinition(
            name=name or Located("", node.name_span),
            span=node.name_span,
            has_image=fields.has("image") or fields.has("image-url"),
            image=fields.get("image", self.text),
            image_url=fields.get("image-url", self.text),
            vcpus=fields.get("vcpus", lambda child: self.integer(child, 1, _MAX_VCPUS)),
            memory_mib=fields.get("memory", self._memory),
            disk_bytes=fields.get("disk", self._disk),
            accelerator=fields.get("accel", lambda child: self.word(child, Accelerator)),
            cpu=fields.get("cpu", self.text),
            boot_timeout_s=fields.get("boot-timeout", lambda child: self.integer(child, 1, _MAX_BOOT_TIMEOUT_S)),
            network=fields.get("network", self.network),
            cloud_init=fields.get("cloud-init", self.cloud_init),
            ssh=fields.get("ssh", self.ssh),
            provisioners=tuple(provisioner for provisioner in provisioners if provisioner),
        )
        if name is None:
            return None
        if not is_vm_name(name.value):
            self._problems.add(
                name.span, f"'{name.value}' cannot be the name of a VM", "not a host name",
                "use letters, digits and inner hyphens, 63 characters at most: the name becomes the host name",
            )  # fmt: skip
            return None
        return definition

    def network(self, node: Node) -> Located[NetworkMode] | None:
        if node.arguments and node.arguments[0].value in _NETWORK_LATER:
            self.later(node.arguments[0].span, f'`network "{node.arguments[0].value}"`')
            return None
        for child in node.children:
            self.later(child.name_span, f"`{child.name}` in a network block")
        for entry in node.properties:
            self.later(entry.span, f"`{entry.key}=` of a network")
        return self.word(replace(node, properties=()), NetworkMode, block=True)

    def cloud_init(self, node: Node) -> CloudInitDefinition:
        self._no_arguments(node)
        fields = _Fields(self, node, ("hostname", "ssh-key", "user-data"), later=("network-config", "on-error"))
        return CloudInitDefinition(
            hostname=fields.get("hostname", self.hostname),
            ssh_key=fields.get("ssh-key", self.text),
            user_data=fields.get("user-data", self.text),
        )

    def ssh(self, node: Node) -> SshDefinition:
        self._no_arguments(node)
        fields = _Fields(self, node, ("user", "private-key", "port"))
        return SshDefinition(
            user=fields.get("user", self.text),
            private_key=fields.get("private-key", self.text),
            port=fields.get("port", lambda child: self.integer(child, 1, 65535)),
        )

    def provision(self, node: Node) -> ProvisionDefinition | None:
        kind = self.word(node, ProvisionerKind, block=True)
        if kind is None:
            return None
        shell = kind.value is ProvisionerKind.SHELL
        known, later = (
            (("inline", "script"), ("env", "run")) if shell else (("source", "destination"), ("mode", "owner"))
        )
        fields = _Fields(self, node, known, later=later)
        definition = ProvisionDefinition(
            kind=kind,
            span=node.name_span.to(kind.span),
            inline=fields.get("inline", self.text),
            script=fields.get("script", self.text),
            source=fields.get("source", self.text),
            destination=fields.get("destination", self.text),
        )
        self._complete(definition, {child.name: child.name_span for child in node.children})
        return definition

    def _complete(self, step: ProvisionDefinition, given: Mapping[str, Span]) -> None:
        if step.kind.value is ProvisionerKind.FILE:
            for name in ("source", "destination"):
                if name not in given:
                    self._problems.add(
                        step.span, f"a file provisioner without {name}", f"no {name}", f'add a line: {name} "…"'
                    )
        elif "inline" in given and "script" in given:
            self._problems.add(
                given["script"], "a shell provisioner with both inline and script", "one too many",
                "make two provision blocks of it", related=((given["inline"], "the other one"),),
            )  # fmt: skip
        elif "inline" not in given and "script" not in given:
            self._problems.add(
                step.span, "a shell provisioner without anything to run", "neither inline nor script",
                'add a line: inline "command", or: script "setup.sh"',
            )  # fmt: skip

    # Values

    def text(self, node: Node, *, block: bool = False) -> Text | None:
        """The one argument of a node, a string that is not empty."""
        value = self._argument(node, "a string", block=block)
        if value is None:
            return None
        if not isinstance(value.value, str):
            written = self._problems.source.text[value.span.start : value.span.end].lstrip("#")
            self._wrong_type(node, value, "a string", f'put it in quotes: {node.name} "{written}"')
            return None
        if not value.value or "\0" in value.value:
            self._problems.add(value.span, f"`{node.name}` needs a text", "empty", f'write it: {node.name} "…"')
            return None
        return Located(value.value, value.span)

    def hostname(self, node: Node) -> Text | None:
        """The one argument of a node, a host name of one or several labels."""
        text = self.text(node)
        if text is None or (len(text.value) <= _MAX_HOSTNAME and all(map(is_vm_name, text.value.split(".")))):
            return text
        self._problems.add(
            text.span, f"`{node.name}` cannot be that", "not a host name",
            "use letters, digits and inner hyphens, in labels with dots between them",
        )  # fmt: skip
        return None

    def word(self, node: Node, words: type[_E], *, block: bool = False) -> Located[_E] | None:
        """The one argument of a node, one of a few words."""
        text = self.text(node, block=block)
        if text is None:
            return None
        if text.value in list(words):
            return Located(words(text.value), text.span)
        near = closest(text.value, tuple(words))
        self._problems.add(
            text.span, f"`{node.name}` cannot be '{text.value}'", "not one of the words",
            _did_you_mean(near, tuple(words)), instead=f'"{near}"' if near else None,
        )  # fmt: skip
        return None

    def integer(self, node: Node, low: int, high: int) -> Located[int] | None:
        """The one argument of a node, a whole number within bounds."""
        value = self._argument(node, "a whole number")
        if value is None:
            return None
        if isinstance(value.value, bool) or not isinstance(value.value, int):
            self._wrong_type(node, value, "a whole number", f"write digits: {node.name} {low * 2 if low < 10 else low}")
            return None
        return self._bounded(node, value, value.value, low, high)

    def size(self, node: Node, unit: int, low: int, high: int) -> Located[int] | None:
        """The one argument of a node, a size in bytes: a number of `unit` bytes, or a text with a unit of its own.

        low, high: bounds, in bytes.
        """
        value = self._argument(node, "a size")
        if value is None:
            return None
        match = _SIZE.fullmatch(value.value.strip()) if isinstance(value.value, str) else None
        if isinstance(value.value, int) and not isinstance(value.value, bool):
            size = value.value * unit
        elif match is not None and match[2] in _UNITS:
            size = int(match[1]) * _UNITS[match[2]]
        else:
            self._wrong_type(node, value, "a size", f'write a number, or a text such as {node.name} "2GiB"')
            return None
        return self._bounded(node, value, size, low, high, _shown_size)

    def _memory(self, node: Node) -> Located[int] | None:
        size = self.size(node, _MIB, 16 * _MIB, _MAX_MEMORY_MIB * _MIB)
        return Located(size.value // _MIB, size.span) if size else None

    def _disk(self, node: Node) -> Located[int] | None:
        return self.size(node, _GIB, _MIB, _MAX_DISK_BYTES)

    def _bounded(
        self, node: Node, value: Value, number: int, low: int, high: int, show: Callable[[int], str] = str
    ) -> Located[int] | None:
        if low <= number <= high:
            return Located(number, value.span)
        side, bound, limit = ("small", low, "least") if number < low else ("large", high, "most")
        self._problems.add(
            value.span, f"`{node.name}` is too {side}", f"too {side}", f"write {show(bound)} at the {limit}"
        )
        return None

    def _argument(self, node: Node, what: str, *, block: bool = False) -> Value | None:
        """The one argument of a node that may have no more than that, and a block only where that is expected."""
        for extra in node.arguments[1:]:
            self._problems.add(extra.span, f"`{node.name}` takes one value", "one too many", "remove it")
        self._no_properties(node, block=block)
        if not block and node.has_block:
            self._problems.add(node.name_span, f"`{node.name}` takes no block", "has a block", "remove the braces")
        if not node.arguments:
            self._problems.add(
                node.name_span, f"`{node.name}` without a value", f"{what} is missing behind it",
                f'write it behind the name: {node.name} {"…" if "number" in what else chr(34) + "…" + chr(34)}',
            )  # fmt: skip
            return None
        return node.arguments[0]

    def _no_properties(self, node: Node, *, block: bool) -> None:
        for entry in node.properties:
            help = f"write it into the block, as a line of its own: {entry.key} …" if block else "remove it"
            message = f"`{node.name}` has no property `{entry.key}`"
            self._problems.add(entry.span, message, "not expected", help)

    def _no_arguments(self, node: Node) -> None:
        self._no_properties(node, block=True)
        for extra in node.arguments:
            self._problems.add(
                extra.span, f"`{node.name}` takes no value", "not expected", f"write {node.name} {{ … }}"
            )

    # Problems

    def unknown(self, node: Node, known: tuple[str, ...], where: str) -> None:
        near = closest(node.name, known)
        message = f"unknown `{node.name}` {where}"
        self._problems.add(node.name_span, message, "not known here", _did_you_mean(near, known), instead=near)

    def later(self, span: Span, what: str) -> None:
        self._problems.add(span, f"{what} does not work in this version of vmctl yet", "not yet", "remove it for now")

    def twice(self, node: Node, first: Node) -> None:
        self._problems.add(
            node.name_span, f"`{node.name}` is given twice", "again here", "remove one of the two",
            related=((first.name_span, "first here"),),
        )  # fmt: skip

    def _wrong_type(self, node: Node, value: Value, wanted: str, help: str) -> None:
        article = "an" if value.type_name.startswith("i") else "a"
        found = "a fraction" if isinstance(value.value, (Decimal, float)) else f"{article} {value.type_name}"
        self._problems.add(value.span, f"`{node.name}` is {wanted}", f"this is {found}", help)


def _shown_size(size: int) -> str:
    return f"{size // _GIB} GiB" if size >= _GIB else f"{size // _MIB} MiB"


def _did_you_mean(near: str | None, known: tuple[str, ...]) -> str:
    return f"did you mean `{near}`?" if near else f"write one of: {', '.join(known)}"
