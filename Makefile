# Two commands: `make demo` shows it, `make test` proves it. Both build their own .venv first.
# Another interpreter has an environment of its own: make test PYTHON=python3.13
PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin

# Extras and dependency groups of pyproject.toml: by uv where it is there, else by pip, which knows groups since 25.1.
FEATURES := flask,django,fastapi,collector,postgres,jobs,events,cli,curl,celery,kafka,redis
SITES := flask,django,fastapi,collector
ifneq ($(shell command -v uv),)
INSTALL = uv pip install --quiet --python $(BIN)/python
else
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1' && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: demo test quick lint types walls unit programs readme docs pictures dist bench conformance host-suites faults brokers clean

demo: $(VENV)/demo
	$(BIN)/python example_apps/demo.py

test: programs lint types walls unit

# What needs no browser, broker, database server or real web server, with fewer examples: about three minutes on two cores.
quick: $(VENV)/ready
	QUICK=1 $(BIN)/pytest -q -n auto -m 'not (needs_browser or needs_broker or needs_database or needs_server)'

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

walls: $(VENV)/ready
	$(BIN)/lint-imports

unit: $(VENV)/ready
	$(BIN)/pytest

# The browser, brokers and servers that tests drive: by apt where we may, else tests list what they did without.
programs:
	$(PYTHON) tests/support/programs.py

# Writes the tables of the documentation that are made from the code; `make test` compares them.
readme: $(VENV)/ready
	WRITE_README=1 $(BIN)/pytest -q tests/project/test_generated_tables.py

# The documentation site, in build/docs/html. Every warning is an error.
docs: $(VENV)/docs
	$(BIN)/python site/build.py

# What is uploaded to an index, built in dist/ and checked.
dist: $(VENV)/dist
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/pyroma --min=7 .  # 10 with an author and the repository's address, which pyproject.toml does not have yet

$(VENV)/docs $(VENV)/dist: $(VENV)/%: $(VENV)/pyvenv.cfg pyproject.toml
	$(INSTALL) --group $*
	touch $@

# The pictures in the documentation, from the demo's own data, in light and dark.
pictures: $(VENV)/ready
	$(BIN)/python site/pictures.py

# What a request, an event and a whole site pay, beside peers: about 25 minutes, written to benchmarks/RESULTS.md.
# Wants a machine that does nothing else, wrk and valgrind. One part: make bench PART=delivery
bench: $(VENV)/ready
	$(INSTALL) --editable '.[flask,django,fastapi,curl]' --group bench
	$(BIN)/python -m benchmarks $(PART)

# A fresh Debian or Ubuntu has Python without its venv module.
$(VENV)/pyvenv.cfg:
	$(PYTHON) tests/support/programs.py venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(VENV)/pyvenv.cfg pyproject.toml
	$(INSTALL) --editable '.[$(SITES)]' --group demo
	touch $@

$(VENV)/ready: $(VENV)/pyvenv.cfg pyproject.toml
	$(INSTALL) --editable '.[$(FEATURES)]' --group test
	touch $@

# Every promise on every server, over real sockets: written to tests/conformance/TABLE.md.
conformance: $(VENV)/ready
	$(INSTALL) --editable '.[$(FEATURES)]' --group conformance
	-$(INSTALL) mod_wsgi  # needs apache2-dev; its rows say so without
	$(BIN)/python tests/conformance/table.py

# What this package and its peers lose while a collector misbehaves: about ten minutes, written to FAULTS.md.
faults: $(VENV)/ready
	$(INSTALL) --editable '.[flask,django,fastapi,curl]' --group bench
	$(BIN)/python -m benchmarks.faults

# What each broker loses and doubles while workers, networks and the broker itself fail: about eight minutes.
brokers: $(VENV)/ready
	$(BIN)/python tests/delivery/brokers/long_run.py

# The frameworks' own suites, without our middleware and with it in every app they build.
# Flask's suite needs an older pytest than ours.
host-suites:
	$(PYTHON) -m venv .hosts
	.hosts/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	.hosts/bin/pip install --quiet --disable-pip-version-check --editable '.[$(FEATURES)]' --group test 'pytest<9' trio \
		ephemeral-port-reserve
	.hosts/bin/python tests/hosts/run.py

clean:
	rm -rf .venv* build dist .mypy_cache .ruff_cache .pytest_cache
