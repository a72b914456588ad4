# Everything starts from here: `make demo`, `make test`. `make help` lists the rest.
#
# PYTHON=python3.12 chooses another interpreter (3.11 to 3.13), VENV another environment.

PYTHON ?= python3
VENV ?= .venv
# A file's tests share what it takes long to make.
PYTEST ?= -n auto --dist loadfile
# What images are built on: see `kfp-suite images build --help`.
BASE ?= debian
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
.DEFAULT_GOAL := help
.PHONY: help dev demo test test-all test-cluster lint types check bench wheel lock images golden readmes clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# Hash-locked, in two steps: what builds source distributions is installed first, so that
# no build fetches anything that is not locked.
define install
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "error: KFP Suite needs Python 3.11 to 3.13; run make PYTHON=python3.11"; exit 2; }
	@echo "installing $(1) (once; about a minute)"
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --require-hashes --no-build-isolation --no-deps -r requirements/$(1).txt
	@touch $@
endef

$(VENV)/local: requirements/build.txt requirements/local.txt
	$(call install,local)

$(VENV)/dev: requirements/build.txt requirements/dev.txt
	$(call install,dev)
	@touch $(VENV)/local

# The checkout itself is installed, so that an edit needs no reinstall; WHEEL=FILE installs a wheel
# instead, as CI does, which tests what is shipped.
$(VENV)/suite: pyproject.toml | $(VENV)/local
	@$(PIP) install --no-deps --no-build-isolation --force-reinstall $(if $(WHEEL),"$(WHEEL)",-e .)
	@touch $@

dev: $(VENV)/dev $(VENV)/suite ## An environment to work in: every library, and this checkout.

demo: $(VENV)/local $(VENV)/suite ## From raw flights to a live, versioned endpoint.
	@$(BIN)/kfp-suite run train_and_deploy --params flights

test: $(VENV)/dev $(VENV)/suite ## Lint, types, and the quick tests.
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest $(PYTEST) tests/unit tests/contract

test-all: $(VENV)/dev $(VENV)/suite ## Lint, types, and every test that this machine can run.
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest $(PYTEST)

# The exam's variables are in docs/cluster.md; the tests read them by other names.
IMAGE_LOCK ?= image-lock.json
TABLE ?= cluster-exam.md
missing := $(strip $(foreach name,KUBECONFIG HOST STORE INGRESS,$(if $($(name)),,$(name))))
test-cluster: $(if $(missing),,$(VENV)/dev $(VENV)/suite) ## The exam on a Kubeflow of yours: see docs/cluster.md.
	@test -z "$(missing)" || { echo "error: make test-cluster needs $(missing); see docs/cluster.md"; exit 2; }
	@test -f "$(IMAGE_LOCK)" || { echo "error: no IMAGE_LOCK=$(IMAGE_LOCK); see docs/cluster.md"; exit 2; }
	@KFP_SUITE_KUBECONFIG="$(KUBECONFIG)" KFP_SUITE_KFP_HOST="$(HOST)" KFP_SUITE_STORE="$(STORE)" \
		KFP_SUITE_INGRESS="$(INGRESS)" KFP_SUITE_IMAGE_LOCK="$(IMAGE_LOCK)" \
		KFP_SUITE_NAMESPACE="$(NAMESPACE)" KFP_SUITE_KFP_RESOURCES="$(RESOURCES)" \
		KFP_SUITE_KFP_ACCOUNT="$(ACCOUNT)" KFP_SUITE_READER="$(READER)" \
		KFP_SUITE_KFP_NAMESPACE="$(PROFILE)" KFP_SUITE_KFP_TOKEN_FILE="$(TOKEN_FILE)" \
		KFP_SUITE_KFP_COOKIE_FILE="$(COOKIE_FILE)" KFP_SUITE_KFP_CA_FILE="$(CA_FILE)" \
		$(BIN)/python -m pytest tests/cluster --ignore tests/cluster/test_exam_tools.py \
		-k "not double$(if $(ONLY), and ($(ONLY)))" --table "$(TABLE)"

check: lint types ## Lint and types only.

lint: $(VENV)/dev $(VENV)/suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/dev $(VENV)/suite
	$(BIN)/mypy -p kfp_suite -p tests

bench: $(VENV)/dev $(VENV)/suite ## The benchmarks: a table of ratios (takes minutes).
	$(BIN)/python -m tests.benchmarks $(BENCH)

golden: $(VENV)/dev $(VENV)/suite ## Write the compiled pipelines that the tests compare with.
	$(BIN)/kfp-suite compile --all -o tests/golden

readmes: $(VENV)/dev $(VENV)/suite ## Write the READMEs of components and pipelines from their interfaces.
	$(BIN)/python -m tests.contract.component_readmes
	$(BIN)/python -m tests.contract.pipeline_readme
	$(BIN)/python -m tests.contract.feature_reference

LOCK := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header
# What is tested with TensorFlow is what the images have: see images/overrides.txt.
LOCK_DEV := --override images/overrides.txt images/tensorflow-cpu.in

wheel: $(VENV)/local ## Build the wheel, into dist/.
	@rm -rf build dist
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build

lock: ## Compile requirements/*.txt and images/*/*.txt from pyproject.toml (needs uv).
	$(LOCK) --allow-unsafe requirements/build.in -o requirements/build.txt
	$(LOCK) --extra dev pyproject.toml $(LOCK_DEV) -o requirements/dev.txt
	$(LOCK) --extra local pyproject.toml --constraint requirements/dev.txt -o requirements/local.txt
	$(BIN)/kfp-suite images lock --upgrade

images: $(VENV)/local $(VENV)/suite ## Build every container image (needs Docker; minutes).
	@$(BIN)/kfp-suite images build --base $(BASE)

clean: ## Remove the environment and everything that was built or run here.
	rm -rf $(VENV) build dist src/*.egg-info kfp-suite-runs .mypy_cache .ruff_cache .pytest_cache
