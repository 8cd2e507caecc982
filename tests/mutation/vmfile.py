"""Takes the rules of the VMFile language out, one at a time, and says which of them no test misses. Run by `make mutants`."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(_TESTS))

from mutation.mutants import all_mutants  # noqa: E402

# Not test_reference.py, whose golden page would notice every change of the description for a reason that is none.
_MODULES = ("test_bullets", "test_words", "test_rules", "test_documents", "test_specs")
_SKIPPED = "thousand"


def main() -> int:
    """The exit status: 0 when every mutant is noticed."""
    chosen = [name for name in all_mutants() if all(word in name for word in sys.argv[1:])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        survivors = [name for name, noticed in zip(chosen, pool.map(_is_noticed, chosen), strict=True) if not noticed]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants are noticed")  # noqa: T201
    for name in survivors:
        print(f"  not noticed: {name}")  # noqa: T201
    return 1 if survivors else 0


def _is_noticed(mutant: str) -> bool:
    paths = [str(_TESTS / "unit" / "vmfile" / f"{name}.py") for name in _MODULES]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "mutation.plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", f"not {_SKIPPED}", *paths],
        cwd=_TESTS.parent,
        env={**os.environ, "VMCTL_MUTANT": mutant, "PYTHONPATH": str(_TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    # 1: a test failed; anything else is a fault of this script.
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant}: {done.stdout}{done.stderr}")
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
