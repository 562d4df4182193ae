# Two commands: `make demo` shows it, `make test` proves it. Both build their own .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types walls unit readme docs dist bench conformance host-suites faults brokers clean

demo: .venv/demo
	$(BIN)/python example_apps/demo.py

test: lint types walls unit

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy
	$(BIN)/pyright

walls: .venv/ready
	$(BIN)/lint-imports

unit: .venv/ready
	$(BIN)/pytest

# Writes the tables of the documentation that are made from the code; `make test` compares them.
readme: .venv/ready
	WRITE_README=1 $(BIN)/pytest -q tests/project/test_generated_tables.py

# The documentation site, in build/docs/html. Every warning is an error.
docs: .venv/docs
	$(BIN)/python site/build.py

# What is uploaded to an index, built in dist/ and checked.
dist: .venv/dist
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/pyroma --min=7 .  # 10 with an author and the repository's address, which pyproject.toml does not have yet

# pip knows dependency groups since 25.1.
.venv/docs .venv/dist: .venv/%: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check --group $*
	touch $@

# What a request, an event and a whole site pay, beside peers: about ten minutes, written to benchmarks/RESULTS.md.
# Wants a machine that does nothing else, and wrk. One part: make bench PART=delivery
bench: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks $(PART)

# A fresh Debian or Ubuntu has Python without its venv module: where we may, we add it, else we say how.
.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv 2>/dev/null \
		|| { rm -rf .venv; apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv .venv; } \
		|| { echo "Python's venv module is missing: run 'sudo apt-get install python3-venv', then make again."; exit 1; }

.venv/demo .venv/ready: .venv/%: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(subst ready,test,$*)]'
	touch $@

# Every promise on every server, over real sockets: written to tests/conformance/TABLE.md.
conformance: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[conformance]'
	-$(BIN)/pip install --quiet --disable-pip-version-check mod_wsgi  # needs apache2-dev; its rows say so without
	$(BIN)/python tests/conformance/table.py

# What this package and its peers lose while a collector misbehaves: about ten minutes, written to FAULTS.md.
faults: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks.faults

# What each broker loses and doubles while workers, networks and the broker itself fail: about eight minutes.
brokers: .venv/ready
	$(BIN)/python tests/delivery/brokers/long_run.py

# The frameworks' own suites, without our middleware and with it in every app they build.
# Flask's suite needs an older pytest than ours.
host-suites:
	$(PYTHON) -m venv .hosts
	.hosts/bin/pip install --quiet --disable-pip-version-check --editable '.[test]' 'pytest<9' trio python-multipart \
		ephemeral-port-reserve
	.hosts/bin/python tests/hosts/run.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
