"""Codes of a program that embeds vmctl: registered beside vmctl's own, and taken away again."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from vm_manager.diagnostics.errors import HostError, VmError
from vm_manager.diagnostics.model import Fault, Kind
from vm_manager.diagnostics.registry import CODES, NUMBERS, OWN_NUMBERS, Code, register_code

_NO_LICENCE = Code(
    "acme::licence::missing",
    number=10_001,
    exit_code=6,
    kind=Kind.EXPECTED,
    fault=Fault.HOST,
    meaning="This host has no licence.",
    causes=("the licence has run out",),
    help="buy one",
)


class LicenceMissing(HostError):
    """A failure of Acme's."""

    code = _NO_LICENCE.code


@pytest.fixture
def registered() -> Iterator[None]:
    forget = register_code(_NO_LICENCE)
    yield
    forget()


@pytest.mark.usefixtures("registered")
def test_a_failure_with_an_own_code_is_like_any_other() -> None:
    error = LicenceMissing("no licence for {host}", {"host": "a"})
    diagnostic = error.diagnostic
    assert (diagnostic.code, diagnostic.number, diagnostic.exit_code) == ("acme::licence::missing", 10_001, 6)
    assert (diagnostic.domain, diagnostic.kind, diagnostic.fault) == ("acme::licence", Kind.EXPECTED, Fault.HOST)
    assert (diagnostic.message, diagnostic.help) == ("no licence for a", ("buy one",))
    assert diagnostic.as_virerror()[:2] == (10_001, "acme::licence")
    assert isinstance(error, VmError)


@pytest.mark.usefixtures("registered")
def test_it_survives_pickle_and_copy() -> None:
    error = LicenceMissing("no licence")
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(again), again.diagnostic) == (LicenceMissing, error.diagnostic)


def test_a_code_can_be_taken_away_again_and_that_twice() -> None:
    before = (dict(CODES), dict(NUMBERS))
    forget = register_code(_NO_LICENCE)
    assert (CODES[_NO_LICENCE.code], NUMBERS[10_001]) == (_NO_LICENCE, _NO_LICENCE)
    forget()
    forget()
    assert before == (CODES, NUMBERS)


def test_taking_away_leaves_what_was_registered_anew() -> None:
    forget = register_code(_NO_LICENCE)
    forget()
    forget_again = register_code(_NO_LICENCE)
    forget()
    assert CODES[_NO_LICENCE.code] is _NO_LICENCE
    forget_again()
    assert _NO_LICENCE.code not in CODES


@pytest.mark.usefixtures("registered")
def test_the_same_code_may_be_registered_again_as_when_a_module_is_loaded_anew() -> None:
    register_code(replace(_NO_LICENCE))()
    assert LicenceMissing("no licence").diagnostic.number == 10_001


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"code": "vm_manager::licence::missing"}, "vm_manager:: and vmctl:: are vmctl's own"),
        ({"code": "vmctl::licence"}, "vm_manager:: and vmctl:: are vmctl's own"),
        ({"code": "licence"}, "lower-case words"),
        ({"code": "Acme::Licence"}, "lower-case words"),
        ({"code": "acme::a licence"}, "lower-case words"),
        ({"number": 63}, "from 10000 on"),
        ({"number": 0}, "from 10000 on"),
        ({"exit_code": 0}, "from 1 to 125"),
        ({"exit_code": 126}, "from 1 to 125"),
        ({"help": ""}, "help"),
        ({"help": "  "}, "help"),
    ],
)
def test_what_could_be_mixed_up_with_vmctls_own_is_refused(change: dict[str, Any], why: str) -> None:
    before = dict(CODES)
    with pytest.raises(ValueError, match=why):
        register_code(replace(_NO_LICENCE, **change))
    assert before == CODES


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("change", [{"number": 10_002}, {"code": "acme::other"}, {"help": "buy two"}])
def test_a_code_or_number_that_is_taken_by_another_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="taken"):
        register_code(replace(_NO_LICENCE, **change))
    assert LicenceMissing("no licence").diagnostic.help == ("buy one",)


def test_a_failure_whose_code_nobody_registered_says_so() -> None:
    with pytest.raises(LookupError, match=r"acme::licence::missing is not registered: see register_code"):
        LicenceMissing("no licence")
    with pytest.raises(LookupError, match="VmError has no code"):
        VmError("something")


def test_vmctls_own_numbers_stay_below() -> None:
    assert max(NUMBERS) < OWN_NUMBERS
