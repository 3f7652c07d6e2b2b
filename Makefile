# Everything a developer runs. `make test` and `make demo` set up what they need.

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
RUN := $(VENV)/bin/python
WORKERS ?= 2

.PHONY: test test-all unit lint types demo kafka chaos soak away bench bench-full clean

$(VENV)/.installed: setup.py pyproject.toml $(wildcard kiel_logging/accelerator/*)
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable '.[dev,demo]'
	touch $@

test: lint types  ## lint, types, the unit suite and one pass on Apache Kafka: five minutes
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile -m '(smoke or not kafka) and not slow'

test-all: lint types  ## everything: both releases of Kafka, kills, chaos, all of hypothesis's examples
	KIEL_THOROUGH=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile -m 'not kafka'
	KIEL_THOROUGH=1 $(RUN) -m pytest -m kafka

unit: $(VENV)/.installed  ## what needs neither Kafka nor programs of its own: a few minutes
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile -m 'not kafka and not programs'

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/.installed
	$(RUN) -m mypy

demo: $(VENV)/.installed  ## logs a web shop's day into a mock cluster and reads it back
	$(RUN) -m kiel_logging demo

kafka: $(VENV)/.installed  ## three Apache Kafka brokers on loopback, until Ctrl-C
	$(RUN) -m tests.support.kafka

chaos: $(VENV)/.installed  ## ten minutes of faults at random; ARGS='--minutes 2 --seed 7' for others
	$(RUN) -m tests.support.chaos $(ARGS)

soak: $(VENV)/.installed  ## ten minutes of threads, forks and faults; ARGS='--forks 20' for forks alone
	$(RUN) -m tests.support.soak $(ARGS)

away: $(VENV)/.installed  ## a million log calls while the brokers are away, four times
	$(RUN) -m benchmarks.broker_away $(ARGS)

# Apart from the tests': kafka-logging-handler installs a package that is called `tests`.
$(BENCH_VENV)/.installed: setup.py pyproject.toml $(wildcard kiel_logging/accelerator/*)
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable '.[bench]'
	touch $@

bench: $(BENCH_VENV)/.installed  ## ways to log to Kafka side by side; ARGS='--only ours,null' for some
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

bench-full: $(BENCH_VENV)/.installed  ## all of it, into docs/benchmarks
	$(BENCH_VENV)/bin/python -m benchmarks --full --docs docs/benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
