"""A word in the wrong block is sent to its place, and the place takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.vmfile.vmfiles import IMAGE, write
from vm_manager.diagnostics.errors import VmFileError
from vm_manager.vmfile.grammar import Entry
from vm_manager.vmfile.language import CLOUD_INIT, DOCUMENT, NETWORK, PROVISION, SSH, VM
from vm_manager.vmfile.load import load
from vm_manager.vmfile.places import _below, place_of

_AROUND = {
    "document": DOCUMENT,
    "vm": VM,
    "ssh": SSH,
    "network": NETWORK,
    "cloud-init": CLOUD_INIT,
    "provision": PROVISION,
}
_WORDS = sorted({word for path in _below((), DOCUMENT) for word in (path[-1].name, *path[-1].also)})


def _stands_there(name: str, around: Entry) -> bool:
    return around.find(name) is not None or any(entry.is_called(name) for entry in around.entries)


def _said(directory: Path, text: str) -> str:
    try:
        load(write(directory, text), directory=directory)
    except VmFileError as error:
        return "\n".join(one.message for one in (error.diagnostic, *error.diagnostic.related))
    return ""


@pytest.mark.parametrize("where", _AROUND)
def test_the_place_that_a_word_is_sent_to_takes_it(tmp_path: Path, where: str) -> None:
    around, sent = _AROUND[where], 0
    for name in _WORDS:
        advice = None if _stands_there(name, around) else place_of(name, around)
        for way in advice.partition(": ")[2].split(" or ") if advice else ():
            text, sent = way.replace('"…"', '"x"').replace("…", "64"), sent + 1
            inside = around not in (DOCUMENT, VM) and around.find(text.split()[0]) is not None
            block = f"{around.name} {{ {text} }}" if inside else text
            said = _said(tmp_path, block if around is DOCUMENT else f'vm "web" {{\n{IMAGE}\n{block}\n}}\n')
            for refused in ("unknown `", "property", "takes no block", "not allowed"):
                assert refused not in said, f"{name} in {where}: {text}\n{said}"
    assert sent > 20
