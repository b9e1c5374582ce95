# jobpush: `make run` to try it, `make test` to test it. Both do all the set-up.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8080
BIN := $(VENV)/bin

.PHONY: help run test lint build bench clean

help:
	@echo "make run    set up, and run the service on the embedded default: http://localhost:$(PORT)/"
	@echo "make test   set up, and run every test (as root it installs what a real Slurm, Grid Engine and sshd need)"
	@echo "make lint   ruff, mypy, import rules"
	@echo "make build  the wheel, in dist/"
	@echo "make bench  the cost of held requests, in one table"

# A virtual environment with jobpush in it, made anew when what it is made from changes.
$(VENV)/run: setup.py pyproject.toml Makefile
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh etc/setup-venv.sh ".[cli,metrics,websocket]"
	@touch $@

$(VENV)/dev: $(VENV)/run
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh etc/setup-venv.sh .[dev]
	@touch $@

run: $(VENV)/run
	@echo "jobpush: http://localhost:$(PORT)/ - stop it with Ctrl-C"
	@PYTHONPATH=.:adapters $(BIN)/twistd --nodaemon --pidfile= jobpush --port $(PORT)

test: $(VENV)/dev
	@sh tests/install-packages.sh
	@sh tests/install-sge.sh $(VENV)/sge
	$(BIN)/python -m pytest
	$(BIN)/python -m twisted.trial --temp-directory=$(VENV)/trial --reporter=text tests

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=.:adapters $(BIN)/lint-imports --no-cache

build: $(VENV)/dev
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist .

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks.held

clean:
	rm -rf $(VENV) build dist *.egg-info
