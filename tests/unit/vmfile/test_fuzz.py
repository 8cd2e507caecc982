"""VMFiles that nobody would write: accepted, or a diagnostic of the VMFile; nothing else ever comes out of `load`.

VMCTL_FUZZ_DOCUMENTS says how many documents are tried; `make fuzz` tries 10,000. None may take more than two seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unit.vmfile.bullets import HOST
from unit.vmfile.vmfiles import write
from vm_manager.diagnostics.errors import VmFileError
from vm_manager.diagnostics.model import Diagnostic, Severity
from vm_manager.ui.documents import diagnostic_item, document
from vm_manager.ui.report import report
from vm_manager.vmfile.load import load
from within import quickly

_WHOLE = """vm "web" {
    image "disk.qcow2"
    arch "x86_64"
    vcpus 2
    memory "2GiB"
    disk 20
    firmware "uefi"
    accel "tcg"
    depends-on "db" "mail"
    network "user" { forward host=8080 guest=80 protocol="udp" address="0.0.0.0" }
    network "tap" bridge="br0" mac="52:54:00:12:34:56"
    drive "data" size="10GiB"
    mount "." "/srv/src" read-only=#true
    cloud-init {
        hostname "web"
        ssh-key "id.pub"
        user-data "user-data.yaml"
        network-config "user-data.yaml"
        on-error "warn"
    }
    ssh { user "debian"; private-key "id"; port 22 }
    provision "shell" { inline "true"; env "A" "b"; run "once" }
    provision "file" { source "nginx.conf"; destination "/etc/nginx.conf"; mode "0644"; owner "root:root" }
}
vm "db" { image-url "https://example.org/db.qcow2" sha256="00"; boot-timeout 5 }
vm "mail" { image-url "oci://ghcr.io/a/b:1"; depends-on "db" }
"""

_DOCUMENTS = int(os.environ.get("VMCTL_FUZZ_DOCUMENTS", "400"))

_WORDS = [
    *'"#\\/(){}=;, \n\r\t\0-0é', '"""', "/*", "*/", "//", "/-", "#true", "#null", "#inf", "0x", "1e9", "1.5", "-1", "\\u{d800}",
    '""', '"."', '"/"', '"~"', '"a\\u{0}"', "9999999999999999999999", "vm", "image", "ssh", "provision", '"file"',
    "image-url", '"http://[::1"', '"tap"', '"none"', "k=1", "{}", "(t)", "\ufeff", "\u2028", "\U0001f600", '"shell"',
]  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def _check(directory: Path, text: str) -> None:
    path = write(directory, text)
    for found in quickly(lambda: _found(path)):
        _check_diagnostic(found)


def _found(path: Path) -> list[Diagnostic]:
    """All that is said of a VMFile."""
    found: list[Diagnostic] = []
    try:
        project = load(path, directory=path.parent, platform=HOST)
        assert project.specs
        found += project.warnings
        project.require_runnable([])
    except VmFileError as refusal:
        found += (refusal.diagnostic, *refusal.diagnostic.related)
    return found


def _check_diagnostic(found: Diagnostic) -> None:
    assert found.exit_code == (3 if found.severity is Severity.ERROR else 0)
    assert found.message
    assert found.help
    for label in found.labels:
        assert label.span.end <= len(label.source.text)
    assert list(report(found))
    assert document(diagnostics=[diagnostic_item(found)])


@settings(max_examples=_DOCUMENTS * 2 // 5, deadline=None, database=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(_WHOLE)), st.integers(0, 20), st.sampled_from(["", *_WORDS])), max_size=4
    )
)
@example([(0, 0, "/- kdl-version 1\n")])
def test_any_change_to_a_vmfile_loads_or_is_diagnosed(directory: Path, changes: list[tuple[int, int, str]]) -> None:
    text = _WHOLE
    for start, removed, inserted in changes:
        text = text[:start] + inserted + text[start + removed :]
    _check(directory, text)


@settings(max_examples=_DOCUMENTS * 3 // 10, deadline=None, database=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(_WHOLE)), st.integers(0, 20), st.sampled_from(["", *_WORDS])), max_size=4
    )
)
def test_any_change_to_a_vmfile_in_kdl_1_loads_or_is_diagnosed(
    directory: Path, changes: list[tuple[int, int, str]]
) -> None:
    text = _WHOLE.replace(" }", "\n}").replace("#", "")
    for start, removed, inserted in changes:
        text = text[:start] + inserted + text[start + removed :]
    _check(directory, "/- kdl-version 1\n" + text)


@settings(max_examples=_DOCUMENTS * 3 // 10, deadline=None, database=None)
@given(words=st.lists(st.sampled_from(_WORDS), max_size=30))
def test_any_row_of_words_loads_or_is_diagnosed(directory: Path, words: list[str]) -> None:
    _check(directory, " ".join(words))
