# SPDX-License-Identifier: Apache-2.0
# Two commands do everything on a fresh machine: `make demo` and `make test`.
.PHONY: setup demo test check docs format coverage powerfail mutants bench lab assets system lock wheel deb size clean help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UI := src/surefoot/server/ui
ASSETS := $(UI)/static/app.js
PIP := $(BIN)/pip --disable-pip-version-check --quiet
export PYTHONDONTWRITEBYTECODE := 1

help: ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED) $(ASSETS) ## make .venv, with the command surefoot in it, and nothing else
	@echo "The command is $(BIN)/surefoot; to have it at hand: export PATH=\"$(CURDIR)/$(BIN):\$$PATH\""

demo: $(INSTALLED) $(ASSETS) ## build, sign, publish, update a board, and watch a bad release fall back (DEMO_EXIT=1: end afterwards)
	@$(BIN)/surefoot demo --folder demo --example examples/thermostat $(if $(DEMO_EXIT),--exit)

test: $(INSTALLED) $(ASSETS) wheel ## run the tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(INSTALLED) ## format, lint, types, imports, a test for each attack
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/attack_ids.py

docs: $(INSTALLED) ## draw the pages that are drawn from the code: code map, states, errors, schema of plans
	$(BIN)/python scripts/draw_states.py
	$(BIN)/python scripts/draw_errors.py
	$(BIN)/python scripts/draw_map.py
	$(BIN)/surefoot plan schema > docs/plan.schema.json

format: $(INSTALLED) ## put the code into its one form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: $(INSTALLED) $(ASSETS) wheel ## run the tests and hold branch coverage to its floors
	rm -f .coverage*
	$(BIN)/coverage run -m pytest -p no:randomly
	$(BIN)/coverage combine --quiet
	$(BIN)/python scripts/coverage_floors.py

powerfail: $(INSTALLED) ## cut the power at every write of an update and of every bootloader, with every kind of damage
	$(BIN)/python -m tests.powerfail.sweep

mutants: $(INSTALLED) ## flip bytes of every signed file, and take each check of a device out in turn
	$(BIN)/python -m tests.mutants

bench: $(INSTALLED) ## measure; ONLY=name measures one part (results in bench/results.json)
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

size: $(INSTALLED) ## say how large everything is that a bare install puts onto a device, and why; WRITE=1 puts it into docs/board.md
	$(BIN)/python scripts/size.py $(if $(WRITE),--write)

lab: $(INSTALLED) $(ASSETS) wheel ## update a virtual A/B board, break it and cut its power in every way; ONLY=name runs some scenarios
	@sh scripts/system.sh requirements/lab.txt
	@$(BIN)/python -m lab $(if $(ONLY),--only $(ONLY))

assets: $(ASSETS) ## bundle what the console's pages load

system: ## install the Debian packages that the tests and the demo need
	@sh scripts/system.sh

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --extra hsm --extra mqtt --extra rauc --extra release --extra server --extra simulate --group dev --upgrade pyproject.toml -o requirements/dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --constraint requirements/dev.lock pyproject.toml -o requirements/agent.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --upgrade requirements/goosebit.in -o requirements/goosebit.lock

wheel: $(INSTALLED) $(ASSETS) ## build the wheel that the bare install is tested with
	@rm -rf dist && $(BIN)/hatchling build -t wheel >/dev/null 2>&1 || { $(BIN)/hatchling build -t wheel; exit 1; }

deb: wheel ## build the agent's Debian package into dist/; ARCH=arm64 for another processor, PYTHON_VERSION=3.13 for another Debian
	@$(BIN)/python scripts/build_deb.py $(if $(ARCH),--arch $(ARCH)) $(if $(PYTHON_VERSION),--python $(PYTHON_VERSION))

$(INSTALLED): requirements/dev.lock pyproject.toml requirements/system.txt
	@sh scripts/system.sh
	@echo "Setting up $(VENV) (about half a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(ASSETS): package.json package-lock.json .npmrc $(wildcard $(UI)/assets/*) requirements/system.txt
	@sh scripts/system.sh
	@npm ci --ignore-scripts --loglevel=error >/dev/null
	@npm run --silent build
	@touch $@

clean: ## remove everything that was made
	rm -rf lab/.cache $(VENV) .venv-goosebit node_modules $(UI)/static build dist demo .coverage* .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
