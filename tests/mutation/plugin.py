"""A plugin of pytest that tests the mutant that VMCTL_MUTANT names: `pytest -p mutation.plugin`."""

from __future__ import annotations

import os

from mutation.mutants import install

install(os.environ["VMCTL_MUTANT"])
