"""Each rule of the language as a user sees it broken: plain, fancy and as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from unit.golden import assert_golden
from unit.vmfile.bullets import BULLETS, HOST, POOR_HOST, vm, write_files
from unit.vmfile.vmfiles import write
from vm_manager.diagnostics.errors import VmFileError
from vm_manager.diagnostics.model import Diagnostic, Severity
from vm_manager.domain.platform import Platform
from vm_manager.ui.documents import diagnostic_item
from vm_manager.ui.fancy import draw
from vm_manager.ui.report import report
from vm_manager.vmfile.load import load


def _found(directory: Path, text: str, platform: Platform = HOST) -> tuple[Diagnostic, ...]:
    """What is said about a VMFile, warnings included; the related ones stand in the first."""
    write_files(directory)
    try:
        return load(write(directory, text), directory=directory, platform=platform).warnings
    except VmFileError as error:
        return (error.diagnostic,)


def _of_bullet(directory: Path, bullet: str) -> list[tuple[Diagnostic, ...]]:
    return [_found(directory, text) or _found(directory, text, POOR_HOST) for text in BULLETS[bullet]]


def _anonymous(text: str, directory: Path) -> str:
    return text.replace(str(directory), "/project")


@pytest.mark.parametrize("bullet", BULLETS)
def test_a_broken_rule_reads_plainly(tmp_path: Path, bullet: str) -> None:
    lines: list[str] = []
    for found in _of_bullet(tmp_path, bullet):
        lines += [line.text.rstrip() for diagnostic in found for line in report(diagnostic)]
        lines.append("")
    assert_golden(f"vmfile-{bullet}.txt", _anonymous("\n".join(lines), tmp_path))


@pytest.mark.parametrize("bullet", BULLETS)
def test_a_broken_rule_is_drawn(tmp_path: Path, bullet: str) -> None:
    # So wide that nothing is folded, wherever the test's directory is.
    console = Console(
        width=400, file=io.StringIO(), force_terminal=True, color_system="256", markup=False, emoji=False, highlight=False
    )  # fmt: skip
    for diagnostic in (one for found in _of_bullet(tmp_path, bullet) for one in found):
        draw(console, diagnostic)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().replace("\x1b", "␛")
    assert_golden(f"vmfile-{bullet}.ansi", _anonymous(shown, tmp_path))


@pytest.mark.parametrize("bullet", BULLETS)
def test_a_broken_rule_is_told_to_programs(tmp_path: Path, bullet: str) -> None:
    items = [diagnostic_item(diagnostic) for found in _of_bullet(tmp_path, bullet) for diagnostic in found]
    text = json.dumps(items, indent=1, ensure_ascii=False) + "\n"
    assert_golden(f"vmfile-{bullet}.json", _anonymous(text, tmp_path))


@pytest.mark.parametrize("text", [text for texts in BULLETS.values() for text in texts])
def test_a_mistake_is_one_problem_with_a_help_of_its_own(tmp_path: Path, text: str) -> None:
    found = _found(tmp_path, text) or _found(tmp_path, text, POOR_HOST)
    assert len(found) == (2 if "typo.yaml" in text else 1)
    assert not found[0].related
    assert found[0].help
    assert found[0].labels
    assert not found[0].message.endswith(".")


_WARNINGS = [
    vm("vcpus 9"),
    vm("memory 16385"),
    vm('network "user" { forward host=80 guest=80 }'),
    vm('network "user" isolated=#true\nnetwork "tap"'),
    vm('image-url "http://example.org/x"').replace('    image "disk.qcow2"\n', ""),
    vm('cloud-init { ssh-key "id.pub"; user-data "user-data.yaml" }'),
    vm('cloud-init { user-data "user-data.yaml" }\nprovision "shell" { inline "a" }'),
    vm('cloud-init { user-data "bare.yaml" }'),
]


@pytest.mark.parametrize("text", _WARNINGS)
def test_a_warning_is_in_the_project_and_stops_nothing(tmp_path: Path, text: str) -> None:
    (found,) = _found(tmp_path, text)
    assert (found.severity, found.exit_code) == (Severity.WARNING, 0)


def _right() -> Iterator[str]:
    yield vm("vcpus 8\nmemory 16384")
    yield vm('network "user" { forward host=1024 guest=80; forward host=1024 guest=80 protocol="udp" }')
    yield vm('network "user" { forward host=2000 guest=1 address="127.0.0.2"; forward host=2000 guest=1 }')
    yield vm('network "user" isolated=#false\nnetwork "tap"\nnetwork "tap" bridge="br1"')
    yield vm('depends-on "b" "c"') + vm('depends-on "c"', name="b") + vm("", name="c")
    yield vm('depends-on "b"\ndepends-on "b"') + vm("", name="b")
    yield vm('drive "a" size=1\ndrive "b" size="10GiB"') + vm('drive "a" size=1', name="b")
    yield vm('cloud-init { user-data "user-data.yaml" }\nssh { private-key "id" }\nprovision "shell" { inline "a" }')
    for url in ("http://127.0.0.1/x", "http://localhost:8000/x", "http://[::1]/x", "HTTPS://example.org/x"):
        yield vm(f'image-url "{url}"').replace('    image "disk.qcow2"\n', "")
    for url in (
        "ghcr.io/org/image:tag",
        f"ghcr.io/org/image@sha256:{'0' * 64}",
        "localhost:5000/a",
        "[::1]:5000/a/b__c:1",
    ):
        yield vm(f'image-url "oci://{url}"').replace('    image "disk.qcow2"\n', "")
    yield vm(f'image-url "http://example.org/x" sha256="{"0" * 64}"').replace('    image "disk.qcow2"\n', "")
    yield vm('provision "file" { source "nginx.conf"; destination "/a"; mode "755"; owner "www-data" }')


@pytest.mark.parametrize("text", list(_right()))
def test_what_is_right_gets_no_diagnostic(tmp_path: Path, text: str) -> None:
    assert _found(tmp_path, text) == ()
