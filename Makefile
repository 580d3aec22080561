# The two commands: `make demo` shows payg, `make test` proves it. Both set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test test-again up install install-dev servers check format lock chaos kills fuzz mutants audit-deps image litellm released bench docs clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: install ## Replay an hour of real traffic on embedded servers, and audit the books
	@$(BIN)/payg demo

test: install-dev servers ## Run all tests on real, private servers
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=25

test-again: ## Run what failed in the last `make test` once more, with nothing beside it
	@$(BIN)/python -m pytest --last-failed --last-failed-no-failures none

up: install ## Run all processes on this machine (servers by PAYG_*_URL, or private ones)
	@$(BIN)/payg up

install: $(VENV)/.run ## Create the environment; the command is .venv/bin/payg

install-dev: $(VENV)/.dev ## The environment with what tests and checks need

servers: ## Find or install RabbitMQ, Chromium, Prometheus, pgbouncer (PostgreSQL and Redis come as wheels)
	@deploy/install-rabbitmq
	@deploy/install-chromium
	@deploy/install-prometheus
	@deploy/install-pgbouncer

check: install-dev ## Lint, types, import contract, dead code, secrets
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@$(BIN)/payg settings --markdown | cmp -s - docs/settings.md || \
		{ echo "docs/settings.md is not current: payg settings --markdown > docs/settings.md"; exit 1; }
	@cp .secrets.baseline $(VENV)/secrets && $(BIN)/detect-secrets-hook --baseline $(VENV)/secrets \
		$$(git ls-files | grep -Ev '^(requirements/|\.secrets)') || [ $$? -eq 3 ] # 3: known secrets, on other lines than before

format: install-dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: install-dev servers ## Let go wrong what can, for a time, then audit: make chaos MINUTES=15 SEED=3
	@$(BIN)/payg chaos --minutes $(or $(MINUTES),15) --seed $(or $(SEED),1)

kills: install-dev servers ## A longer campaign of kills alone: make kills KILLS=500 SEED=3
	@PAYG_CHAOS_KILLS=$(or $(KILLS),500) PAYG_CHAOS_SEED=$(or $(SEED),1) \
		$(BIN)/python -m pytest tests/chaos/test_kills.py tests/chaos/test_gate_kills.py

fuzz: install-dev ## More harm to every decoder: make fuzz EXAMPLES=20000
	@PAYG_FUZZ_EXAMPLES=$(or $(EXAMPLES),2000) $(BIN)/python -m pytest tests/domain/test_fuzzed_decoders.py

image: install-dev servers ## Perform the Dockerfile without Docker, and run what it makes (root; some minutes)
	@PAYG_IMAGE=full $(BIN)/python -m pytest tests/deploy/test_image.py

mutants: install-dev ## Change the domain in small ways, and see which changes no test notices: docs/mutants.md (hours; goes on where it was stopped)
	@$(PIP) install -e '.[mutants]'
	@PAYG_HYPOTHESIS=mutants $(BIN)/mutmut run $(ONLY)
	@$(BIN)/mutmut results

audit-deps: ## Compare what is pinned with the lists of known vulnerabilities (asks PyPI)
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/audit.txt
	@for file in run bench dev; do $(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/$$file.txt \
		--progress-spinner off || { [ $$? -eq 1 ] && echo "$$file.txt: see above; what PyPI does not know or does not answer was not compared" >&2; exit 1; }; done

litellm: install-dev servers ## Test the callback for LiteLLM's proxy with the LiteLLM it is pinned to (400 MB)
	@$(PIP) install -e '.[litellm]'
	@$(BIN)/python -m pytest tests/integration/gateway/test_litellm.py

bench: $(VENV)/.bench servers ## Measure everything beside its baselines (half an hour); writes bench/RESULTS.md
	@$(BIN)/payg bench --write

docs: install-dev ## Build the documents as a site, into build/site
	@$(BIN)/mkdocs build --quiet

released: ## Keep the code of a release, for the test that upgrades from it: make released REF=v0.1.0
	@git archive $(REF) cli workers shared pyproject.toml | xz -9 > tests/e2e/released.tar.xz

lock: install-dev ## Pin all dependencies anew, with hashes
	@$(BIN)/pip-compile $(LOCK_OPTIONS) --extra sandbox -o requirements/run.txt pyproject.toml
	@$(BIN)/pip-compile $(LOCK_OPTIONS) --extra sandbox --extra bench -o requirements/bench.txt pyproject.toml
	@$(BIN)/pip-compile $(LOCK_OPTIONS) --extra sandbox --extra bench --extra dev -o requirements/dev.txt pyproject.toml
	@$(BIN)/pip-compile $(LOCK_OPTIONS) --only-build-deps --build-deps-for wheel -o requirements/build.txt pyproject.toml
	@echo 'pip-audit>=2.9,<3' | $(BIN)/pip-compile $(LOCK_OPTIONS) -o requirements/audit.txt -

LOCK_OPTIONS := --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

clean: ## Remove the environment and all local data
	rm -rf $(VENV) .payg build ./*.egg-info

$(VENV)/.run: requirements/run.txt pyproject.toml
	@echo "creating the environment …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "payg needs Python 3.11 or later; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/.bench: $(VENV)/.run requirements/bench.txt
	@echo "adding the baselines' drivers and what draws …"
	@$(PIP) install --require-hashes -r requirements/bench.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "adding what tests need …"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@
