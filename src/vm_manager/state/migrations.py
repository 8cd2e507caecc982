"""Records of older versions of vmctl, brought up to this one's form, step by step. Written back with the next change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vm_manager.domain.instance import RECORD_SCHEMA
from vm_manager.domain.spec import Provisioner
from vm_manager.state.decoding import convert

Plain = dict[str, Any]


def migrate(record: Plain) -> Plain:
    """A record of this version's schema, from one of any older schema. Raises: `ValueError` where there is no way."""
    while (schema := record.get("schema", 1)) != RECORD_SCHEMA:
        if schema not in _STEPS:
            raise ValueError(f"no way from schema {schema}")
        record = {**_STEPS[schema](record), "schema": schema + 1}
    return record


def _from_1(record: Plain) -> Plain:
    """Schema 2 remembers whether the guest has ever been ready: then its host key had been seen."""
    progress = record.get("progress", {})
    if not isinstance(progress, dict):
        raise ValueError("`progress` is not an object")
    return {**record, "progress": {**progress, "reached": progress.get("host_key_verified", False)}}


def _from_2(record: Plain) -> Plain:
    """Schema 3 knows steps by their words, where schema 2 counted them: those that are done are the first ones of the spec."""
    progress, spec = record.get("progress", {}), record.get("spec", {})
    if not isinstance(progress, dict) or not isinstance(spec, dict):
        raise ValueError("`progress` or `spec` is not an object")
    steps = convert(spec.get("provisioners", ()), tuple[Provisioner, ...])
    count = convert(progress.get("steps_done", 0), int)
    return {**record, "progress": {**progress, "done": [step.identity for step in steps[: max(0, count)]]}}


def _from_3(record: Plain) -> Plain:
    """Schema 4 has several networks, each with more than its mode."""
    spec = record.get("spec")
    if not isinstance(spec, dict):
        raise ValueError("`spec` is not an object")
    mode = spec.get("network", "user")
    networks = [] if mode == "none" else [{"mode": mode}]
    return {**record, "spec": {**{name: it for name, it in spec.items() if name != "network"}, "networks": networks}}


_STEPS: dict[int, Callable[[Plain], Plain]] = {1: _from_1, 2: _from_2, 3: _from_3}
