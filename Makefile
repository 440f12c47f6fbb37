# `make lab` opens the course, `make test` runs the tests: each does all its set-up itself, in .venv and nowhere else.
# On Windows: use WSL, or conda with environment.yml.

VENV ?= .venv
PYTHON ?=
TORCH ?=
V ?=

# What `make lock` pins. The second is the one version of triton that the CUDA build of the first accepts.
TORCH_VERSION := 2.13.0
TRITON_VERSION := 3.7.1
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

MODEL := smollm2-135m
OMP_NUM_THREADS ?= 2
WORKERS ?= 2
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=300 --nbval-sanitize-with=tests/nbval_sanitize.cfg
QUIET := $(if $(V),,--quiet)
PIP = -m pip install $(QUIET) --disable-pip-version-check

BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIENTS := $(CURDIR)/.clients
COLAB := .venv-colab
COLAB_READY := $(COLAB)/.ready

# Settings of what runs notebooks: no progress bars, they would differ on each run.
STORING := HF_HUB_DISABLE_PROGRESS_BARS=1 OMP_NUM_THREADS=$(OMP_NUM_THREADS)
# Settings of all tests: how threads wait is minieng's own business (minieng/openmp.py).
TESTING := $(STORING)
# Files side by side, a thread each: two processes use two cores better than two threads of one. What times something
# or needs both threads carries the mark `apart` and runs alone afterwards. A file stays in one process, so that its
# fixtures are made once.
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile
ONE_THREAD := OMP_NUM_THREADS=1

# A shell fragment: leaves in $$python the interpreter named by PYTHON=, else python3 if it is one of 3.11-3.13,
# else the newest of those that runs. (Asking it matters: a pyenv shim exists for versions that do not run.)
define FIND_PYTHON
python=''; \
for try in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
  if "$$try" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; \
  then python=$$try; break; fi; \
done; \
if [ -z "$$python" ]; then \
  echo "minieng needs Python 3.11, 3.12 or 3.13, and $(or $(PYTHON),no python3 on the PATH) is none of these" >&2; \
  echo "($$( $(or $(PYTHON),python3) --version 2>&1 | head -n 1)). Install one, or name it: make $(or $(MAKECMDGOALS),lab) PYTHON=/path/to/python3.12" >&2; \
  exit 1; \
fi
endef

# A shell fragment: $(call MAKE_VENV,folder) makes the folder a working virtual environment of $$python.
define MAKE_VENV
if ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then \
  echo "==> making $(1) with $$python ($$($$python --version))"; \
  "$$python" -m venv --clear $(1) || { \
    echo "could not make $(1); on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }; \
fi
endef

.DEFAULT_GOAL := help
.PHONY: help lab lint test test-stored test-unit test-notebooks test-all test-gpu test-wide models test-hostile test-load test-browser clients test-clients test-ray test-lax test-tiny test-colab test-site test-wheel site wheel bench notebooks lock clean model

help: ## this list
	@echo "make lab           open the course in JupyterLab (sets everything up the first time)"
	@echo "make lint          style, types, the layout of the C files, the schema of the workflows: seconds"
	@echo "make test          make lint, unit tests, then every notebook with the real model, outputs compared"
	@echo "make test-all      make test, then its slower parts, each a target of its own:"
	@echo "    test-wide      whole grids, published experiments, every model type: make test takes a part"
	@echo "    test-hostile   submissions that attack the grader"
	@echo "    test-load      the server with 500 clients, faults and signals"
	@echo "    test-clients   real clients (openai, litellm, lm-eval, …) in environments of their own"
	@echo "    test-ray       replicas that Ray runs (skipped with the reason where Ray is not, or does not start)"
	@echo "    test-lax       all notebooks, exercises too: no cell may fail"
	@echo "    test-tiny      everything with the tiny model"
	@echo "    test-colab     the notebooks on the versions that Colab has"
	@echo "    test-browser   the site, the live page and the players in headless Chromium, with axe-core"
	@echo "make test-gpu      the tests that need a GPU (skipped with the reason where there is none)"
	@echo "make site          the course as a static site, in build/site; REPO=owner/name for links into GitHub and Colab"
	@echo "make wheel         the wheels of a release, in dist"
	@echo "make models        write docs/MODELS.md anew: which model types run"
	@echo "make bench         measure minieng against other engines on this machine's CPU"
	@echo "make notebooks     run all notebooks in one sitting and store their outputs; ALONE= on a busy machine"
	@echo "make lock          write requirements-lock.txt anew (Linux x86_64)"
	@echo "make clean         remove the environments, caches and build output"
	@echo ""
	@echo "TORCH=cpu     take PyTorch from its CPU index: for a machine without an NVIDIA GPU"
	@echo "PYTHON=...    the interpreter for .venv (3.11, 3.12 or 3.13)"
	@echo "WORKERS=n     so many test files side by side (2)"
	@echo "V=1           show what pip does"

# The stamp is written last: an interrupted set-up is taken up again by the next make.
$(READY): pyproject.toml requirements-lock.txt
	@$(FIND_PYTHON); $(call MAKE_VENV,$(VENV))
	@rm -f $@
	@if [ "$(TORCH)" = cpu ]; then \
	  echo "==> installing PyTorch from its CPU index"; \
	  $(BIN)/python $(PIP) --no-deps --index-url $(TORCH_CPU_INDEX) -c requirements-lock.txt torch; \
	fi
	@echo "==> installing minieng and the course (the first time: some minutes; V=1 shows what pip does)"
	@$(BIN)/python $(PIP) -c requirements-lock.txt -e '.[course,serve]'
	@touch $@

model: $(READY)
	@echo "==> looking for the default model, $(MODEL)"
	@$(BIN)/minieng fetch $(MODEL)

# With -y, one Ctrl-C ends the server without a question.
lab: $(READY)
	@echo "==> looking for the default model, $(MODEL)"
	@$(BIN)/minieng fetch $(MODEL) || echo "==> no default model now; the lessons will try again" >&2
	@flags=''; \
	if [ "$$(id -u)" = 0 ]; then flags="$$flags --allow-root"; fi; \
	if [ -n "$${CI:-}" ] || { [ "$$(uname)" = Linux ] && [ -z "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; }; then \
	  flags="$$flags --no-browser"; echo "==> no screen here: open the address that JupyterLab prints below"; \
	fi; \
	echo "==> starting JupyterLab (Ctrl-C ends it)"; \
	exec $(BIN)/python -m jupyterlab -y $$flags --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: lint test-stored test-unit test-site test-notebooks ## what CI runs

lint: $(READY) ## what .pre-commit-config.yaml runs too
	@echo "==> style, types, C, workflows"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(wildcard minieng/kernels/native/*.[ch])
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $(wildcard .github/workflows/*.yml)

test-stored: $(READY)
	@echo "==> exercises as their masters say, notebooks as a run left them"
	@$(BIN)/coursekit build --check
	@$(BIN)/coursekit notebooks check

test-unit: model
	@echo "==> unit tests"
	$(TESTING) $(ONE_THREAD) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not (hostile or wide or apart or clients or load or browser or ray or site)" tests
	@echo "==> unit tests that want the machine to themselves"
	$(TESTING) $(BIN)/python -m pytest -m "apart and not (hostile or wide or clients or load or browser or ray or site)" tests

test-wide: model
	@echo "==> whole grids and published experiments"
	$(TESTING) $(ONE_THREAD) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m wide tests

models: $(READY) ## docs/MODELS.md, anew
	PYTHONPATH=tests $(BIN)/python -m support.sweep docs/MODELS.md

test-gpu: $(READY) ## by itself: the interpreter's tests switch compiled Triton off for a whole process
	@echo "==> tests that need a GPU"
	$(BIN)/python -m pytest -o addopts=--strict-markers tests/gpu

test-load: $(READY)
	@echo "==> the server under load, with faults and signals in the middle"
	$(TESTING) $(BIN)/python -m pytest -s -m load tests/server

clients: $(READY) ## environments of their own for the clients that test-clients runs
	PYTHONPATH=tests:benchmarks $(BIN)/python -m support.client_envs $(CLIENTS)

test-clients: clients
	@echo "==> real clients against the server"
	MINIENG_CLIENTS=$(CLIENTS) $(TESTING) $(BIN)/python -m pytest -rs -m clients tests/clients

test-ray: $(READY)
	@echo "==> replicas that Ray runs"
	$(TESTING) $(BIN)/python -m pytest -rs -m ray tests/server

test-hostile: $(READY)
	@echo "==> submissions that attack the grader"
	$(BIN)/python -m pytest -m hostile tests/coursekit

# A shell fragment: $(call STRICT,python,settings,folder,options of pytest) compares each stored output of the folder's notebooks.
define STRICT
if ls $(3)/*.ipynb >/dev/null 2>&1; then \
  echo "==> $(3)/ strictly: every stored output is compared"; \
  $(TESTING) $(2) $(1) -m pytest -o addopts="" $(NBVAL) $(4) $(3); \
else echo "==> $(3)/ holds no notebook"; fi
endef

test-notebooks: model
	@$(call STRICT,$(BIN)/python,,docs)
	@$(call STRICT,$(BIN)/python,,notebooks)
	@$(call STRICT,$(BIN)/python,COURSEKIT_STRICT=1,solutions)

# One after the other whatever -j says: side by side they would disturb each other's timings.
test-all:
	@$(MAKE) test
	@$(MAKE) test-wide
	@$(MAKE) test-hostile
	@$(MAKE) test-load
	@$(MAKE) test-clients
	@$(MAKE) test-ray
	@$(MAKE) test-lax
	@$(MAKE) test-tiny
	@$(MAKE) test-colab
	@$(MAKE) test-browser

test-lax: model
	@echo "==> all notebooks, exercises too: no cell may fail"
	$(TESTING) $(BIN)/python -m pytest $(wildcard notebooks solutions exercises)

test-tiny: $(READY)
	@echo "==> everything with the tiny model"
	MINIENG_MODEL=tiny $(TESTING) $(BIN)/python -m pytest -m "not (clients or load or browser or ray or site)"

# What makes the site is pinned in pyproject.toml, and in no lock: the course does not need it.
SITE_READY := $(VENV)/.site-ready
$(SITE_READY): $(READY) pyproject.toml
	@echo "==> installing what makes the site"
	@$(BIN)/python $(PIP) -c requirements-lock.txt -e '.[site]'
	@touch $@

test-site: $(SITE_READY)
	@echo "==> the site: it builds, no link is broken, each figure has words"
	$(TESTING) $(ONE_THREAD) $(BIN)/python -m pytest -m "site and not browser" tests/site

AXE := build/axe/node_modules/axe-core/axe.min.js
test-browser: $(SITE_READY)
	@echo "==> the site, the live page and the players in a browser (needs chromium, and npm for axe-core)"
	@$(BIN)/python $(PIP) -e '.[browser]'
	@[ -e $(AXE) ] || npm install --silent --no-audit --no-fund --prefix build/axe axe-core@4
	MINIENG_AXE=$(AXE) $(TESTING) $(BIN)/python -m pytest -rs -m browser tests

site: $(SITE_READY) ## build/site, from the stored outputs
	$(BIN)/python -m tools.site build/site $(if $(REPO),--repo $(REPO))
	$(BIN)/python -m tools.playground build/site

$(COLAB_READY): requirements-colab-like.txt pyproject.toml
	@$(FIND_PYTHON); $(call MAKE_VENV,$(COLAB))
	@rm -f $@
	@echo "==> installing the versions of a Colab kernel"
	@$(COLAB)/bin/python $(PIP) -r requirements-colab-like.txt
	@$(COLAB)/bin/python $(PIP) --no-deps -e .
	@touch $@

test-colab: $(COLAB_READY) model
	@echo "==> the notebooks on the versions that Colab has"
	@$(call STRICT,$(COLAB)/bin/python,,notebooks)
	@$(call STRICT,$(COLAB)/bin/python,COURSEKIT_STRICT=1,solutions)

wheel: $(READY) ## both wheels, in dist: the pure one, and on Linux x86-64 one with the C kernel compiled
	@rm -rf dist
	@$(BIN)/python -m tools.wheel

test-wheel: $(READY)
	@echo "==> the wheels, alone in fresh environments"
	$(TESTING) $(BIN)/python -m pytest tests/test_wheel.py

bench: $(READY)
	OMP_NUM_THREADS=$(OMP_NUM_THREADS) $(BIN)/python benchmarks/cpu_peers.py

# All in one sitting, and none that anything disturbed: times in different lessons are compared by readers and by a test.
# ALONE= stores them all the same.
ALONE := --alone
notebooks: model
	@$(STORING) $(BIN)/coursekit notebooks run $(ALONE) docs notebooks
	@$(STORING) COURSEKIT_STRICT=1 $(BIN)/coursekit notebooks run $(wildcard solutions)

# Freezes a clean environment. PyTorch's CPU build stands in for the CUDA build (same version, gigabytes less);
# its +cpu suffix is taken off, and nvidia's packages stay free: each CUDA build of PyTorch pins its own.
lock:
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then echo "make lock runs on Linux x86_64 only" >&2; exit 1; fi
	@$(FIND_PYTHON); rm -rf .venv-lock; $(call MAKE_VENV,.venv-lock)
	@echo "==> resolving in .venv-lock"
	@printf 'torch==%s\ntriton==%s\n' $(TORCH_VERSION) $(TRITON_VERSION) > .venv-lock/pins.txt
	@.venv-lock/bin/python $(PIP) --no-deps --index-url $(TORCH_CPU_INDEX) -c .venv-lock/pins.txt torch
	@.venv-lock/bin/python $(PIP) -c .venv-lock/pins.txt -e '.[course,serve]'
	@.venv-lock/bin/python -m pip freeze --exclude-editable > .venv-lock/frozen.txt
	@{ echo "# The exact versions that are tested: constraints for pip (pip install -c requirements-lock.txt -e '.[course,serve]')."; \
	  echo "# Written by \`make lock\` from a clean environment; do not edit. The floors are in pyproject.toml."; \
	  echo "# triton $(TRITON_VERSION) is the version that PyTorch $(TORCH_VERSION) for CUDA asks for."; \
	  sed -e 's/+cpu$$//' .venv-lock/frozen.txt | grep -v -i -E '^(nvidia-|cuda-|#)'; } > .venv-lock/lock.txt
	@mv .venv-lock/lock.txt requirements-lock.txt
	@rm -rf .venv-lock
	@echo "==> wrote requirements-lock.txt"

clean: ## models already fetched and the notebooks' outputs stay
	rm -rf $(VENV) $(COLAB) $(CLIENTS) .venv-lock build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +
