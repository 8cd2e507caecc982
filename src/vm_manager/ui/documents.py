"""The JSON documents of `--json`: versioned, snake_case, units in the names."""

from __future__ import annotations

import json
from collections.abc import Iterable

from vm_manager.diagnostics.model import Diagnostic, Evidence, Label
from vm_manager.domain.instance import Endpoint, Instance, LastFailure

SCHEMA = 1


def document(**fields: object) -> str:
    """One JSON document."""
    return json.dumps({"schema": SCHEMA, **fields}, indent=2, ensure_ascii=False)


def list_item(instance: Instance) -> dict[str, object]:
    """A VM in `vmctl list --json`."""
    record, observation = instance.record, instance.observation
    return {
        "name": instance.name,
        "state": instance.state.value,
        "backend": record.backend,
        "vcpus": record.spec.vcpus,
        "memory_mib": record.spec.memory_mib,
        "network": record.spec.network.value,
        "pid": observation.pid,
        "ssh": _ssh(observation.ssh, record.spec.access.user),
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
        "base_image": record.base_image.path,
        "disk_bytes": record.spec.disk_bytes,
        "ready": instance.alive and record.progress.ready,
        "provisioned_steps": record.progress.steps_done,
        "provisioners": len(record.spec.provisioners),
        "detail": observation.detail,
        "backend_data": dict(record.backend_data),
    }


def diagnostic_item(diagnostic: Diagnostic) -> dict[str, object]:
    """A diagnostic; lines and columns from 1, offsets in code points."""
    return {
        "code": diagnostic.code,
        "number": diagnostic.number,
        "severity": diagnostic.severity.value,
        "kind": diagnostic.kind.value,
        "fault": diagnostic.fault.value,
        "exit_code": diagnostic.exit_code,
        "message": diagnostic.message,
        "help": list(diagnostic.help),
        "notes": list(diagnostic.notes),
        "labels": [_label(label) for label in diagnostic.labels],
        "causes": [vars(cause) for cause in diagnostic.causes],
        "related": diagnostic_items(diagnostic.related),
        "evidence": [_evidence(evidence) for evidence in diagnostic.evidence],
        "vm": diagnostic.subject.vm,
        "operation": diagnostic.operation,
        "elapsed_s": diagnostic.elapsed_s,
        "timeout_s": diagnostic.timeout_s,
        "retryable": diagnostic.retryable,
    }


def diagnostic_items(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    """Several diagnostics."""
    return [diagnostic_item(diagnostic) for diagnostic in diagnostics]


def _label(label: Label) -> dict[str, object]:
    line, column = label.source.position(label.span.start)
    end_line, end_column = label.source.position(label.span.end)
    return {
        "source": label.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "start": label.span.start,
        "end": label.span.end,
        "text": label.text,
        "primary": label.primary,
    }


def _evidence(evidence: Evidence) -> dict[str, object]:
    return {**vars(evidence), "lines": list(evidence.lines)}


def _ssh(endpoint: Endpoint | None, user: str) -> dict[str, object] | None:
    return {"host": endpoint.host, "port": endpoint.port, "user": user} if endpoint else None


def _last_failure(failure: LastFailure | None) -> dict[str, object] | None:
    return {**vars(failure), "help": list(failure.help)} if failure else None
