# Every target installs what it needs: uv and the toolchains into the user's cache, Python packages into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
DAYS ?= 60
UV_VERSION := 0.13.9
# As stack/cache.py: an XDG_CACHE_HOME that is not absolute is ignored.
CACHE := $(if $(filter /%,$(firstword $(XDG_CACHE_HOME))),$(XDG_CACHE_HOME),$(HOME)/.cache)/predictive-scaling
UV_FOLDER := $(CACHE)/uv/$(UV_VERSION)
UV := $(or $(shell command -v uv),$(UV_FOLDER)/bin/uv)
# Blanks separate the names of targets.
blank := $(subst ,, )
UV_TARGET = $(subst $(blank),\ ,$(UV))
READY := .venv/.ready
RUN := .venv/bin/predictive-scaling
# The installed uv is last on the PATH; the stack installs toolchains with it.
export PATH := $(PATH):$(UV_FOLDER)/bin
# The commands run from this checkout, regardless of the environment in which make was called.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
# Without compiled modules each process takes four CPU seconds to start instead of one.
unexport PYTHONDONTWRITEBYTECODE

# Modules with examples in docstrings.
EXAMPLES = $(shell grep -rl --include='*.py' '>>> ' forecasting operator/predictive_scaling)

say = @printf '[make] %s\n' "$(1)" >&2

.PHONY: help setup prepare demo test lint format bench generate-data train-models demo-check crds chart stack-up stack-down secrets image lock sbom audit clean

help: ## Show every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: prepare ## Replay a generated match day on a real cluster; DAY=2026-04-13 for another day, TRACE=file EVENTS=file for recorded demand, KEEP=1 keeps it running
	$(RUN) demo $(if $(DAY),--day $(DAY)) $(if $(TRACE),--trace "$(TRACE)") $(if $(EVENTS),--events "$(EVENTS)") $(if $(KEEP),--keep)

# Tests of the servers often wait: five workers keep two cores busy. Each starts servers of its own, except Kafka and AWS
# (tests/support/scheduling.py). Files of long tests come first: at the end the workers wait for the last file. The tests
# that need no server use the idle time in between; their output follows. All together need 12 GB.
PYTEST = .venv/bin/pytest --dist loadfile --no-loadscope-reorder --durations 15 --doctest-modules
test: setup ## Run all tests and docstring examples; each of the two parts ends with its slowest tests
	@$(RUN) stack prepare --chart
	@.venv/bin/python -m tests.support.go_programs
	@mkdir -p build
	@trap 'kill $$(jobs -p) 2> /dev/null || true' EXIT; trap '' INT; \
	nice -n 19 $(PYTEST) --numprocesses 2 $(wildcard tests/property tests/unit) $(EXAMPLES) > build/unit-tests.log 2>&1 & unit=$$!; \
	$(PYTEST) --numprocesses 5 $(wildcard tests/e2e tests/runbook tests/chart tests/integration tests/contract) & servers=$$!; status=0; \
	wait $$servers || status=$$?; wait $$unit || status=$$?; cat build/unit-tests.log; exit $$status

lint: setup ## Check format, style, types, layers, drift of the CRDs and of the chart, workflows, docker-compose.yml
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright
	.venv/bin/lint-imports
	$(RUN) crds --check
	$(RUN) chart --check
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.renovate renovate.json
	.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@if [ -e operator/__init__.py ]; then \
	  echo "operator/__init__.py must not exist: it shadows Python's own module operator; delete it" >&2; exit 1; fi

format: setup ## Format and apply automatic fixes
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: setup ## Compare accuracy, speed and memory with peers and measure the API under load; TRACES=folder measures recorded series
	@"$(UV)" pip install --quiet --python .venv/bin/python --require-hashes -r requirements-bench.lock
	.venv/bin/python -m tests.bench $(if $(TRACES),--traces "$(TRACES)")
	$(RUN) stack prepare
	.venv/bin/python -m tests.support.load_generator
	.venv/bin/python -m tests.bench.api

generate-data: setup ## Write generated samples of DAYS days to the database
	$(RUN) generate-data --days $(DAYS)

train-models: setup ## Train models from the database; ONLY=service trains one service
	$(RUN) train $(if $(ONLY),--service "$(ONLY)")

demo-check: setup ## Run the health check; API=URL and INGEST=URL for other addresses than those of this machine
	$(RUN) check $(if $(API),--api-url "$(API)") $(if $(INGEST),--ingest-url "$(INGEST)")

crds: setup ## Write crds/ from the models
	$(RUN) crds

chart: setup ## Write the generated files of charts/, config/cluster-role.yaml and docs/rbac.md
	$(RUN) chart

stack-up: prepare ## Start the local stack with a scheduler and KEDA's CRD in the background; prints the variables to export
	$(RUN) stack up --detach --scheduler --keda

stack-down: setup ## Stop the local stack and remove its data
	$(RUN) stack down

secrets: ## Write the secret files of docker-compose.yml to secrets/; existing files stay
	@config/compose/secrets.sh

image: ## Build the container image
	@engine=$$(command -v docker || command -v podman || command -v buildah) || { \
	  echo "found no docker, podman or buildah; install one of them (tests/integration/test_image.py runs the build steps without)" >&2; \
	  exit 1; }; \
	$$engine build -t predictive-scaling:$$(git describe --always --dirty) .

COMPILE = "$(UV)" pip compile --quiet --universal --generate-hashes --python-version 3.11 pyproject.toml
lock: $(UV_TARGET) ## Regenerate the lock files from pyproject.toml
	$(COMPILE) --extra stack --extra dask --extra tracing --group dev --output-file requirements.lock
	$(COMPILE) --extra tracing --constraint requirements.lock --output-file requirements-image.lock
	$(COMPILE) --extra stack --extra dask --extra bench --extra tracing --group dev --constraint requirements.lock --output-file requirements-bench.lock
	"$(UV)" pip compile --quiet --universal --generate-hashes --python-version 3.11 --group supply-chain --constraint requirements.lock --output-file requirements-supply-chain.lock

# Programs that are no dependency of the product or of its tests.
SUPPLY_CHAIN := build/supply-chain
$(SUPPLY_CHAIN)/.ready: requirements-supply-chain.lock $(UV_TARGET)
	@.ci/python "$(PYTHON)"
	@"$(UV)" venv --quiet --allow-existing --python "$$(command -v "$(PYTHON)")" $(SUPPLY_CHAIN)
	@"$(UV)" pip sync --quiet --python $(SUPPLY_CHAIN)/bin/python --require-hashes requirements-supply-chain.lock
	@touch $@

# cyclonedx-py refuses to write a document that does not have the format of the schema.
SBOM_OPTIONS := --validate
sbom: $(SUPPLY_CHAIN)/.ready ## Write build/sbom.json, the software bill of materials of the image's Python packages (CycloneDX)
	@PYTHONWARNINGS=ignore $(SUPPLY_CHAIN)/bin/cyclonedx-py requirements requirements-image.lock --pyproject pyproject.toml \
	  --spec-version 1.6 --output-reproducible $(SBOM_OPTIONS) --output-file build/sbom.json
	$(call say,wrote build/sbom.json)

# AUDIT_OPTIONS=--dry-run reads the locks and asks nobody.
audit: $(SUPPLY_CHAIN)/.ready ## Look the packages of the locks up in a database of known vulnerabilities; needs the network
	$(SUPPLY_CHAIN)/bin/pip-audit --require-hashes --disable-pip --progress-spinner off $(AUDIT_OPTIONS) \
	  $(foreach lock,$(wildcard requirements*.lock),--requirement $(lock))

clean: ## Remove the build results of this checkout (the user's cache stays)
	@if [ -x $(RUN) ]; then $(RUN) stack down; fi
	rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find config forecasting operator tests -name __pycache__ -prune -exec rm -rf {} +

prepare: setup
	@$(RUN) stack prepare

setup: $(READY)

$(READY): requirements.lock pyproject.toml $(UV_TARGET)
	@.ci/python "$(PYTHON)"
	$(call say,installing the Python packages of requirements.lock into .venv: half a minute the first time)
	@"$(UV)" venv --quiet --allow-existing --python "$$(command -v "$(PYTHON)")" .venv
	@"$(UV)" pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
	@"$(UV)" pip install --quiet --python .venv/bin/python --no-deps --editable .
	@.ci/openmp
	@touch $@

$(subst $(blank),\ ,$(UV_FOLDER))/bin/uv:
	@.ci/python "$(PYTHON)" venv
	$(call say,installing uv $(UV_VERSION) into $(UV_FOLDER): a few seconds)
	@"$(PYTHON)" -m venv --clear "$(UV_FOLDER)"
	@"$(UV_FOLDER)/bin/python" -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
