"""The table of codes: what is published in it may never change."""

from __future__ import annotations

import re

from vm_manager.diagnostics import errors
from vm_manager.diagnostics.errors import VmError
from vm_manager.diagnostics.model import Kind
from vm_manager.diagnostics.registry import CODES

# Code → (number, exit code). Frozen: lines are added at the end, none is ever changed or removed.
_PUBLISHED = {
    "vm_manager::qemu::spawn_failed": (1, 7),
    "vm_manager::qemu::qmp_connect_failed": (2, 7),
    "vm_manager::qemu::qmp_command_failed": (3, 7),
    "vm_manager::image::overlay_creation_failed": (4, 8),
    "vm_manager::network::ip_discovery_timeout": (5, 10),
    "vm_manager::propolis::unreachable": (6, 9),
    "vm_manager::cloudinit::iso_failed": (7, 13),
    "vm_manager::ssh::failed": (8, 11),
    "vm_manager::ssh::keygen_failed": (9, 70),
    "vm_manager::image::download_failed": (10, 9),
    "vm_manager::image::format_detection_failed": (11, 8),
    "vm_manager::image::conversion_failed": (12, 8),
    "vm_manager::vm::not_found": (13, 4),
    "vm_manager::vm::invalid_state": (14, 5),
    "vm_manager::backend::not_available": (15, 6),
    "vm_manager::vmfile::not_found": (16, 3),
    "vm_manager::vmfile::parse_failed": (17, 3),
    "vm_manager::vmfile::validation": (18, 3),
    "vm_manager::provision::failed": (19, 12),
    "vm_manager::io": (20, 14),
    "vmctl::usage": (21, 2),
    "vmctl::partial": (22, 1),
    "vmctl::interrupted": (23, 130),
    "vmctl::bug": (24, 70),
    "vm_manager::vm::foreign": (25, 5),
    "vm_manager::state::locked": (26, 5),
    "vm_manager::state::corrupt": (27, 14),
    "vm_manager::host::missing_tool": (28, 6),
    "vm_manager::host::kvm_unusable": (29, 6),
    "vm_manager::host::disk_full": (30, 6),
    "vm_manager::host::permission_denied": (31, 6),
    "vm_manager::qemu::exited": (32, 7),
    "vm_manager::guest::boot_timeout": (33, 10),
    "vm_manager::cloudinit::failed": (34, 10),
    "vm_manager::ssh::auth_failed": (35, 11),
    "vm_manager::ssh::host_key_mismatch": (36, 11),
    "vm_manager::ssh::no_key": (37, 11),
    "vm_manager::image::refused": (38, 8),
    "vm_manager::image::base_missing": (39, 8),
    "vm_manager::image::base_changed": (40, 8),
    "vm_manager::oci::pull_failed": (41, 9),
    "vmctl::create::invalid_vcpus": (42, 2),
    "vmctl::create::invalid_memory": (43, 2),
    "vmctl::create::no_image": (44, 2),
    "vmctl::create::image_not_found": (45, 4),
    "vmctl::create::name_exists": (46, 5),
    "vm_manager::host::missing_firmware": (47, 6),
    "vm_manager::network::port_in_use": (48, 6),
    "vm_manager::network::port_unavailable": (66, 6),
    "vm_manager::guest::mount_failed": (67, 10),
    "vm_manager::qemu::share_lost": (68, 7),
    "vm_manager::network::bridge_missing": (49, 6),
    "vm_manager::qemu::job_failed": (50, 7),
    "vm_manager::qemu::migration_failed": (51, 7),
    "vm_manager::qemu::io_error": (52, 7),
    "vm_manager::image::checksum_mismatch": (53, 8),
    "vm_manager::propolis::request_failed": (54, 9),
    "vm_manager::guest::boot_failed": (55, 10),
    "vm_manager::guest::panicked": (56, 10),
    "vm_manager::qemu::internal_error": (57, 7),
    "vm_manager::host::no_sandbox": (58, 6),
    "vm_manager::image::too_large": (59, 8),
    "vm_manager::vmfile::untrusted": (60, 3),
    "vm_manager::state::untrusted": (61, 14),
    "vm_manager::state::foreign": (62, 14),
    "vm_manager::ssh::no_shell": (63, 11),
    "vm_manager::vm::stray": (64, 5),
    "vm_manager::host::exhausted": (65, 6),
}

_ROWS: dict[int, type[VmError]] = {
    1: errors.PartialError,
    2: errors.UsageError,
    3: errors.VmFileError,
    4: errors.NotFoundError,
    5: errors.ConflictError,
    6: errors.HostError,
    7: errors.QemuError,
    8: errors.ImageError,
    9: errors.RemoteError,
    10: errors.GuestError,
    11: errors.SshError,
    12: errors.ProvisionError,
    13: errors.SeedError,
    14: errors.StateError,
}

# Exit codes that have no class of their own: their leaves are caught by name, or by what they are about.
_ROWLESS: dict[str, type[VmError]] = {
    "vm_manager::ssh::keygen_failed": errors.SshError,
    "vmctl::interrupted": VmError,
    "vmctl::bug": VmError,
}


def _leaves() -> list[type[VmError]]:
    found, todo = [], [VmError]
    while todo:
        subclasses = todo.pop().__subclasses__()
        todo += subclasses
        found += [leaf for leaf in subclasses if "code" in vars(leaf) and leaf.__module__ == errors.__name__]
    return sorted(set(found), key=lambda leaf: leaf.entry.number)


def test_no_published_code_has_changed_its_number_or_exit_code() -> None:
    assert {code: (entry.number, entry.exit_code) for code, entry in CODES.items()} == _PUBLISHED


def test_numbers_count_from_one_without_a_gap() -> None:
    assert [entry.number for entry in CODES.values()] == list(range(1, len(CODES) + 1))


def test_every_code_has_exactly_one_class() -> None:
    assert [leaf.code for leaf in _leaves()] == list(CODES)


def test_a_class_belongs_to_the_row_of_its_exit_code() -> None:
    strays = [
        leaf for leaf in _leaves() if not issubclass(leaf, _ROWLESS.get(leaf.code) or _ROWS[leaf.entry.exit_code])
    ]
    assert strays == []


def test_a_class_is_in_a_second_row_only_where_that_is_its_subject() -> None:
    rows = {leaf.code: [row for row in _ROWS.values() if issubclass(leaf, row)] for leaf in _leaves()}
    assert {code: found for code, found in rows.items() if len(found) > 1} == {
        "vm_manager::image::download_failed": [errors.ImageError, errors.RemoteError]
    }


def test_a_meaning_is_a_sentence() -> None:
    assert [entry.code for entry in CODES.values() if not re.fullmatch(r"\S.*\.", entry.meaning)] == []


def test_a_help_is_one_line_that_ends_without_a_period() -> None:
    assert [entry.code for entry in CODES.values() if not re.fullmatch(r"[^\s].*[^\s.]", entry.help)] == []


def test_what_is_a_bug_exits_with_70_and_nothing_else_does() -> None:
    bugs = [entry.code for entry in CODES.values() if entry.kind is Kind.BUG]
    assert bugs == [entry.code for entry in CODES.values() if entry.exit_code == 70]
