"""vmctl's library: virtual machines from VMFiles, with diagnostics.

`Manager` is the connection: one per data directory. Failures are `VmError`s; their value is `VmError.diagnostic`. Everything that
the methods of `Manager` take, return and raise is here, too; docs/library.md shows how it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_manager.app.arguments import Names, StrPath
    from vm_manager.app.errors import ErrorHandler, last_error, reset_last_error, set_error_handler
    from vm_manager.app.fleet import raise_for_failure
    from vm_manager.app.images import Pruned, Pulled
    from vm_manager.app.log import Log, LogLine, Silence
    from vm_manager.app.manager import Manager
    from vm_manager.app.options import NewVm
    from vm_manager.app.up import UpOptions
    from vm_manager.diagnostics.errors import (
        AuthFailed,
        BackendNotAvailable,
        BaseChanged,
        BaseMissing,
        BootFailed,
        BootTimeout,
        BridgeMissing,
        Bug,
        ChecksumMismatch,
        CloudInitFailed,
        ConflictError,
        ConversionFailed,
        CreateImageNotFound,
        CreateInvalidMemory,
        CreateInvalidVcpus,
        CreateNameExists,
        CreateNoImage,
        DiskFull,
        DownloadFailed,
        FormatDetectionFailed,
        GuestError,
        GuestPanicked,
        HostError,
        HostExhausted,
        HostKeyMismatch,
        ImageError,
        ImageRefused,
        ImageTooLarge,
        Interrupted,
        InvalidState,
        IoFailed,
        IpDiscoveryTimeout,
        KeygenFailed,
        KvmUnusable,
        MachineGone,
        MachineStopped,
        MigrationFailed,
        MissingFirmware,
        MissingTool,
        MountFailed,
        NoKey,
        NoSandbox,
        NoShell,
        NotFoundError,
        OciPullFailed,
        OverlayCreationFailed,
        Partial,
        PartialError,
        PermissionDenied,
        PortInUse,
        PortUnavailable,
        PropolisRequestFailed,
        PropolisUnreachable,
        ProvisionError,
        ProvisionFailed,
        QemuError,
        QemuExited,
        QemuInternalError,
        QemuIoError,
        QemuJobFailed,
        QemuSpawnFailed,
        QmpCommandFailed,
        QmpConnectFailed,
        RemoteError,
        SeedError,
        SeedIsoFailed,
        ShareLost,
        SshError,
        SshFailed,
        StateCorrupt,
        StateError,
        StateForeign,
        StateLocked,
        StateUntrusted,
        Usage,
        UsageError,
        VmError,
        VmFileError,
        VmFileInvalid,
        VmFileNotFound,
        VmFileParseFailed,
        VmFileUntrusted,
        VmForeign,
        VmNotFound,
        VmStray,
    )
    from vm_manager.diagnostics.model import (
        Applicability,
        Cause,
        Diagnostic,
        Edit,
        Evidence,
        Fault,
        Kind,
        Label,
        Severity,
        Suggestion,
    )
    from vm_manager.diagnostics.registry import Code, register_code
    from vm_manager.diagnostics.spans import Source, Span
    from vm_manager.diagnostics.subject import Subject
    from vm_manager.domain.architecture import Architecture
    from vm_manager.domain.capabilities import Feature
    from vm_manager.domain.deadline import CancelToken
    from vm_manager.domain.events import (
        Event,
        EventSink,
        GuestOutput,
        Noticed,
        PhaseReached,
        Progressed,
        StepFailed,
        StepFinished,
        StepStarted,
        Stream,
        Warned,
    )
    from vm_manager.domain.image import CachedImage, ImageOrigin, ImageReport
    from vm_manager.domain.instance import (
        Acceleration,
        BaseImage,
        Confinement,
        Endpoint,
        Instance,
        InstanceRecord,
        LastFailure,
        Observation,
        Progress,
        SandboxKind,
        Snapshot,
        VmState,
    )
    from vm_manager.domain.network import Forward, Network, NetworkMode, Peer, Transport
    from vm_manager.domain.outcome import Done, Outcome
    from vm_manager.domain.plan import Action, Operation, Plan, Totals, WaitFor
    from vm_manager.domain.share import Mount, ShareType
    from vm_manager.domain.spec import (
        Accelerator,
        CloudInit,
        Drive,
        Firmware,
        ImageSource,
        OnError,
        Provisioner,
        ProvisionerKind,
        SshAccess,
        VmSpec,
    )
    from vm_manager.ui.outcomes import announce, describe
    from vm_manager.ui.render import render
    from vm_manager.vmfile.blocks import Later
    from vm_manager.vmfile.load import Project

__all__ = [
    "Acceleration", "Accelerator", "Action", "Applicability", "Architecture", "AuthFailed", "BackendNotAvailable", "BaseChanged",
    "BaseImage", "BaseMissing", "BootFailed", "BootTimeout", "BridgeMissing", "Bug", "CachedImage", "CancelToken", "Cause",
    "ChecksumMismatch", "CloudInit", "CloudInitFailed", "Code", "Confinement", "ConflictError", "ConversionFailed",
    "CreateImageNotFound", "CreateInvalidMemory", "CreateInvalidVcpus", "CreateNameExists", "CreateNoImage", "Diagnostic",
    "DiskFull", "Done", "DownloadFailed", "Drive", "Edit", "Endpoint", "ErrorHandler", "Event", "EventSink", "Evidence",
    "Fault", "Feature", "Firmware", "FormatDetectionFailed", "Forward", "GuestError", "GuestOutput", "GuestPanicked",
    "HostError", "HostExhausted", "HostKeyMismatch", "ImageError", "ImageOrigin", "ImageRefused", "ImageReport",
    "ImageSource", "ImageTooLarge", "Instance", "InstanceRecord", "Interrupted", "InvalidState", "IoFailed",
    "IpDiscoveryTimeout", "KeygenFailed", "Kind", "KvmUnusable", "Label", "LastFailure", "Later", "Log", "LogLine",
    "MachineGone", "MachineStopped", "Manager", "MigrationFailed", "MissingFirmware", "MissingTool", "Mount", "MountFailed",
    "Names", "Network",
    "NetworkMode", "NewVm", "NoKey", "NoSandbox", "NoShell", "NotFoundError", "Noticed", "Observation", "OciPullFailed",
    "OnError", "Operation", "Outcome", "OverlayCreationFailed", "Partial", "PartialError", "Peer", "PermissionDenied",
    "PhaseReached", "Plan", "PortInUse", "PortUnavailable", "Progress", "Progressed", "Project",
    "PropolisRequestFailed", "PropolisUnreachable",
    "ProvisionError", "ProvisionFailed", "Provisioner", "ProvisionerKind", "Pruned", "Pulled", "QemuError", "QemuExited",
    "QemuInternalError", "QemuIoError", "QemuJobFailed", "QemuSpawnFailed", "QmpCommandFailed", "QmpConnectFailed",
    "RemoteError", "SandboxKind", "SeedError", "SeedIsoFailed", "Severity", "ShareLost", "ShareType",
    "Silence", "Snapshot", "Source", "Span",
    "SshAccess", "SshError", "SshFailed", "StateCorrupt", "StateError", "StateForeign", "StateLocked", "StateUntrusted",
    "StepFailed", "StepFinished", "StepStarted", "StrPath", "Stream", "Subject", "Suggestion", "Totals", "Transport",
    "UpOptions", "Usage", "UsageError", "VmError", "VmFileError", "VmFileInvalid", "VmFileNotFound", "VmFileParseFailed",
    "VmFileUntrusted", "VmForeign", "VmNotFound", "VmSpec", "VmState", "VmStray", "WaitFor", "Warned", "announce",
    "describe", "last_error", "raise_for_failure", "register_code", "render", "reset_last_error", "set_error_handler",
]  # fmt: skip

# By module, the names that are looked for in it.
_HOMES = {
    "vm_manager.app.arguments": "Names StrPath",
    "vm_manager.app.errors": "ErrorHandler last_error reset_last_error set_error_handler",
    "vm_manager.app.fleet": "raise_for_failure",
    "vm_manager.app.images": "Pruned Pulled",
    "vm_manager.app.log": "Log LogLine Silence",
    "vm_manager.app.manager": "Manager",
    "vm_manager.app.options": "NewVm",
    "vm_manager.app.up": "UpOptions",
    "vm_manager.diagnostics.errors": (
        "AuthFailed BackendNotAvailable BaseChanged BaseMissing BootFailed BootTimeout BridgeMissing Bug "
        "ChecksumMismatch CloudInitFailed ConflictError ConversionFailed CreateImageNotFound "
        "CreateInvalidMemory CreateInvalidVcpus CreateNameExists CreateNoImage DiskFull DownloadFailed "
        "FormatDetectionFailed GuestError GuestPanicked HostError HostExhausted HostKeyMismatch ImageError ImageRefused "
        "ImageTooLarge Interrupted InvalidState IoFailed IpDiscoveryTimeout KeygenFailed KvmUnusable "
        "MachineGone MachineStopped MigrationFailed MissingFirmware MissingTool MountFailed NoKey NoSandbox "
        "NoShell NotFoundError "
        "OciPullFailed OverlayCreationFailed Partial PartialError PermissionDenied PortInUse PortUnavailable "
        "PropolisRequestFailed PropolisUnreachable ProvisionError ProvisionFailed QemuError QemuExited "
        "QemuInternalError QemuIoError QemuJobFailed QemuSpawnFailed QmpCommandFailed QmpConnectFailed "
        "RemoteError SeedError SeedIsoFailed ShareLost SshError SshFailed StateCorrupt StateError StateForeign "
        "StateLocked StateUntrusted Usage UsageError VmError VmFileError VmFileInvalid VmFileNotFound "
        "VmFileParseFailed VmFileUntrusted VmForeign VmNotFound VmStray"
    ),
    "vm_manager.diagnostics.model": "Applicability Cause Diagnostic Edit Evidence Fault Kind Label Severity Suggestion",
    "vm_manager.diagnostics.registry": "Code register_code",
    "vm_manager.diagnostics.spans": "Source Span",
    "vm_manager.diagnostics.subject": "Subject",
    "vm_manager.domain.capabilities": "Feature",
    "vm_manager.domain.deadline": "CancelToken",
    "vm_manager.domain.events": (
        "Event EventSink GuestOutput Noticed PhaseReached Progressed StepFailed StepFinished StepStarted Stream Warned"
    ),
    "vm_manager.domain.architecture": "Architecture",
    "vm_manager.domain.image": "CachedImage ImageOrigin ImageReport",
    "vm_manager.domain.instance": (
        "Acceleration BaseImage Confinement Endpoint Instance InstanceRecord LastFailure Observation Progress "
        "SandboxKind Snapshot VmState"
    ),
    "vm_manager.domain.outcome": "Done Outcome",
    "vm_manager.domain.plan": "Action Operation Plan Totals WaitFor",
    "vm_manager.domain.network": "Forward Network NetworkMode Peer Transport",
    "vm_manager.domain.share": "Mount ShareType",
    "vm_manager.domain.spec": (
        "Accelerator CloudInit Drive Firmware ImageSource OnError Provisioner ProvisionerKind SshAccess VmSpec"
    ),
    "vm_manager.ui.outcomes": "announce describe",
    "vm_manager.ui.render": "render",
    "vm_manager.vmfile.blocks": "Later",
    "vm_manager.vmfile.load": "Project",
}


if not TYPE_CHECKING:  # to a type checker, a name that is not above is a mistake

    def __getattr__(name: str) -> object:
        """Import what is asked for: a command line that only shows its help must not load all of it (PEP 562)."""
        for home, names in _HOMES.items():
            if name in names.split():
                value = globals()[name] = getattr(import_module(home), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
