# jobpush: `make run` to try it, `make test` to test it. Both do all the set-up.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8080
OPTIONS ?=
BIN := $(VENV)/bin

.PHONY: help run test test-all lint docs build bench mutants faults clean

help:
	@echo "make run    set up, and run the service on the embedded default: http://localhost:$(PORT)/"
	@echo "            PORT=8081 listens on another port; OPTIONS='--queue mock' adds options of twistd jobpush"
	@echo "make test   set up, and run every test (as root it installs what a real Slurm, Grid Engine and sshd need)"
	@echo "make test-all  set up, and run the unit tests on each Python that is on PATH or named in PYTHONS='python3.12 /opt/…'"
	@echo "make lint   ruff, mypy, import rules"
	@echo "make mutants SEED=1 SAMPLE=200 MINUTES=20    which small faults the unit tests do not notice (CONTRIBUTING.md)"
	@echo "make faults SEED=1 MINUTES=10    what clients are told while the service is killed and its files fail (CONTRIBUTING.md)"
	@echo "make docs   the documentation, in build/site/"
	@echo "make build  the source distribution, and the wheel that is made from it, in dist/"
	@echo "make bench  the cost of held requests beside other servers: a table and a picture (installs the others)"

# A virtual environment with jobpush in it, made anew when what it is made from changes.
$(VENV)/run: setup.py pyproject.toml Makefile
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh etc/setup-venv.sh ".[cli,metrics,websocket]"
	@touch $@

$(VENV)/dev: $(VENV)/run
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh etc/setup-venv.sh .[dev]
	@touch $@

run: $(VENV)/run
	@echo "jobpush: http://localhost:$(PORT)/ - stop it with Ctrl-C"
	@PYTHONPATH=.:adapters:client $(BIN)/twistd --nodaemon --pidfile= jobpush --port $(PORT) $(OPTIONS)

test: $(VENV)/dev
	@sh tests/install-packages.sh
	@sh tests/install-sge.sh $(VENV)/sge
	$(BIN)/python -m pytest
	$(BIN)/python -m twisted.trial --temp-directory=$(VENV)/trial --reporter=text tests

test-all:
	@PYTHON="$(PYTHON)" PYTHONS="$(PYTHONS)" sh tests/versions.sh all

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=.:adapters:client $(BIN)/lint-imports --no-cache

# Which small faults the unit tests notice: a table, and each one that they do not. ONLY="jobpush/core jobpush/events/reader.py:80"
# asks about folders, files or lines alone.
SEED ?= 1
SAMPLE ?= 200
MINUTES ?= 20
ONLY ?=
mutants: $(VENV)/dev
	$(BIN)/python -m tests.mutants $(ONLY) --seed $(SEED) --sample $(SAMPLE) --minutes $(MINUTES) --cache $(VENV)/mutants

# Clients of each kind while the service is killed and stopped, and its journal and its jobs file fail: a table, and each violation.
CLIENTS ?= 6
faults: MINUTES := $(if $(filter file,$(origin MINUTES)),10,$(MINUTES))
faults: $(VENV)/dev
	PYTHONPATH=.:adapters:client $(BIN)/python -m tests.faults --seed $(SEED) --minutes $(MINUTES) --clients $(CLIENTS)

docs: $(VENV)/dev
	$(BIN)/mkdocs build --quiet --strict

build: $(VENV)/dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

# All servers hold 10,700 requests, three times; then other numbers of requests, for the picture. Three quarters of an hour.
bench: $(VENV)/dev
	@sh benchmarks/install-peers.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh etc/setup-venv.sh ".[bench]"
	@rm -f $(VENV)/held.json
	$(BIN)/python -m benchmarks.held --results $(VENV)/held.json
	$(BIN)/python -m benchmarks.held jobpush jobpush-keep-channels nchan jetty klein aiohttp tornado --results $(VENV)/held.json \
		--count 1000 2000 5000 19000 --passes 1 --rounds 3 --picture docs/held.svg --page README.md
	$(BIN)/python -m benchmarks.held nchan jobpush --streams
	$(BIN)/python -m benchmarks.held nchan jobpush --different --rounds 5
	$(BIN)/python -m benchmarks.mixed
	$(BIN)/python -m benchmarks.stalls

clean:
	rm -rf $(VENV) .venv-3.* build dist *.egg-info
