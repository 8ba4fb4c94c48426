# Needs Python >= 3.11, make and git; everything else is installed into .venv from the lock.
PYTHON ?= python3
BIN = .venv/bin
# uv takes a minute for what takes pip several; pip is the fallback, such as for an index that only pip
# is configured for. Modules are compiled once, as pip does, not by the first processes that import them.
install = ($(BIN)/python -m pip install --quiet --require-hashes --requirement envs/uv.lock && \
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		--require-hashes --requirement $(1)) || \
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $(1)
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate
# Two files at a time, on one thread each, or they would hold each other up.
IN_PAIRS = OMP_NUM_THREADS=1 python -m pytest --numprocesses=2 --dist=loadfile
RUNTIME = models training reports workflow tracking versioning search web export
PARITY = tests/test_parity_inference.py tests/test_parity_training.py
# Rules call `python`: let it be the one of .venv, whatever shell this is typed in.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo cpu weights report test test-slow test-again test-cluster test-long lint docs lock clean prune

demo: .venv/installed  ## the whole pipeline on the miniature world
	@started=$$(date +%s); \
		snakemake --profile local --config recipe=mini -- all && \
		python -m workflow_scripts.stage_times --timings results/mini/timings \
			--whole $$(($$(date +%s) - started))
	@echo
	@cat results/mini/tables/main.md
	@echo
	@echo "Where to look next:"
	@echo "  results/mini/report.html              one page of it all, for a browser or a colleague"
	@echo "  results/mini/tables/                  all numbers, grids included, and the published ones"
	@echo "  results/mini/qualitative/             images, ground truth, predictions"
	@echo "  results/mini/figures/                 seen and unseen classes, confusions, curves"
	@echo "  data/mini/benchmarks/*/sheet.png      the benchmarks, as pictures"
	@echo "  mlflow ui                             every run and curve, ablations beside each other"
	@echo "  params.yaml                           what to change"

cpu:  ## .venv with PyTorch's CPU build, from PyTorch's own index; before the other targets
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement envs/uv.lock
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --torch-backend cpu --no-verify-hashes \
		--constraint envs/requirements.lock --requirement pyproject.toml $(addprefix --extra ,$(RUNTIME))
	touch .venv/installed

weights: .venv/installed  ## train the small CLIPs that come with the package again
	snakemake --profile local --config recipe=mini 'recipes={mini: {clip: {source: train}}}' -- \
		results/mini/packaged/mini_clip.safetensors
	snakemake --profile local --config recipe=mini_parts 'recipes={mini_parts: {clip: {source: train}}}' -- \
		results/mini_parts/packaged/mini_clip_pictures.safetensors
	cp results/mini*/packaged/mini_clip* scan_core/models/packaged/

report: .venv/installed  ## tables, figures and pictures as one HTML page: results/mini/report.html
	snakemake --profile local --config recipe=mini -- results/mini/report.html

test: .venv/developed  ## every part of the pipeline once, the whole of it in small, and the released numbers
	$(IN_PAIRS) -m "not slow and not long and not cluster" --ignore-glob='*test_parity_*'
	# Together, for they count what neither of them has compared.
	python -m pytest $(PARITY)

test-slow: .venv/developed  ## more small workflows: DVC, several processes, kills, export, the page's safety
	$(IN_PAIRS) -m "slow and not long and not cluster"

test-again: .venv/developed  ## what failed in the last tests, alone: a busy machine can break a time limit
	python -m pytest -m "" --last-failed --last-failed-no-failures=none
	python -m pytest $(PARITY)

test-cluster: .venv/developed  ## tests on a SLURM that they start; tests/slurm_cluster.sh installs it
	python -m pytest -m cluster

test-long: .venv/developed  ## tests that take minutes each: campaigns of faults and kills, full-size models
	python -m pytest -m "long and not cluster"

lint: .venv/developed  ## style, types, and Snakemake's own checks
	ruff check .
	ruff format --check .
	lint-imports --no-cache
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

docs: .venv/developed  ## the documentation as a site, links checked: results/docs/index.html
	python -m docs.generate
	NO_MKDOCS_2_WARNING=1 SITE_REPOSITORY=$$(git config remote.origin.url | \
		sed -nE 's#^(git@([^:]+):|https?://([^/@]*@)?([^/]+)/)(.+)$$#https://\2\4/\5#p') \
		mkdocs build --quiet

# Locks are resolved for every platform and Python at once; they hold no addresses. What rules and
# apps need is in requirements.lock; development.lock adds, of the same versions, what tests, linters
# and the documentation need.
lock:
	$(COMPILE) --upgrade --all-extras pyproject.toml --output-file envs/development.lock
	$(COMPILE) --constraint envs/development.lock $(addprefix --extra ,$(RUNTIME)) pyproject.toml \
		--output-file envs/requirements.lock
	echo uv | $(COMPILE) --upgrade - --output-file envs/uv.lock
	$(PYTHON) envs/make_conda_environment.py

.venv/installed: envs/requirements.lock envs/uv.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(call install,envs/requirements.lock)
	touch $@

.venv/developed: envs/development.lock .venv/installed
	$(call install,envs/development.lock)
	touch $@

clean:  ## everything that was made, except downloaded archives and the environment
	rm -rf data/*/raw data/*/benchmarks results/*/ logs .snakemake

prune: .venv/installed  ## list results that params.yaml does not use any more; YES=--yes deletes them
	python -m workflow_scripts.prune $(YES)
