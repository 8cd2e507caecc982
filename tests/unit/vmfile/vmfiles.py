"""VMFiles to test with, in a directory that has the files they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import VmFileError
from vm_manager.diagnostics.model import Diagnostic
from vm_manager.domain.spec import VmSpec
from vm_manager.vmfile.load import Project, load

# The least that a vm block needs; tests put their own lines behind it.
IMAGE = 'image "disk.qcow2"'

_FILES = {
    "disk.qcow2": b"disk",
    "setup.sh": b"#!/bin/sh\n",
    "nginx.conf": b"",
    "net.yaml": b"version: 2\n",
    "id.pub": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@here\n",
    "id": b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "user-data.yaml": b"#cloud-config\npackages: [nginx]\n",
}


@dataclass(frozen=True)
class Found:
    """A problem as a user sees it: what the labels mark, and what is said about it."""

    diagnostic: Diagnostic

    @property
    def code(self) -> str:
        return self.diagnostic.code

    @property
    def message(self) -> str:
        return self.diagnostic.message

    @property
    def help(self) -> tuple[str, ...]:
        return self.diagnostic.help

    @property
    def marked(self) -> list[str]:
        """The text under each label, the primary one first."""
        return [label.source.text[label.span.start : label.span.end] for label in self.diagnostic.labels]

    @property
    def labels(self) -> list[str]:
        return [label.text for label in self.diagnostic.labels]


def write(directory: Path, text: str | bytes) -> Path:
    """A directory with a VMFile and the files that VMFiles in these tests name; the VMFile's path."""
    for name, content in _FILES.items():
        (directory / name).write_bytes(content)
    (directory / "id").chmod(0o600)
    path = directory / "VMFile.kdl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return path


def loaded(directory: Path, text: str | bytes) -> Project:
    """The project of a VMFile that is right."""
    return load(write(directory, text), directory=directory)


def vm_of(directory: Path, body: str, *, head: str = 'vm "web"') -> VmSpec:
    """The only VM of a VMFile with an image and these lines."""
    (found,) = loaded(directory, f"{head} {{\n{IMAGE}\n{body}\n}}\n").specs
    return found


def problems(directory: Path, text: str | bytes) -> list[Found]:
    """The problems of a VMFile that is wrong, in the order in which they are reported."""
    path = write(directory, text)
    with pytest.raises(VmFileError) as caught:
        load(path, directory=directory)
    first = caught.value.diagnostic
    return [Found(first), *map(Found, first.related)]


def problem(directory: Path, body: str, *, head: str = 'vm "web"') -> Found:
    """The only problem of a VMFile with an image and these lines."""
    found = problems(directory, f"{head} {{\n{IMAGE}\n{body}\n}}\n")
    assert len(found) == 1, [one.message for one in found]
    return found[0]
