"""Every code has a proof, or its feature is still to come."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofs import AWAITING, IN_PROCESS
from vm_manager.diagnostics.examples import example_of
from vm_manager.diagnostics.registry import CODES

_TESTS = Path(__file__).parents[2]


def _proved(source: str) -> Iterator[str]:
    """The codes in calls of `prove(result, "code", …)` and `prove_cause`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("prove", "prove_cause"):
            code = node.args[1]
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                yield code.value


@pytest.fixture(scope="module")
def proved() -> set[str]:
    return {code for path in _TESTS.rglob("test_*.py") for code in _proved(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("code", [code for code in CODES if code not in AWAITING and code not in IN_PROCESS])
def test_a_code_is_triggered_by_a_test(code: str, proved: set[str]) -> None:
    assert code in proved


@pytest.mark.parametrize("code", [code for code in CODES if code not in AWAITING and code not in IN_PROCESS])
def test_a_code_has_a_captured_example(code: str) -> None:
    example = example_of(code)
    assert example is not None
    assert code in example


def test_a_code_that_is_awaited_has_no_proof_yet(proved: set[str]) -> None:
    assert not proved & set(AWAITING), "its feature exists now: take it off the list"
    assert set(AWAITING) <= set(CODES)


def test_the_awaited_codes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\ncodes that await their feature ({len(AWAITING)}):")  # noqa: T201
        for code, feature in AWAITING.items():
            print(f"  {code}: {feature}")  # noqa: T201
