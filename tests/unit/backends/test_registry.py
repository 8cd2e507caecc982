"""Backends by name."""

from __future__ import annotations

import pytest

from vm_manager.backends.registry import load_backend
from vm_manager.diagnostics.errors import BackendNotAvailable


@pytest.mark.parametrize("name", ["qemu", "noop"])
def test_a_backend_knows_its_name(name: str) -> None:
    assert load_backend(name).name == name


def test_an_unknown_backend_gets_the_one_that_was_meant_and_the_list() -> None:
    with pytest.raises(BackendNotAvailable) as caught:
        load_backend("qmeu")
    assert caught.value.exit_code == 6
    assert caught.value.diagnostic.help == ("did you mean 'qemu'?", "the backends are qemu, noop")
