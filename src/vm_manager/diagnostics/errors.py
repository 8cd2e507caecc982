"""The exceptions: one base, one class per exit code, one leaf per code.

`except ImageError` catches everything about images, also what exits with another row's code, because such leaves
inherit from both. Programming errors (`AssertionError`, `TypeError` …) are never wrapped into these.

The value and the registry behind a failure are imported by the first one: a command that succeeds does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self, TypedDict, Unpack

if TYPE_CHECKING:
    from vm_manager.diagnostics.model import Cause, Diagnostic, Evidence, Label, Subject, Suggestion
    from vm_manager.diagnostics.registry import Code


class Details(TypedDict, total=False):
    """What a failure may carry beyond its message; see `Diagnostic` for the meaning of each."""

    help: tuple[str, ...]
    notes: tuple[str, ...]
    labels: tuple[Label, ...]
    suggestions: tuple[Suggestion, ...]
    related: tuple[Diagnostic, ...]
    evidence: tuple[Evidence, ...]
    subject: Subject
    operation: str
    elapsed_s: float
    timeout_s: float
    retryable: bool
    exit_code: int


class _Entry:
    """The registry's entry of a class that has a code."""

    def __get__(self, error: VmError | None, leaf: type[VmError]) -> Code:
        from vm_manager.diagnostics.registry import CODES

        code = getattr(leaf, "code", None)
        if code is None:
            raise LookupError(f"{leaf.__name__} has no code: raise a subclass that has one")
        if code not in CODES:
            raise LookupError(f"{code} is not registered: see register_code")
        return CODES[code]


class VmError(Exception):
    """Any diagnosed failure of vmctl; `diagnostic` is its value.

    code: of the registry; a subclass with a code of its own needs that registered, see `register_code`.
    template, args: the message, `"no VM is named '{name}'"` with `{"name": "web"}`.
    help: falls back to the registry's general advice, so that no failure is without.
    """

    code: ClassVar[str]
    entry = _Entry()

    def __init__(
        self, template: str, args: Mapping[str, str | int] | None = None, /, **details: Unpack[Details]
    ) -> None:
        from vm_manager.diagnostics.model import Diagnostic, Severity

        entry = self.entry
        details.setdefault("help", (entry.help,))
        details.setdefault("exit_code", entry.exit_code)
        self._diagnostic = Diagnostic(
            code=entry.code,
            number=entry.number,
            severity=Severity.ERROR,
            kind=entry.kind,
            fault=entry.fault,
            message=template.format(**(args or {})),
            template=template,
            args=args or {},
            **details,
        )
        super().__init__(self._diagnostic.message)

    @property
    def diagnostic(self) -> Diagnostic:
        """The failure as a value, with the causes it has been raised from."""
        if self._diagnostic.causes or self.__cause__ is None:
            return self._diagnostic
        return replace(self._diagnostic, causes=tuple(_causes(self.__cause__)))

    @property
    def exit_code(self) -> int:
        """The exit status of a command that ends with this failure."""
        return self._diagnostic.exit_code

    def enrich(self, **details: Unpack[Details]) -> Self:
        """Add what a caller further up knows, such as the subject; evidence, notes and labels are appended."""
        for name in ("evidence", "notes", "labels", "suggestions", "related"):
            if name in details:
                details[name] = getattr(self._diagnostic, name) + details[name]
        self._diagnostic = replace(self._diagnostic, **details)
        return self

    def told_of(self, name: str, instead: str) -> Self:
        """The same failure, whose message names one thing where it named another: a file before it gets its own name."""
        found = self._diagnostic
        args = {key: instead if value == name else value for key, value in found.args.items()}
        self._diagnostic = replace(found, args=args, message=found.template.format(**args))
        return self

    def as_warning(self) -> Diagnostic:
        """The same finding as a warning, which never changes the exit status."""
        from vm_manager.diagnostics.model import Severity

        return replace(self.diagnostic, severity=Severity.WARNING, exit_code=0)

    def explained(self) -> Self:
        """Have Python show the help and the code below the message where nobody catches it (PEP 678); again does nothing."""
        from vm_manager.diagnostics.advice import advice

        for line in advice(self._diagnostic):
            if line not in getattr(self, "__notes__", ()):
                self.add_note(line)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with the message alone, and pickle drops __cause__.
        notes = getattr(self, "__notes__", None)
        return _rebuild, (type(self), self.diagnostic), {"__notes__": [*notes]} if notes else None


def _rebuild(cls: type[VmError], diagnostic: Diagnostic) -> VmError:
    error = cls.__new__(cls)
    Exception.__init__(error, diagnostic.message)
    error._diagnostic = diagnostic
    return error


def _causes(error: BaseException | None) -> Iterable[Cause]:
    from vm_manager.diagnostics.model import Cause
    from vm_manager.diagnostics.redact import redact

    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        code = error.code if isinstance(error, VmError) else None
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, OSError) and error.filename:
            text = f"{text}: {error.filename}"
        yield Cause(type(error).__name__, redact(text), code, number)
        error = error.__cause__


# fmt: off
# One class per exit code.
class PartialError(VmError): """Exit 1: several VMs failed for different reasons."""
class UsageError(VmError): """Exit 2: the command line."""
class VmFileError(VmError): """Exit 3: the VMFile."""
class NotFoundError(VmError): """Exit 4: a VM or file that does not exist."""
class ConflictError(VmError): """Exit 5: not now, or not yours."""
class HostError(VmError): """Exit 6: this machine."""
class QemuError(VmError): """Exit 7: QEMU."""
class ImageError(VmError): """Exit 8: disk images."""
class RemoteError(VmError): """Exit 9: a server elsewhere."""
class GuestError(VmError): """Exit 10: inside the guest."""
class SshError(VmError): """Exit 11: reaching the guest."""
class ProvisionError(VmError): """Exit 12: provisioning."""
class SeedError(VmError): """Exit 13: the cloud-init seed."""
class StateError(VmError): """Exit 14: vmctl's own files."""


# What the machine of any hypervisor can come to, beside the exit code: callers need not know the hypervisor.
class MachineGone(VmError): """The machine has ended."""
class MachineStopped(VmError): """The machine is powered on, and stands still after an error."""


# One leaf per code; their meanings are in the registry.
class QemuSpawnFailed(QemuError): code = "vm_manager::qemu::spawn_failed"
class QmpConnectFailed(QemuError): code = "vm_manager::qemu::qmp_connect_failed"
class QmpCommandFailed(QemuError): code = "vm_manager::qemu::qmp_command_failed"
class OverlayCreationFailed(ImageError): code = "vm_manager::image::overlay_creation_failed"
class IpDiscoveryTimeout(GuestError): code = "vm_manager::network::ip_discovery_timeout"
class PropolisUnreachable(RemoteError): code = "vm_manager::propolis::unreachable"
class SeedIsoFailed(SeedError): code = "vm_manager::cloudinit::iso_failed"
class SshFailed(SshError): code = "vm_manager::ssh::failed"
class KeygenFailed(SshError): code = "vm_manager::ssh::keygen_failed"
class DownloadFailed(RemoteError, ImageError): code = "vm_manager::image::download_failed"
class FormatDetectionFailed(ImageError): code = "vm_manager::image::format_detection_failed"
class ConversionFailed(ImageError): code = "vm_manager::image::conversion_failed"
class VmNotFound(NotFoundError): code = "vm_manager::vm::not_found"
class InvalidState(ConflictError): code = "vm_manager::vm::invalid_state"
class BackendNotAvailable(HostError): code = "vm_manager::backend::not_available"
class VmFileNotFound(VmFileError): code = "vm_manager::vmfile::not_found"
class VmFileParseFailed(VmFileError): code = "vm_manager::vmfile::parse_failed"
class VmFileInvalid(VmFileError): code = "vm_manager::vmfile::validation"
class ProvisionFailed(ProvisionError): code = "vm_manager::provision::failed"
class IoFailed(StateError): code = "vm_manager::io"
class Usage(UsageError): code = "vmctl::usage"
class Partial(PartialError): code = "vmctl::partial"
class Interrupted(VmError): code = "vmctl::interrupted"
class Bug(VmError): code = "vmctl::bug"
class VmForeign(ConflictError): code = "vm_manager::vm::foreign"
class StateLocked(ConflictError): code = "vm_manager::state::locked"
class StateCorrupt(StateError): code = "vm_manager::state::corrupt"
class MissingTool(HostError): code = "vm_manager::host::missing_tool"
class KvmUnusable(HostError): code = "vm_manager::host::kvm_unusable"
class DiskFull(HostError): code = "vm_manager::host::disk_full"
class PermissionDenied(HostError): code = "vm_manager::host::permission_denied"
class QemuExited(QemuError, MachineGone): code = "vm_manager::qemu::exited"
class BootTimeout(GuestError): code = "vm_manager::guest::boot_timeout"
class CloudInitFailed(GuestError): code = "vm_manager::cloudinit::failed"
class AuthFailed(SshError): code = "vm_manager::ssh::auth_failed"
class HostKeyMismatch(SshError): code = "vm_manager::ssh::host_key_mismatch"
class NoKey(SshError): code = "vm_manager::ssh::no_key"
class ImageRefused(ImageError): code = "vm_manager::image::refused"
class BaseMissing(ImageError): code = "vm_manager::image::base_missing"
class BaseChanged(ImageError): code = "vm_manager::image::base_changed"
class OciPullFailed(RemoteError): code = "vm_manager::oci::pull_failed"
class CreateInvalidVcpus(UsageError): code = "vmctl::create::invalid_vcpus"
class CreateInvalidMemory(UsageError): code = "vmctl::create::invalid_memory"
class CreateNoImage(UsageError): code = "vmctl::create::no_image"
class CreateImageNotFound(NotFoundError): code = "vmctl::create::image_not_found"
class CreateNameExists(ConflictError): code = "vmctl::create::name_exists"
class MissingFirmware(HostError): code = "vm_manager::host::missing_firmware"
class PortInUse(HostError): code = "vm_manager::network::port_in_use"
class PortUnavailable(HostError): code = "vm_manager::network::port_unavailable"
class BridgeMissing(HostError): code = "vm_manager::network::bridge_missing"
class QemuJobFailed(QemuError): code = "vm_manager::qemu::job_failed"
class MigrationFailed(QemuError): code = "vm_manager::qemu::migration_failed"
class QemuIoError(QemuError, MachineStopped): code = "vm_manager::qemu::io_error"
class ChecksumMismatch(ImageError): code = "vm_manager::image::checksum_mismatch"
class PropolisRequestFailed(RemoteError): code = "vm_manager::propolis::request_failed"
class BootFailed(GuestError): code = "vm_manager::guest::boot_failed"
class QemuInternalError(QemuError, MachineStopped): code = "vm_manager::qemu::internal_error"
class GuestPanicked(GuestError, MachineStopped): code = "vm_manager::guest::panicked"
class NoSandbox(HostError): code = "vm_manager::host::no_sandbox"
class ImageTooLarge(ImageError): code = "vm_manager::image::too_large"
class VmFileUntrusted(VmFileError): code = "vm_manager::vmfile::untrusted"
class StateUntrusted(StateError): code = "vm_manager::state::untrusted"
class StateForeign(StateError): code = "vm_manager::state::foreign"
class NoShell(SshError): code = "vm_manager::ssh::no_shell"
class VmStray(ConflictError): code = "vm_manager::vm::stray"
class HostExhausted(HostError): code = "vm_manager::host::exhausted"
class MountFailed(GuestError): code = "vm_manager::guest::mount_failed"
class ShareLost(QemuError, MachineStopped): code = "vm_manager::qemu::share_lost"
# fmt: on
