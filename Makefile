# make demo      a chat in the browser: open the address it prints
# make test      lint, types and the fast tests; ends with what it left to `make test-all`, and
#                what it had to leave out
# make test-all  lint, types, all tests, coverage, a part of Autobahn and uvicorn's own tests of
#                WebSocket; takes about 12 minutes
# make bare      the tests of what a user has without extras: no trio, no anyio
# make autobahn  the whole Autobahn TestSuite against server and client, with counts per verdict
#                on asyncio and on trio (needs Python 2.7, takes about 40 minutes)
# make uvicorn-tests  uvicorn's own WebSocket tests with our protocol class, fetched by pip
# make fuzz      MINUTES=6 TARGET=frames: any bytes against the protocol and a server, held against
#                slow references; all targets without one (needs atheris, so Python 3.11 to 3.13)
# make hostile   ATTACK=tls: attacks, what they cost the server and its other clients, and the
#                bounds that must hold, on each loop (needs Linux, takes 15 minutes)
# make soak      MINUTES=60: clients that come, talk and vanish, in plain text and over TLS; memory,
#                descriptors and tasks of the servers must stay flat, on each loop
# make bench     measure everything next to other libraries, and write docs/performance.md and
#                the results in benchmarks/ (needs gcc, the headers of zlib and OpenSSL, and
#                valgrind, takes less than 40 minutes, and wants the machine for itself)
# make bench-smoke  the same in less than two minutes, to see that it works
# make lint      ruff, mypy, stubtest and pyright; `pre-commit` runs it before each commit
# make clean     remove the environments and what the tools leave behind
#
# PYTHON=python3.12  the Python to use: 3.11 or later
# LOOP=asyncio       the only event loop for `make autobahn`, `make hostile` and `make soak`
# TLS=1              `make autobahn` over TLS
# OLDER=1            `make test-all` for a Python besides the newest: with a quarter of the examples
#                    of each random test, and without the short run of all benchmarks
# REQUIRE_ALL=1      the tests fail where they would leave out what this machine does not have

PYTHON ?= python3

# One environment for each Python; it is made again when what is installed changes.
VENV := .venv-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
VENV_PYTHON := $(VENV)/bin/python

# Node's ws package, in the version that the tests talk to.
WS := .npm/ws-8.23.0

# What the benchmarks are built to.
BUILT := .bench

# Other projects' tests, which note what they leave out in a file of their name.
SUITES := autobahn-short uvicorn-tests

# The steps of `make test-all`, each a target of its own, two at a time. coverage-api runs all tests
# of the API; where coverage is not measured, all-api and pure-core take the place of the two.
STEPS := coverage-api all-rest coverage-core $(SUITES)

# The tests that run the API in pytest's own process, where coverage sees it.
API_TESTS := $(addprefix tests/,asgi conformance on_redis on_trio outgoing rooms streams terminal transports user)

# All tests; with OLDER=1, what another Python will hardly show again is left to the newest.
ALL := $(VENV_PYTHON) -m pytest -q \
    $(if $(OLDER),-p few_examples --deselect=tests/benchmarks/test_smoke.py::test_everything_is_measured_and_written_down)

# The two halves of `make test`, which take about the same time.
HALF := tests/asgi tests/outgoing tests/transports

# Whether the stubs of the C extensions say what they do.
STUBTEST := $(VENV_PYTHON) -m mypy.stubtest wscore._speedups wstransports._speedups

.PHONY: help demo test fast-half fast-rest test-all all-api all-rest coverage-api coverage-core \
    pure-core $(SUITES) bare autobahn fuzz hostile soak bench bench-smoke lint types public-types clean

help:
	@sed -n -e '/^$$/q' -e 's/^# \{0,1\}//p' Makefile

demo: $(VENV)/package
	$(VENV_PYTHON) examples/chat.py

# Two halves next to each other. What pytest leaves to `make test-all` is in the files that end in
# -later, what make leaves is in STEPS.
test: lint $(WS)
	$(MAKE) --no-print-directory --jobs=2 --output-sync fast-half fast-rest
	@printf '%s\n' 'make $(filter-out all-%,$(STEPS))' \
	    'three quarters of the examples of each random test' > $(VENV)/make-later
	@$(VENV_PYTHON) tests/left_out.py $(VENV)/fast-half.xml $(VENV)/fast-rest.xml $(VENV)/types-left-out \
	    $(addprefix --later=$(VENV)/,half-later rest-later make-later)

# With fewer examples of random input, too.
FAST := $(VENV_PYTHON) -m pytest -q -m 'not slow' -p left_out -p few_examples

fast-half: $(VENV)/tools
	$(FAST) --later=$(VENV)/half-later --junit-xml=$(VENV)/$@.xml $(HALF)

fast-rest: $(VENV)/tools
	$(FAST) --later=$(VENV)/rest-later --junit-xml=$(VENV)/$@.xml $(addprefix --ignore=,$(HALF))

test-all: lint $(WS)
	$(MAKE) --no-print-directory --jobs=2 --output-sync $(STEPS)
	@$(if $(OLDER),printf '%s\n' 'three quarters of the examples of each random test' \
	    'the short run of all benchmarks' > $(VENV)/newest-later)
	@$(VENV_PYTHON) tests/left_out.py $(patsubst %,$(VENV)/%.xml,$(filter-out $(SUITES),$(STEPS))) \
	    $(VENV)/types-left-out \
	    $(addprefix $(VENV)/,$(filter $(SUITES),$(STEPS))) \
	    $(if $(OLDER),--to='the newest Python' --later=$(VENV)/newest-later)

all-api: $(VENV)/tools
	$(ALL) --junit-xml=$(VENV)/$@.xml $(API_TESTS)

all-rest: $(VENV)/tools
	$(ALL) --junit-xml=$(VENV)/$@.xml $(addprefix --ignore=,$(API_TESTS))

# The core's fast tests cover all of its Python code. All of them run in `all-rest`.
coverage-core: export COVERAGE_FILE := $(VENV)/core.coverage
coverage-core: $(VENV)/tools
	WSCORE_PURE=1 $(VENV_PYTHON) -m coverage run --source=src/wscore \
	    -m pytest -q -m 'not slow' --junit-xml=$(VENV)/$@.xml tests/core
	$(VENV_PYTHON) -m coverage report --fail-under=100

# The same without coverage: for Pythons on which coverage is not measured.
pure-core: $(VENV)/tools
	WSCORE_PURE=1 $(ALL) -m 'not slow' --junit-xml=$(VENV)/$@.xml tests/core

# Of the Python methods, some of which have shortcuts in C. `all-api` runs the tests with those.
coverage-api: export COVERAGE_FILE := $(VENV)/api.coverage
coverage-api: $(VENV)/tools
	WSCORE_PURE=1 $(VENV_PYTHON) -m coverage run --source=src/wstransports \
	    -m pytest -q --junit-xml=$(VENV)/$@.xml $(API_TESTS)
	$(VENV_PYTHON) -m coverage report --fail-under=100

autobahn-short: $(VENV)/tools
	$(VENV_PYTHON) tests/autobahn/run.py --short --left-out=$(VENV)/$@

uvicorn-tests: $(VENV)/tools
	$(VENV_PYTHON) tests/frameworks/uvicorn_suite.py --left-out=$(VENV)/$@

# Leaving out what needs the extras is the point here, so REQUIRE_ALL says nothing of it.
bare:
	$(PYTHON) -m venv --clear $(VENV)-bare
	$(VENV)-bare/bin/python -m pip install --quiet 'pip>=25.1'
	$(VENV)-bare/bin/python -m pip install --quiet --editable . --group bare
	! $(VENV)-bare/bin/python -m pip show --quiet trio anyio 2>/dev/null
	$(VENV)-bare/bin/python -m pytest -q tests/user tests/conformance tests/test_rings.py

autobahn: $(VENV)/tools
	$(VENV_PYTHON) tests/autobahn/run.py $(if $(LOOP),--loop=$(LOOP)) $(if $(TLS),--tls)

fuzz: $(VENV)/tools
	$(VENV_PYTHON) -m pip install --quiet --group fuzz
	$(VENV_PYTHON) tests/fuzz/fuzz.py $(if $(MINUTES),--minutes=$(MINUTES)) \
	    $(if $(TARGET),--target=$(TARGET))

hostile: $(VENV)/tools
	PYTHONPATH=tests $(VENV_PYTHON) tests/hostile/hostile.py $(if $(LOOP),--loop=$(LOOP)) \
	    $(if $(ATTACK),--attack='$(ATTACK)')

soak: $(VENV)/tools
	PYTHONPATH=tests:tests/hostile $(VENV_PYTHON) tests/soak/soak.py \
	    $(if $(MINUTES),--minutes=$(MINUTES)) $(if $(LOOP),--loop=$(LOOP))

# Other libraries at their newest releases.
bench: $(VENV)/tools $(BUILT)/load $(BUILT)/c_floor $(WS)
	$(VENV_PYTHON) -m pip install --quiet --upgrade --group bench
	$(VENV_PYTHON) -m benchmarks.profile
	$(VENV_PYTHON) -m benchmarks.run --publish .
	$(VENV_PYTHON) -m benchmarks.hand_over

bench-smoke: $(VENV)/tools $(BUILT)/load $(BUILT)/c_floor $(WS)
	$(VENV_PYTHON) -m benchmarks.run --smoke --rounds 1 --seconds 0.02 --publish $(BUILT)/smoke

# The two type checkers run next to each other.
lint: $(VENV)/tools $(VENV)/pyright
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(MAKE) --no-print-directory --jobs=2 --output-sync types public-types

types: $(VENV)/tools
	$(VENV_PYTHON) -m mypy
	@if ls src/*/_*.so >/dev/null 2>&1; then $(STUBTEST); \
	    else echo 'The C extensions were not built, so their stubs were not checked.'; fi

public-types: $(VENV)/tools $(VENV)/pyright
	$(VENV_PYTHON) tests/public_types.py --left-out=$(VENV)/types-left-out

clean:
	rm -rf .venv-* .autobahn .bench .fuzz .npm .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist src/*.egg-info src/*/_*.so
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The package alone; reinstalled when a C extension changes, so that tests run the new one.
$(VENV)/package: pyproject.toml setup.py $(wildcard src/*/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python 3.11 or later is needed, such as: make $(MAKECMDGOALS) PYTHON=python3.11'; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV_PYTHON) -m pip install --quiet --editable .
	@touch $@

# And what its tests need. Dependency groups came with pip 25.1.
$(VENV)/tools: $(VENV)/package
	$(VENV_PYTHON) -m pip install --quiet 'pip>=25.1'
	$(VENV_PYTHON) -m pip install --quiet --group test --group peers --group lint \
	    --group autobahn --group bench --group frameworks
	@touch $@

# Without it, `make lint` leaves something out, and says so.
$(VENV)/pyright: $(VENV)/tools
	@$(VENV_PYTHON) -m pip install --quiet --group pyright && touch $@ \
	    || echo 'pip could not install pyright'

# Without npm, or where it fails, the tests with that package are left out, and say so.
$(WS):
	@command -v npm >/dev/null || exit 0; \
	npm install --prefix .npm --no-save --no-audit --no-fund --silent $(subst -,@,$(@F)) \
	    && touch $@ || echo 'npm could not install $(@F)'

# The load generator, and the server in C that is a floor.
$(BUILT)/load: $(wildcard benchmarks/load/*.c) benchmarks/load/load.h
	@mkdir -p $(BUILT)
	gcc -O2 -Wall -Wextra -o $@ $(filter %.c,$^) -lz -lssl -lcrypto

$(BUILT)/c_floor: benchmarks/servers/c_floor.c
	@mkdir -p $(BUILT)
	gcc -O2 -Wall -Wextra -o $@ $<
