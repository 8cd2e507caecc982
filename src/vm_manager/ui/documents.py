"""The JSON documents of `--json`: versioned, snake_case, units in the names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vm_manager.diagnostics.model import Diagnostic, Evidence, Label, Suggestion
from vm_manager.diagnostics.registry import Code
from vm_manager.diagnostics.safe_text import safe_json
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.instance import Endpoint, Instance, LastFailure, Snapshot

if TYPE_CHECKING:
    from vm_manager.domain.network import Forward
    from vm_manager.domain.outcome import Outcome
    from vm_manager.domain.plan import Operation

SCHEMA = 1


def document(**fields: object) -> str:
    """One JSON document."""
    return safe_json(json.dumps({"schema": SCHEMA, **fields}, indent=2, ensure_ascii=False))


def list_item(instance: Instance) -> dict[str, object]:
    """A VM in `vmctl list --json`."""
    record, observation = instance.record, instance.observation
    return {
        "name": instance.name,
        "state": instance.state.value,
        "backend": record.backend,
        "accelerator": _acceleration(instance),
        "vcpus": record.spec.vcpus,
        "memory_mib": record.spec.memory_mib,
        "network": record.spec.network_words,
        "pid": observation.pid,
        "ssh": _ssh(observation.ssh, record.spec.access.user),
        "forwards": [_forward(forward) for forward in observation.forwards or record.spec.forwards],
        "last_failure": _last_failure(instance.last_failure),
    }


def status_item(instance: Instance) -> dict[str, object]:
    """A VM in `vmctl status --json`: the same and more."""
    record, observation = instance.record, instance.observation
    return {
        **list_item(instance),
        "origin": record.origin,
        "instance_id": record.instance_id,
        "created_at": record.created_at,
        "home": instance.home,
        "arch": record.spec.arch.value,
        "sandbox": _confinement(instance),
        "base_image": record.base_image.path,
        "networks": [
            {
                "mode": it.mode.value,
                "name": it.name,
                "bridge": it.bridge,
                "address": it.address,
                "mac": instance.macs[number] if instance.macs else it.mac,
            }
            for number, it in enumerate(record.spec.networks)
        ],
        "isolated": record.spec.isolated,
        "disk_bytes": record.spec.disk_bytes,
        "firmware": record.spec.firmware.value,
        "drives": [{"name": it.name, "size_bytes": instance.drives.get(it.name)} for it in record.spec.drives],
        "mounts": [
            {
                "source": it.source,
                "target": it.target,
                "read_only": it.read_only,
                "tag": it.tag,
                "type": instance.share_type.value if instance.share_type else None,
            }
            for it in record.spec.mounts
        ],
        "ready": instance.ready,
        "provisioned_steps": len(record.progress.done),
        "provisioners": len(record.spec.provisioners),
        "saved_to_disk": observation.saved,
        "detail": observation.detail,
        "backend_data": dict(record.backend_data),
    }


def port_items(instance: Instance) -> list[dict[str, object]]:
    """The ports in `vmctl port --json`."""
    return [_forward(forward) for forward in instance.ports]


def snapshot_item(vm: str, snapshot: Snapshot) -> dict[str, object]:
    """A snapshot in `vmctl snapshot list --json`."""
    return {"vm": vm, **vars(snapshot), "without": list(snapshot.without), "detached": list(snapshot.detached)}


def outcome_item(outcome: Outcome, phases: Iterable[dict[str, object]]) -> dict[str, object]:
    """How the work on a VM ended. phases: the steps that it took, with their durations."""
    from vm_manager.ui.outcomes import describe

    return {
        "name": outcome.vm,
        "outcome": describe(outcome),
        "phases": list(phases),
        "diagnostic": diagnostic_item(outcome.error.diagnostic) if outcome.error else None,
    }


def operation_item(operation: Operation, source: Source) -> dict[str, object]:
    """An operation of a plan, with the line of the VMFile that wants it."""
    return {
        "vm": operation.vm,
        "action": operation.action.value,
        "cause": operation.cause,
        "file": source.name,
        "line": source.position(operation.span.start)[0] if operation.span else None,
    }


def diagnostic_item(diagnostic: Diagnostic) -> dict[str, object]:
    """A diagnostic; lines and columns from 1, offsets in code points."""
    return {
        "code": diagnostic.code,
        "number": diagnostic.number,
        "domain": diagnostic.domain,
        "severity": diagnostic.severity.value,
        "kind": diagnostic.kind.value,
        "fault": diagnostic.fault.value,
        "exit_code": diagnostic.exit_code,
        "message": diagnostic.message,
        "template": diagnostic.template,
        "args": dict(diagnostic.args),
        "help": list(diagnostic.help),
        "notes": list(diagnostic.notes),
        "url": diagnostic.url,
        "labels": [_label(label) for label in diagnostic.labels],
        "suggestions": [_suggestion(suggestion) for suggestion in diagnostic.suggestions],
        "causes": [vars(cause) for cause in diagnostic.causes],
        "related": diagnostic_items(diagnostic.related),
        "evidence": [_evidence(evidence) for evidence in diagnostic.evidence],
        "subject": vars(diagnostic.subject),
        "operation": diagnostic.operation,
        "elapsed_s": diagnostic.elapsed_s,
        "timeout_s": diagnostic.timeout_s,
        "retryable": diagnostic.retryable,
    }


def code_item(entry: Code) -> dict[str, object]:
    """A code in `vmctl explain --json`."""
    return {
        "code": entry.code,
        "number": entry.number,
        "exit_code": entry.exit_code,
        "kind": entry.kind.value,
        "fault": entry.fault.value,
        "meaning": entry.meaning,
        "causes": list(entry.causes),
        "help": entry.help,
        "since": entry.since,
    }


def diagnostic_items(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    """Several diagnostics."""
    return [diagnostic_item(diagnostic) for diagnostic in diagnostics]


def _label(label: Label) -> dict[str, object]:
    return {**_place(label.source, label.span), "text": label.text, "primary": label.primary}


def _suggestion(suggestion: Suggestion) -> dict[str, object]:
    return {
        "message": suggestion.message,
        "edits": [{**_place(edit.source, edit.span), "text": edit.text} for edit in suggestion.edits],
        "argv": list(suggestion.argv),
        "applicability": suggestion.applicability.value,
    }


def _place(source: Source, span: Span) -> dict[str, object]:
    line, column = source.position(span.start)
    end_line, end_column = source.position(span.end)
    return {
        "source": source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "start": span.start,
        "end": span.end,
    }


def _evidence(evidence: Evidence) -> dict[str, object]:
    return {**vars(evidence), "lines": list(evidence.lines)}


def _ssh(endpoint: Endpoint | None, user: str) -> dict[str, object] | None:
    return {"host": endpoint.host, "port": endpoint.port, "user": user} if endpoint else None


def _forward(forward: Forward) -> dict[str, object]:
    return {
        "protocol": forward.transport.value,
        "address": forward.address,
        "host_port": forward.host,
        "guest_port": forward.guest,
    }


def _acceleration(instance: Instance) -> dict[str, object] | None:
    found = instance.acceleration
    return {"name": found.accelerator.value, "reason": found.reason} if found else None


def _confinement(instance: Instance) -> dict[str, object] | None:
    found = instance.confinement
    return {"name": found.sandbox.value, "reason": found.reason} if found else None


def _last_failure(failure: LastFailure | None) -> dict[str, object] | None:
    if failure is None:
        return None
    return {**vars(failure), "help": list(failure.help), "evidence": [_evidence(item) for item in failure.evidence]}
