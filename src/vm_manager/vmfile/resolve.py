"""Definitions → specs: defaults filled in, paths made absolute, files that are named looked at. Reads, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import yaml

from vm_manager.domain.spec import (
    Accelerator,
    CloudInit,
    ImageSource,
    NetworkMode,
    Provisioner,
    ProvisionerKind,
    SshAccess,
    VmSpec,
)
from vm_manager.vmfile.definition import (
    CloudInitDefinition,
    Located,
    ProvisionDefinition,
    SshDefinition,
    Text,
    VmDefinition,
)
from vm_manager.vmfile.problems import Problems

_T = TypeVar("_T")
_D = TypeVar("_D")

_URL_SCHEMES = ("https", "http")


def resolve(definition: VmDefinition, directory: Path, problems: Problems) -> VmSpec | None:
    """The spec of a definition, or None when it has problems.

    directory: the VMFile's, which relative paths start from.
    """
    return _Resolver(directory, problems).vm(definition)


class _Resolver:
    def __init__(self, directory: Path, problems: Problems) -> None:
        self._directory, self._problems = directory, problems

    def vm(self, vm: VmDefinition) -> VmSpec | None:
        image = self._image(vm)
        spec = VmSpec(
            name=vm.name.value,
            image=image or ImageSource(),
            vcpus=_or(vm.vcpus, 1),
            memory_mib=_or(vm.memory_mib, 1024),
            disk_bytes=_or(vm.disk_bytes, None),
            accelerator=_or(vm.accelerator, Accelerator.AUTO),
            cpu=_or(vm.cpu, None),
            boot_timeout_s=_or(vm.boot_timeout_s, None),
            network=_or(vm.network, NetworkMode.USER),
            cloud_init=self._cloud_init(vm.cloud_init, vm.name.value) if vm.cloud_init else None,
            ssh=self._ssh(vm.ssh) if vm.ssh else None,
            provisioners=tuple(self._provisioner(step) for step in vm.provisioners),
            span=vm.span.to(vm.name.span),
        )
        if spec.network is NetworkMode.NONE and vm.network:
            for step in vm.provisioners:
                self._problems.add(
                    step.span, "a VM without network cannot be provisioned", "needs SSH",
                    'remove the block, or write: network "user"', related=((vm.network.span, "no network"),),
                )  # fmt: skip
        return spec if image else None

    def _image(self, vm: VmDefinition) -> ImageSource | None:
        if vm.image and vm.image_url:
            self._problems.add(
                vm.image_url.span, "a VM with both image and image-url", "one too many", "remove one of the two",
                related=((vm.image.span, "the other one"),),
            )  # fmt: skip
            return None
        if vm.image:
            return ImageSource(path=str(self._file(vm.image, "the image")))
        if vm.image_url:
            self._url(vm.image_url)
            return ImageSource(url=vm.image_url.value)
        if vm.has_image:
            return None
        self._problems.add(
            vm.span.to(vm.name.span), "a VM without an image", "neither image nor image-url",
            'add a line: image "disk.qcow2", or: image-url "https://…"',
        )  # fmt: skip
        return None

    def _url(self, url: Text) -> None:
        try:
            parts = urlsplit(url.value)
            good = parts.scheme in _URL_SCHEMES and bool(parts.hostname)
        except ValueError:
            good = False
        if not good:
            self._problems.add(
                url.span, "an image-url that vmctl cannot fetch", "not an http or https URL",
                'write a whole URL: image-url "https://…/disk.qcow2"',
            )  # fmt: skip

    def _cloud_init(self, block: CloudInitDefinition, name: str) -> CloudInit:
        return CloudInit(
            hostname=_or(block.hostname, name),
            ssh_key=str(self._file(block.ssh_key, "the public key", _public_key)) if block.ssh_key else None,
            user_data=str(self._file(block.user_data, "the user-data", _user_data)) if block.user_data else None,
        )

    def _ssh(self, block: SshDefinition) -> SshAccess:
        return SshAccess(
            user=_or(block.user, "vm"),
            private_key=str(self._file(block.private_key, "the private key")) if block.private_key else None,
            port=_or(block.port, 22),
        )

    def _provisioner(self, step: ProvisionDefinition) -> Provisioner:
        if step.destination and not step.destination.value.startswith("/"):
            self._problems.add(
                step.destination.span, "a destination that is not absolute", "does not begin with /",
                "write the whole path in the guest",
            )  # fmt: skip
        return Provisioner(
            kind=ProvisionerKind(step.kind.value),
            inline=_or(step.inline, None),
            script=str(self._file(step.script, "the script")) if step.script else None,
            source=str(self._file(step.source, "the source")) if step.source else None,
            destination=_or(step.destination, None),
            span=step.span,
        )

    def _file(self, text: Text, what: str, check: Callable[[bytes], str | None] | None = None) -> Path:
        """The absolute path that a text names; a regular file that can be read and that `check` finds nothing wrong with."""
        path = Path(text.value)
        problem: str | None
        try:
            path = Path(os.path.abspath(self._directory / path.expanduser()))
            if not path.is_file():
                problem = _what_instead(path)
            elif not os.access(path, os.R_OK):
                problem = "may not be read"
            else:
                problem = check(path.read_bytes()) if check else None
        except RuntimeError:
            problem = "is in the home directory of a user who does not exist"
        except OSError as error:
            problem = (error.strerror or "cannot be read").lower()
        if problem:
            self._problems.add(
                text.span, f"{what} {problem}", f"→ {path}",
                f"check the path; relative ones start from {self._directory}",
            )  # fmt: skip
        return path


def _what_instead(path: Path) -> str:
    if path.is_dir():
        return "is a directory"
    return "is not a regular file" if path.exists() else "does not exist"


def _public_key(content: bytes) -> str | None:
    if b"PRIVATE KEY" in content:
        return "is a private one: name the .pub file beside it"
    words = content.split()
    return None if len(words) >= 2 and words[1].startswith(b"AAAA") else "is not in OpenSSH's format"


def _user_data(content: bytes) -> str | None:
    """What cloud-init would not say: it ignores user-data that it cannot read and reports success."""
    try:
        text = content.decode()
        if text.startswith("#cloud-config"):
            document = yaml.safe_load(text)
            if document is not None and not isinstance(document, dict):
                return "is not a mapping"
    except UnicodeDecodeError:
        return None  # user-data may be compressed
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        return f"is not valid YAML at line {line}: {error.problem}"
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ):  # PyYAML lets the latter through for odd dates and deep nesting
        return "is not valid YAML"
    return None


def _or(located: Located[_T] | None, default: _D) -> _T | _D:
    return located.value if located else default
