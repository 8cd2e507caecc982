"""Finding and reading VMFiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unit.vmfile.vmfiles import IMAGE, loaded, problems, write
from vm_manager.diagnostics.errors import VmFileError, VmFileNotFound, VmFileParseFailed
from vm_manager.vmfile.load import load

_GOOD = f'vm "web" {{ {IMAGE} }}\n'


def test_a_vmfile_in_the_directory_is_found(tmp_path: Path) -> None:
    project = load(directory=write(tmp_path, _GOOD).parent)
    assert project.path == tmp_path / "VMFile.kdl"
    assert project.source.name == "VMFile.kdl"
    assert not project.in_parent_directory


def test_else_the_nearest_one_above_is_found(tmp_path: Path) -> None:
    write(tmp_path, _GOOD)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "VMFile.kdl").mkdir()  # no file
    project = load(directory=deep)
    assert project.path == tmp_path / "VMFile.kdl"
    assert project.in_parent_directory


def test_the_working_directory_is_where_the_search_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, _GOOD)
    monkeypatch.chdir(tmp_path)
    assert load().path == tmp_path / "VMFile.kdl"


def test_a_file_that_is_named_is_not_found_above(tmp_path: Path) -> None:
    path = write(tmp_path, _GOOD)
    (tmp_path / "a").mkdir()
    assert not load(path, directory=tmp_path / "a").in_parent_directory


def test_a_vmfile_is_known_by_its_real_path(tmp_path: Path) -> None:
    write(tmp_path, _GOOD)
    (tmp_path / "link.kdl").symlink_to("VMFile.kdl")
    assert load(tmp_path / "link.kdl").path == tmp_path / "VMFile.kdl"


def test_without_one_it_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(VmFileNotFound, match=r"no VMFile\.kdl in .* or its parent directories"):
        load(directory=tmp_path)
    with pytest.raises(VmFileNotFound, match="does not exist"):
        load(tmp_path / "other.kdl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'vm "\xff"', "is not UTF-8"),
        (_GOOD.encode("utf-16"), "is not UTF-8"),
        (b" " * (1024**2 + 1), "is larger than 1 MiB"),
        pytest.param(
            "é".encode() * 600_000, "is larger than 1 MiB"
        ),
    ],
    ids=["latin-1", "utf-16", "spaces", "é"],
)  # fmt: skip
def test_a_file_that_is_no_text_of_reasonable_length_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (found,) = problems(tmp_path, content)
    assert found.code == "vm_manager::vmfile::parse_failed"
    assert message in found.message


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VmFileParseFailed, match="is a directory, not a VMFile"):
        load(tmp_path)


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "VMFile.kdl").symlink_to("VMFile.kdl")
    with pytest.raises(VmFileParseFailed, match="cannot be read"):
        load(tmp_path / "VMFile.kdl")


def test_a_working_directory_that_was_removed_is_diagnosed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    with pytest.raises(VmFileError):
        load()


# The text


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    project = loaded(tmp_path, "\ufeff" + f'// Windows\nvm "web" {{\n    {IMAGE}\n}}\n'.replace("\n", "\r\n"))
    assert [spec.name for spec in project.specs] == ["web"]


def test_lines_are_counted_through_crlf(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f'vm "web" {{\r\n{IMAGE}\r\n\tvcpu 2\r\n}}\r\n')
    (label,) = found.diagnostic.labels
    assert label.source.position(label.span.start) == (3, 2)


def test_several_syntax_errors_are_said_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, f'vm "web" {{\n{IMAGE}\nvcpus 2x\nmemory 1,\n}}\n')
    assert {one.code for one in found} == {"vm_manager::vmfile::parse_failed"}
    assert [one.marked for one in found] == [["2x"], ["1,"]]


def test_a_nul_is_diagnosed(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f'vm "web" {{ {IMAGE}; cpu "a\0b" }}\n')
    assert found.code == "vm_manager::vmfile::parse_failed"


def test_ten_thousand_blocks_are_diagnosed(tmp_path: Path) -> None:
    assert problems(tmp_path, "a {" * 10_000)[0].code == "vm_manager::vmfile::parse_failed"
