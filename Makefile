# Every target makes what it needs: the environment in $(VENV) and the package in it, both once.
#
#   make test PYTHON=python3.12 VENV=.venv-3.12     another Python, in an environment of its own
#   make test ARGS="-k simplex -x"                  arguments for pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test torture bridges lint docs figures scoreboard calibrate bench peers dist clean

SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))
# The first of these that runs and is new enough; python3 where none is, so that its version can be named.
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUITABLE)' >/dev/null 2>&1 && echo $$p && break; done),python3)
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= .
ARGS ?=
# Processes for the tests: as many as there are cores, or 0 for none but this one (as for a debugger).
WORKERS ?= auto
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --retries 5

# No target opens a window.
export MPLBACKEND ?= Agg

help: ## this list
	@echo "Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.installed-demo ## fit eight schools: its summary, eight_schools.nc and eight_schools.png
	@$(BIN)/bbvi fit eight_schools --out $(OUT)

test: $(VENV)/.installed-test ## the tests (ARGS="..." goes to pytest)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

torture: $(VENV)/.installed-test ## kills by the hundred, random programs by the hundred thousand (an hour)
	@$(BIN)/python -m pytest -m torture $(ARGS)

bridges: $(VENV)/.installed-bridges ## the tests that need JAX, NumPyro, PyMC and BridgeStan (and PyTorch, if installed)
	@$(BIN)/python -m pytest tests/test_bridges.py tests/test_examples.py tests/test_own_gradient.py -k "bridges or jax or pymc or pytorch" $(ARGS)

lint: $(VENV)/.installed-lint ## ruff, mypy, and the layers of the house
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports setup.cfg

docs: $(VENV)/.installed-docs ## the documentation, in docs/_build/html, its gallery fitted and its guide run (two minutes); a warning is an error
	@$(BIN)/python -m sphinx -W --keep-going -q -j auto -b html docs docs/_build/html
	@$(BIN)/python docs/phone_width.py docs/_build/html
	@echo "Open docs/_build/html/index.html"

figures: $(VENV)/.installed-docs ## compute the pictures and tables of the documentation afresh (minutes)
	@$(BIN)/python docs/figures

scoreboard: $(VENV)/.installed-docs ## fit the whole gallery against its references (a minute or two)
	@$(BIN)/python docs/figures scoreboard

calibrate: $(VENV)/.installed-docs ## fit some 270 posteriors with known answers, and count right and wrong verdicts (minutes; ARGS="--quick")
	@$(BIN)/python tests/calibration $(ARGS)

bench: $(VENV)/.installed-test ## time and cost against hand-written code, by rows, latents and workers (half an hour)
	@$(BIN)/python tests/benchmarks
	@$(BIN)/python tests/benchmarks/cluster.py --out docs/_static/figures/cluster.md
	@$(BIN)/python tests/benchmarks/scaling.py --out docs/_static/figures/scaling.md

peers: $(VENV)/.installed-demo ## side by side with PyVBMC on few values, and with NumPyro on large posteriors (half an hour)
	@$(MAKE) --no-print-directory .venv-peers/.installed-peers VENV=.venv-peers PYTHON=$(PYTHON)
	@$(BIN)/python tests/benchmarks/from_values.py --pyvbmc .venv-peers/bin/python \
		--out docs/_static/figures/from_values.md
	@$(BIN)/python tests/benchmarks/peers.py --numpyro .venv-peers/bin/python --out docs/_static/figures/peers.md $(ARGS)

dist: $(VENV)/.installed-publish ## a wheel and an sdist in dist/, as they would be published
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist .
	@$(BIN)/python -m twine check --strict dist/*

clean: ## remove what the other targets made
	[ ! -e $(VENV)/.created ] || rm -rf $(VENV)
	rm -rf build dist *.egg-info docs/_build docs/gallery/models docs/notebooks .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f $(OUT)/eight_schools.nc $(OUT)/eight_schools.png
	find bbvi models tests examples docs -name __pycache__ -prune -exec rm -rf {} +

# The stamps are written when all went well, so a broken set-up is begun again.
$(VENV)/.created:
	@$(PYTHON) -c '$(SUITABLE)' || { echo "bbvi needs Python 3.11 or newer, and $(PYTHON) is \
	$$($(PYTHON) --version 2>&1). Name a newer one: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Making the environment $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing bbvi into $(VENV) (the first time takes a minute)"
	@$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing bbvi[$*] into $(VENV) (the first time takes a minute)"
	@$(PIP_INSTALL) --editable ".[$*]"
	@touch $@ $(VENV)/.installed-demo
