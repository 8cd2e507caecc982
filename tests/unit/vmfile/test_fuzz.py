"""VMFiles that nobody would write: accepted, or a diagnostic of the VMFile; nothing else ever comes out of `load`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unit.vmfile.vmfiles import write
from vm_manager.diagnostics.errors import VmFileError
from vm_manager.diagnostics.model import Diagnostic, Severity
from vm_manager.ui.documents import diagnostic_item, document
from vm_manager.ui.report import report
from vm_manager.vmfile.load import load

_WHOLE = """vm "web" {
    image "disk.qcow2"
    vcpus 2
    memory "2GiB"
    disk 20
    accel "tcg"
    network "user"
    cloud-init {
        hostname "web"
        ssh-key "id.pub"
        user-data "user-data.yaml"
    }
    ssh { user "debian"; private-key "id"; port 22 }
    provision "shell" { inline "true" }
    provision "file" { source "nginx.conf"; destination "/etc/nginx.conf" }
}
vm "db" { image-url "https://example.org/db.qcow2"; boot-timeout 5 }
"""

_WORDS = [
    *'"#\\/(){}=;, \n\r\t\0-0é', '"""', "/*", "*/", "//", "/-", "#true", "#null", "#inf", "0x", "1e9", "1.5", "-1", "\\u{d800}",
    '""', '"."', '"/"', '"~"', '"a\\u{0}"', "9999999999999999999999", "vm", "image", "ssh", "provision", '"file"',
    "image-url", '"http://[::1"', '"tap"', '"none"', "k=1", "{}", "(t)", "\ufeff", "\u2028", "\U0001f600", '"shell"',
]  # fmt: skip


@pytest.fixture(scope="module")
def directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="vmfile-fuzz-"))


def _check(directory: Path, text: str) -> None:
    path = write(directory, text)
    error: VmFileError | None = None
    try:
        assert load(path, directory=directory).specs
    except VmFileError as refusal:
        error = refusal
    if error:
        for found in (error.diagnostic, *error.diagnostic.related):
            _check_diagnostic(found)


def _check_diagnostic(found: Diagnostic) -> None:
    assert found.exit_code == (3 if found.severity is Severity.ERROR else 0)
    assert found.message
    assert found.help
    for label in found.labels:
        assert label.span.end <= len(label.source.text)
    assert list(report(found))
    assert document(diagnostics=[diagnostic_item(found)])


@settings(max_examples=150, deadline=None, database=None)
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


@settings(max_examples=100, deadline=None, database=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(_WHOLE)), st.integers(0, 20), st.sampled_from(["", *_WORDS])), max_size=4
    )
)
def test_any_change_to_a_vmfile_in_kdl_1_loads_or_is_diagnosed(
    directory: Path, changes: list[tuple[int, int, str]]
) -> None:
    text = _WHOLE.replace("; port 22 }", "; port 22\n}").replace("#", "")
    for start, removed, inserted in changes:
        text = text[:start] + inserted + text[start + removed :]
    _check(directory, "/- kdl-version 1\n" + text)


@settings(max_examples=100, deadline=None, database=None)
@given(words=st.lists(st.sampled_from(_WORDS), max_size=30))
def test_any_row_of_words_loads_or_is_diagnosed(directory: Path, words: list[str]) -> None:
    _check(directory, " ".join(words))
