# One command each, no arguments to learn. The first one makes .venv and installs what requirements.lock pins.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: run test test-fast test-clients test-differential test-suites test-register soak lint format fuzz bench docs lock clean

run: $(READY)  ## a real engine, Redis, worker, gateway and Flower; the demo's searches before and after
	@$(BIN)/python -m demo run

test: $(READY)  ## everything, with real engines, Redis, workers and clients; what fails gets a second try, alone
	$(BIN)/python -m pytest -n 2 --dist loadgroup || { [ $$? = 1 ] && \
	    echo "Once more, one after the other and nothing beside them: what failed." && \
	    $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

test-fast: $(READY)  ## what needs no server
	$(BIN)/python -m pytest -m "not system"

test-clients: $(READY)  ## the official clients, each in its own language, through the gateway
	$(BIN)/python -m pytest tests/clients

test-differential: $(READY)  ## the same requests to the cluster and through the gateway: are the answers the same?
	$(BIN)/python -m pytest tests/differential

test-suites: $(READY)  ## all of the engines' own YAML tests, directly and through the gateway (`make test` takes one in twenty)
	WHOLE_SUITE=1 $(BIN)/python -m pytest -s tests/differential/test_yaml_suite.py

test-register: $(READY)  ## OpenSearch's own pipelines call us: gets its plugins for models, 410 MB (`make test` runs this where they are)
	FETCH_OPENSEARCH_ML=1 $(BIN)/python -m pytest tests/system/test_register.py

soak: $(READY)  ## ten minutes of many clients and random faults, and a table of what came of it (`make test` takes forty-five seconds)
	SOAK_MINUTES=10 $(BIN)/python -m pytest -s tests/system/test_soak.py

lint: $(READY)  ## silent when good; `make format` repairs what can be repaired
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python -m pytest --quiet --no-header --no-summary tests/test_layers.py >/dev/null

format: $(READY)
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

fuzz: $(READY)  ## five minutes of random inputs for each property of search_plugin (with atheris installed, led by coverage)
	@$(BIN)/python -m fuzz

# as workers do: else the models beside them would be measured by another rule
bench: export GOMP_SPINCOUNT ?= 1000
bench: $(READY)  ## prints tables and the machine, appends them to docs/benchmarks.md; the peers get environments of their own
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.rerankers
	@$(BIN)/python -m benchmarks.finetune
	@$(BIN)/python -m benchmarks.queueing
	@$(BIN)/python -m benchmarks.jobs
	@$(BIN)/python -m benchmarks.direct
	-@$(BIN)/python -m benchmarks.passthrough  # needs nginx and wrk, and says so

docs: $(READY)  ## checks every link and runs every example of README.md and docs/
	@$(BIN)/python -m pytest --quiet tests/test_docs.py

lock:  ## renew requirements.lock from pyproject.toml (newest versions that fit)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --group dev --extra evaluate --extra finetune pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed (found: $$($(PYTHON) --version 2>&1)). Name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes \
	    --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
