# The two commands: `make demo` shows payg, `make test` proves it. Both set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test up install install-dev servers check format lock chaos fuzz litellm bench clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: install ## Replay an hour of real traffic on embedded servers, and audit the books
	@$(BIN)/payg demo

test: install-dev servers ## Run all tests on real, private servers
	@$(BIN)/python -m pytest -n 3 --dist loadfile

up: install ## Run all processes on this machine (servers by PAYG_*_URL, or private ones)
	@$(BIN)/payg up

install: $(VENV)/.run ## Create the environment; the command is .venv/bin/payg

install-dev: $(VENV)/.dev ## The environment with what tests and checks need

servers: ## Find or install RabbitMQ and Chromium (PostgreSQL and Redis come as wheels)
	@deploy/install-rabbitmq
	@deploy/install-chromium

check: install-dev ## Lint, types, import contract, dead code, secrets
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@git ls-files -z | grep -zv '^requirements/' | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

format: install-dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: install-dev servers ## A longer campaign of kills: make chaos KILLS=500 SEED=3
	@PAYG_CHAOS_KILLS=$(or $(KILLS),500) PAYG_CHAOS_SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/chaos

fuzz: install-dev ## More harm to every decoder: make fuzz EXAMPLES=20000
	@PAYG_FUZZ_EXAMPLES=$(or $(EXAMPLES),2000) $(BIN)/python -m pytest tests/domain/test_fuzzed_decoders.py

litellm: install-dev servers ## Test the callback for LiteLLM's proxy with the LiteLLM it is pinned to (400 MB)
	@$(PIP) install -e '.[litellm]'
	@$(BIN)/python -m pytest tests/integration/gateway/test_litellm.py

bench: $(VENV)/.bench servers ## Measure everything beside its baselines (half an hour); writes bench/RESULTS.md
	@$(BIN)/payg bench --write

lock: install-dev ## Pin all dependencies anew, with hashes
	@$(BIN)/pip-compile $(LOCK_OPTIONS) --extra sandbox -o requirements/run.txt pyproject.toml
	@$(BIN)/pip-compile $(LOCK_OPTIONS) --extra sandbox --extra bench -o requirements/bench.txt pyproject.toml
	@$(BIN)/pip-compile $(LOCK_OPTIONS) --extra sandbox --extra bench --extra dev -o requirements/dev.txt pyproject.toml

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
