# Two commands are enough: `make run` and `make test`. Each installs what it needs (see scripts/bootstrap).

.PHONY: help run demo test test-unit check lint types bench bench-peers bench-history soak fuzz chaos worstcase audit deb debtest clean

SOAK_SECONDS ?= 3600

FUZZ_SECONDS ?= 600

# Outcomes, and possible Author Domains.
HISTORY ?= 2000000 160000

# Of pytest, for all tests: many wait for a process or a timeout, so there are two for each processor.
PROCESSES ?= $(shell echo $$((2 * $$(nproc))))

# Python keeps what it has compiled: the tests start it a thousand times.
export PYTHONDONTWRITEBYTECODE =

# The compiled program, where it could be compiled. (exec: a signal that ends make also ends the program.)
BEST = exec env PYTHONSAFEPATH=1 PYTHONPATH=build/compiled

# What chaos, soak and worstcase run: the compiled program, or with BUILD=interpreted the sources. fuzz runs the sources
# and then the compiled program, or with BUILD=interpreted the sources only.
BUILD = compiled
ifeq ($(BUILD),compiled)
IN_BUILD = .venv/bin/python scripts/compile --required && cd build/compiled && PYTHONPATH=$(CURDIR)/build/compiled
else
IN_BUILD = PYTHONPATH=$(CURDIR)
endif

help:
	@echo "make run    install what is missing, show the filter at work, then keep it running"
	@echo "make demo   the same, without keeping it running"
	@echo "make test   install what is missing, then lint, check types, and run all tests"
	@echo "make test-unit   the unit tests only: no socket, no process, under a minute on two idle cores"
	@echo "make lint | types | check (both)"
	@echo "make bench  cost by stage and under load, then beside other filters (as root); make soak: an hour of load"
	@echo "make bench-peers   only beside other filters (PEERS_ARGS=\"--help\" for its options)"
	@echo "make bench-history   the history at scale: ingest, statistics, a day's reports, a purge (HISTORY=$(HISTORY))"
	@echo "make fuzz   search for inputs that violate an invariant (FUZZ_SECONDS=$(FUZZ_SECONDS) in total); see fuzz/README.md"
	@echo "make chaos  inject faults under load behind a real Postfix; see docs/dev/faults.md"
	@echo "make worstcase   the cost of hostile input"
	@echo "make audit  known vulnerabilities of the Python packages (asks PyPI)"
	@echo "make deb    the Debian package in dist/, checked by lintian; make debtest: install, run, upgrade and purge it"

run:
	@scripts/bootstrap run
	@.venv/bin/python scripts/compile
	@$(BEST) .venv/bin/dmarcmilter demo --stay --state state

demo:
	@scripts/bootstrap run
	@.venv/bin/python scripts/compile
	@$(BEST) .venv/bin/dmarcmilter demo

test:
	@scripts/bootstrap test
	@$(MAKE) --no-print-directory check
	.venv/bin/python scripts/compile --required
	cd build/compiled && DMARCMILTER_BUILD=compiled .venv/bin/python -m pytest -n $(PROCESSES) $(PYTEST_ARGS)
	DMARCMILTER_BUILD=interpreted .venv/bin/python -m pytest -n $(PROCESSES) $(PYTEST_ARGS)

test-unit:
	@scripts/bootstrap test
	.venv/bin/python -m pytest -q -n $$(nproc) -m "not postgresql and not slow" $(PYTEST_ARGS) tests/unit

check: lint types

lint:
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports

types:
	.venv/bin/mypy

fuzz:
	@scripts/bootstrap fuzz
ifeq ($(BUILD),compiled)
	PYTHONPATH=$(CURDIR) .venv/bin/python fuzz/run --seconds $$(($(FUZZ_SECONDS) / 2))
	$(IN_BUILD) .venv/bin/python fuzz/run --seconds $$(($(FUZZ_SECONDS) / 2))
else
	$(IN_BUILD) .venv/bin/python fuzz/run --seconds $(FUZZ_SECONDS)
endif

chaos:
	@scripts/bootstrap test
	@scripts/bootstrap chaos
	$(IN_BUILD) .venv/bin/python -m chaos.run $(CHAOS_ARGS)

bench:
	@scripts/bootstrap run
	.venv/bin/python bench/stages.py
	.venv/bin/python bench/load.py
	PYTHONPATH=. .venv/bin/python bench/large.py
	@$(MAKE) --no-print-directory bench-peers

bench-peers:
	@[ "$$(id -u)" = 0 ] || { echo "The comparison with other filters needs root (sudo make bench-peers): it makes a" \
	    "network of its own and installs missing filters." >&2; exit 1; }
	@scripts/bootstrap run
	@scripts/bootstrap bench
	@.venv/bin/python scripts/compile
	@.venv/bin/python -m bench.peers $(PEERS_ARGS)

bench-history:
	@scripts/bootstrap run
	.venv/bin/python bench/history.py $(HISTORY)

soak:
	@scripts/bootstrap run
	$(IN_BUILD) .venv/bin/python bench/load.py --soak --seconds $(SOAK_SECONDS)

worstcase:
	@scripts/bootstrap run
	$(IN_BUILD) .venv/bin/python bench/worstcase.py

audit:
	@[ -x .venv/bin/python ] || scripts/bootstrap run
	@.venv/bin/python scripts/audit

deb:
	@scripts/deb

debtest: deb
	@scripts/debtest "$$(ls -t dist/dmarcmilter_*.deb | head -n 1)"

clean:
	rm -rf .venv state dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .bootstrap.log
