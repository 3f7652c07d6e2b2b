# Everything a developer runs. Each target sets up what it needs.

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
RUN := $(VENV)/bin/python
WORKERS ?= 2
SOURCES := setup.py pyproject.toml $(wildcard kiel_logging/accelerator/*)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all unit lint types docs kafka chaos soak away bench bench-full clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# Not the tools of developers: they are 70 MB, and the demo is the first thing that people try.
$(VENV)/.demo: $(SOURCES)
	@echo 'Once: installing kiel_logging and confluent-kafka into $(VENV) (about 20 seconds).'
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo 'Downloading, and compiling the hottest loops if there is a C compiler.'
	@$(RUN) -m pip install --progress-bar off --editable '.[demo]'
	@touch $@

$(VENV)/.installed: $(SOURCES)
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --progress-bar off --editable '.[dev,demo]'
	touch $@ $(VENV)/.demo $(VENV)/.kafka

demo: $(VENV)/.demo  ## log a web shop's day into a mock cluster and read it back
	@$(RUN) -m kiel_logging demo $(ARGS)

test: lint types  ## lint, types, the unit suite, one pass on Apache Kafka: five minutes
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile -m '(smoke or not kafka) and not slow'

test-all: lint types  ## everything: two Kafkas, kills, chaos, all of hypothesis's examples
	KIEL_THOROUGH=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile -m 'not kafka'
	KIEL_THOROUGH=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile -m kafka

unit: $(VENV)/.installed  ## all tests without Kafka and without programs: a few minutes
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile -m 'not kafka and not programs'

lint: $(VENV)/.installed  ## ruff, for mistakes and format
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/.installed  ## mypy, strict
	$(RUN) -m mypy

docs: $(VENV)/.installed  ## the documentation, into docs/_build/html
	$(RUN) -m sphinx -W --keep-going --fresh-env -q docs docs/_build/html
	@echo 'Open docs/_build/html/index.html'

# Not the tools of developers here either.
$(VENV)/.kafka: $(VENV)/.demo
	@$(RUN) -m pip install --progress-bar off --quiet --editable '.[kafka]'
	@touch $@

kafka: $(VENV)/.kafka  ## three Apache Kafka brokers to play with, until Ctrl-C
	$(RUN) -m tests.support.kafka

chaos: $(VENV)/.installed  ## ten minutes of faults at random; ARGS='--minutes 2 --seed 7' for others
	$(RUN) -m tests.support.chaos $(ARGS)

soak: $(VENV)/.installed  ## ten minutes of threads, forks, signals and faults; ARGS='--forks 20' for forks alone
	$(RUN) -m tests.support.soak $(ARGS)

away: $(VENV)/.installed  ## a million log calls while the brokers are away, four times
	$(RUN) -m benchmarks.broker_away $(ARGS)

# Apart from the tests': kafka-logging-handler installs a package that is called `tests`.
$(BENCH_VENV)/.installed: $(SOURCES)
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --progress-bar off --editable '.[bench]'
	touch $@

bench: $(BENCH_VENV)/.installed  ## ways to log to Kafka side by side; ARGS='--only ours,null'
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

bench-full: $(BENCH_VENV)/.installed  ## all of it, into docs/benchmarks
	$(BENCH_VENV)/bin/python -m benchmarks --full --docs docs/benchmarks $(ARGS)

clean:  ## remove the environments, and everything that was built
	rm -rf $(VENV) $(BENCH_VENV) build dist *.egg-info kiel_logging/*.so .mypy_cache .pytest_cache .ruff_cache
