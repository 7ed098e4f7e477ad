# weave-engine: `make demo` shows it working, `make test` runs every check.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint types unit bench learning differential fuzz chaos soak crash reference lock clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("weave-engine needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install
	$(BIN)/weave-engine demo

test: lint types unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	$(BIN)/python -m pytest

# Every benchmark, with what they compare with installed beside the engine. Takes some minutes; prints ratios.
bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	for file in tests/benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file --json || exit 1; done

# What learning earns on real outcomes, over ten seeds: some minutes. WEAVE_OUTCOMES names the table of first prompts.
learning: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python tests/benchmarks/learning.py --json

# The CEL engine against the reference, 20,000 random expressions: some minutes.
differential: install
	WEAVE_DIFFERENTIAL_CASES=20000 $(BIN)/python -m pytest tests/policy/expression -k differential

# The tables of the policy reference, from the schemas, the checker and its cases.
reference: install
	$(BIN)/python -m tests.policy.reference

# Random conversations and streams through every protocol, other ones each time, then random requests to every path
# that /openapi.json describes: some minutes.
fuzz: install .venv-checks/installed
	WEAVE_FUZZ_EXAMPLES=3000 $(BIN)/python -m pytest tests/protocols/oracles -k random
	$(BIN)/python -m tests.server.security.surface .venv-checks/bin/schemathesis

# Whether a known vulnerability is in what the engine depends on. Ends with 3 where nobody could be asked.
audit: install .venv-checks/installed
	$(BIN)/python -m tests.audit .venv-checks/bin/pip-audit requirements.lock

.venv-checks/installed: requirements-checks.lock
	$(PYTHON) -m venv .venv-checks
	.venv-checks/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-checks.lock
	touch $@

# Two thousand sessions against providers that fail in every way, over sockets: three minutes. Ends with a line of JSON;
# SEED=… does again what it names.
chaos: install
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED))

# The same at a moderate rate for ten minutes, to see whether memory stays flat.
soak: install
	$(BIN)/python -m tests.chaos --sessions 500 --seconds 600 --rate 30 $(if $(SEED),--seed $(SEED))

# Kills the engine fifty times while it works, and looks for what was promised: some minutes. SEED repeats a course.
crash: install
	$(BIN)/python -m tests.crash $(if $(SEED),--seed $(SEED))

# Writes the lock again. Addresses of package indexes stay out of it.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/pip-compile --quiet --extra dev --extra bench --generate-hashes --allow-unsafe --strip-extras \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --constraint requirements.lock --output-file requirements-bench.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/pip-compile --quiet --extra checks --generate-hashes --allow-unsafe --strip-extras \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --constraint requirements.lock --output-file requirements-checks.lock pyproject.toml
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock .venv-checks .mypy_cache .ruff_cache .hypothesis build dist
