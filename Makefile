# make demo    run a Debian guest from a VMFile
# make test    run everything, from a clean checkout
# make check   check format, lint, types and import contracts
# make docs    write the generated pages
# make fuzz    test 10,000 malformed VMFiles, records, reports, answers, manifests and image headers each
# make mutants remove each rule of the VMFile language in turn; a test must fail
# make audit   check requirements.lock for known vulnerabilities (needs the network)
# make bench   run benchmarks
#
# Needs git and make. On Debian and Ubuntu the rest is installed; elsewhere the packages are listed.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: docs help demo test check unit fuzz mutants audit host-demo host-test venv lock bench clean

VENV := .venv
BIN := $(VENV)/bin

# The KDL project's own test cases are used where they lie beside the project.
export VMCTL_KDL_TEST_CASES ?= $(abspath $(wildcard ../shared/data/kdl2-test-cases))

help:
	@sed -n 's/^# \{0,1\}//;/^make/p;/^$$/q' $(firstword $(MAKEFILE_LIST))

demo: host-demo venv
	@docs/demo/run

test: host-test venv
	@$(MAKE) --no-print-directory check
	@$(BIN)/pytest -n 3 --dist loadgroup

check: venv
	@$(BIN)/ruff format --check --quiet . || { echo 'not formatted: ruff format' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

# The quick part, for every save: no QEMU, no guests.
unit: venv
	@$(BIN)/pytest -q tests/unit

fuzz: venv
	@VMCTL_FUZZ_DOCUMENTS=10000 $(BIN)/pytest -q tests/unit/vmfile/test_fuzz.py tests/unit/host/test_image_header.py \
	    tests/unit/host/test_leases.py tests/attacks -k 'fuzz or test_any or records or image_header'

mutants: venv
	@$(BIN)/python tests/mutation/vmfile.py

host-demo:
	@tests/guest/host-packages demo

host-test:
	@tests/guest/host-packages test

venv: $(VENV)/.complete

# --no-build-isolation: hatchling comes from the lock file, too.
$(VENV)/.complete: requirements.lock pyproject.toml
	@echo 'installing into $(VENV) …'
	@python3 -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src # pip does so for what it installs, but for what is editable
	@touch $@

lock: venv
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --strip-extras \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml

# In a virtual environment of its own: what it needs is nobody else's.
audit:
	@python3 -m venv .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	@.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --require-hashes -r requirements.lock

clean:
	rm -rf $(VENV) .venv-audit .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

bench: venv
	@$(BIN)/python benchmarks/startup.py
	@$(BIN)/python benchmarks/boot.py
	@$(BIN)/python benchmarks/sandbox.py
	@$(BIN)/python benchmarks/resume.py
	@$(BIN)/python benchmarks/upload.py
	@$(BIN)/python benchmarks/images.py
	@$(BIN)/python benchmarks/throughput.py

docs: venv
	@$(BIN)/python docs/generate.py
