"""The reference page of the language."""

from __future__ import annotations

from pathlib import Path

from vm_manager.vmfile.grammar import Entry
from vm_manager.vmfile.language import VM
from vm_manager.vmfile.reference import reference

_PAGE = Path(__file__).parents[3] / "docs" / "vmfile.md"


def _all(entry: Entry) -> list[Entry]:
    return [entry, *(below for child in entry.entries for below in _all(child))]


def test_the_page_is_what_the_description_makes_of_it() -> None:
    assert _PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_word_of_the_language_is_on_the_page() -> None:
    page = reference()
    assert [entry.name for entry in _all(VM) if f"`{entry.name}`" not in page and entry is not VM] == []


def test_every_entry_says_what_it_is() -> None:
    assert [entry.name for entry in _all(VM) if not entry.help or entry.help.endswith(".")] == []


def test_no_other_name_of_an_entry_is_a_name_itself() -> None:
    for block in _all(VM):
        names = [entry.name for entry in block.entries]
        others = [other for entry in block.entries for other in entry.also]
        assert not set(names) & set(others)
        assert len(set(others)) == len(others)
