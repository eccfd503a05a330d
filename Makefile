# The one entrance to keysvc. A target first sets up what it needs: Debian's packages, and .venv from the lock.
#   ARGS    more arguments for the program behind a target: make test ARGS='-k revoke', make lock ARGS=--upgrade
#   SOAK_MINUTES, SOAK_RATE  how long make soak's mixed load runs (60), and its steps a second (75)
#   PYTHON  the Python that makes .venv, in place of the first on the PATH that will do

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
# Else every process that starts compiles all of keysvc, and each worker of pytest all of the tests.
unexport PYTHONDONTWRITEBYTECODE

READY := .venv/.ready
# One more than there are cores: tests also wait, for processes to start and for time to pass.
WORKERS := $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 4 ? cores + 1 : 4)))
SOAK_MINUTES ?= 60
SOAK_RATE ?= 75
GENERATED := src/keysvc/v1

# googleapis-common-protos has google/rpc/status.proto, which the contract imports.
PROTOC = .venv/bin/python -m grpc_tools.protoc -I protos -I .venv/lib/python3*/site-packages

# Writes what the protos generate under a directory. Only services have a _grpc module.
define generate
$(PROTOC) --python_out=$(1) --pyi_out=$(1) protos/keysvc/v1/*.proto
$(PROTOC) --grpc_python_out=$(1) protos/keysvc/v1/*_service.proto
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: $(READY) ## Serve on loopback, with a token and a database of its own in var/
	@hsm/install.sh run
	exec .venv/bin/keysvc dev

.PHONY: test
test: $(READY) ## Run the tests
	@hsm/install.sh test
	tests/deployment/promtool.sh .venv/bin
	.venv/bin/pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: test-long
test-long: $(READY) ## Run the tests that are too long for the fast suite: failovers, network cuts, a service that is broken on purpose
	@hsm/install.sh test
	.venv/bin/pytest -n 2 --dist worksteal --long $(ARGS)

.PHONY: test-tokens
test-tokens: $(READY) ## Run the tests of the token, and the service, on a second one: openCryptoki
	@hsm/install.sh test
	.venv/bin/pytest tests/tokens $(ARGS)

.PHONY: soak
soak: $(READY) ## Run the endurance tests at their full length
	@hsm/install.sh test
	KEYSVC_SOAK=1 SOAK_MINUTES=$(SOAK_MINUTES) SOAK_RATE=$(SOAK_RATE) .venv/bin/pytest --timeout 3600 tests/endurance tests/bench \
		tests/rpc/test_database_faults.py tests/rpc/test_network_cuts.py tests/rpc/test_failover.py $(ARGS)

.PHONY: test-containers
test-containers: $(READY) ## Run the tests of the image and of hsm/docker-compose.yml, in containers
	@hsm/install.sh test
	tests/containers/engine.sh .venv/bin/pytest --timeout 900 --no-fold-skipped tests/containers $(ARGS)

.PHONY: bench
bench: $(READY) ## Measure the speed of calls
	@hsm/install.sh bench
	PYTHONPATH=tests .venv/bin/python -m bench $(ARGS)

.PHONY: check
check: lint types layers protos pins ## Check everything that can be checked without running keysvc

.PHONY: lint
lint: $(READY) ## Check the style, and that no file names a registry's host or somebody's directory
	@.venv/bin/ruff check --no-cache # what was found right before may be wrong since another file came or went
	.venv/bin/ruff format --check
	if git grep -nIE '(pypi|pythonhosted|deb\.debian|npmjs)\.(org|com)|(^|[^[:alnum:]._-])/(home|Users|work)/'; then
		echo "these lines hold on one machine only" >&2
		exit 1
	fi

.PHONY: types
types: $(READY) ## Check the types
	@.venv/bin/mypy

.PHONY: layers
layers: $(READY) ## Check who imports what
	@.venv/bin/lint-imports --no-logo

.PHONY: protos
protos: $(READY) ## Check the protos, and that the generated code is theirs
	@fresh=$$(mktemp -d)
	trap 'rm -rf "$$fresh"' EXIT
	$(PROTOC) --include_imports --include_source_info --descriptor_set_out="$$fresh/protos.binpb" protos/keysvc/v1/*.proto
	.venv/bin/buf lint "$$fresh/protos.binpb" --config protos/buf.yaml
	$(call generate,"$$fresh")
	diff -rq -x __init__.py -x __pycache__ $(GENERATED) "$$fresh/keysvc/v1" || {
		echo "$(GENERATED) is not what the protos generate: run make proto" >&2
		exit 1
	}

.PHONY: pins
pins: $(READY) ## Check that the lock has what pyproject.toml asks for
	@.venv/bin/python -m pip check || {
		echo ".ci/requirements.txt is not what pyproject.toml asks for: run make lock" >&2
		exit 1
	}
	if grep -vE '^ *(#|$$)' .ci/requirements-run.txt | grep -vxFf .ci/requirements.txt; then
		echo "these pins of .ci/requirements-run.txt are not those of .ci/requirements.txt: run make lock" >&2
		exit 1
	fi

.PHONY: proto
proto: $(READY) ## Generate the code anew from the protos
	@rm -f $(GENERATED)/*_pb2*
	$(call generate,src)

.PHONY: format
format: $(READY) ## Format the code, and mend what can be mended
	@.venv/bin/ruff check --fix
	.venv/bin/ruff format

.PHONY: lock
lock: $(READY) ## Pin what pyproject.toml asks for; pins that still fit stay
	@pin() {
		CUSTOM_COMPILE_COMMAND='make lock' .venv/bin/pip-compile --quiet --extra traces --generate-hashes --allow-unsafe \
			--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$$@" pyproject.toml
	}
	pin --extra dev $(ARGS) --output-file .ci/requirements.txt
	# What the image has: of these pins, those that keysvc runs with, and what builds it.
	pin --build-deps-for wheel --constraint .ci/requirements.txt --output-file .ci/requirements-run.txt

.PHONY: clean
clean: ## Remove .venv, what was compiled and all caches; var/ stays
	@rm -rf .venv build src/*.egg-info src/keysvc/hsm/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# A name on the PATH may be a version manager's that does not work here, so each is tried. What builds packages is
# installed first, so that it too is what the lock pins.
$(READY): .ci/requirements.txt pyproject.toml src/keysvc/hsm/macs.c
	@python=$$(for name in $${PYTHON:-python3.11 python3}; do
		"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && exit
	done) || {
		echo "keysvc needs Python 3.11 or newer: put it on the PATH as python3, or set PYTHON to it" >&2
		exit 1
	}
	"$$python" -c 'import ensurepip' 2>/dev/null || hsm/install.sh venv
	command -v gcc >/dev/null || hsm/install.sh compiler
	test -f "$$("$$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || hsm/install.sh headers
	echo "Setting up .venv with $$("$$python" --version) (a minute or two the first time)"
	.venv/bin/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear .venv
	pip_install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$$@"; }
	pip_install --require-hashes -r <(awk '/^[a-z]/ { tool = /^(packaging|pip|setuptools|wheel)==/ } tool' .ci/requirements.txt)
	pip_install --require-hashes --no-build-isolation -r .ci/requirements.txt
	# setuptools tells that modules in C are new in pyproject.toml; it is pinned.
	PYTHONWARNINGS=ignore pip_install --no-build-isolation --no-deps --editable .
	touch $@
