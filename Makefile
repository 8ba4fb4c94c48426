# Needs Python >= 3.11, make and git; everything else is installed into .venv from the lock.
PYTHON ?= python3
LOCK = envs/requirements.lock
BIN = .venv/bin
# Two files at a time, on one thread each, or they would hold each other up.
IN_PAIRS = OMP_NUM_THREADS=1 python -m pytest --numprocesses=2 --dist=loadfile
PARITY = tests/test_parity_inference.py tests/test_parity_training.py
# Rules call `python`: let it be the one of .venv, whatever shell this is typed in.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo weights report test test-slow test-again test-cluster test-long lint docs lock clean

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

weights: .venv/installed  ## train the small CLIP that comes with the package again
	snakemake --profile local --config recipe=mini -- packaged_weights
	cp results/mini/packaged/mini_* scan_core/models/packaged/

report: .venv/installed  ## tables, figures and pictures as one HTML page: results/mini/report.html
	snakemake --profile local --config recipe=mini -- results/mini/report.html

test: .venv/installed  ## every part of the pipeline once, the whole of it in small, and the released numbers
	$(IN_PAIRS) -m "not slow and not long and not cluster" --ignore-glob='*test_parity_*'
	# Together, for they count what neither of them has compared.
	python -m pytest $(PARITY)

test-slow: .venv/installed  ## more small workflows: DVC, several processes, kills, export, the page's safety
	$(IN_PAIRS) -m "slow and not long and not cluster"

test-again: .venv/installed  ## what failed in the last tests, alone: a busy machine can break a time limit
	python -m pytest --last-failed --last-failed-no-failures=none
	python -m pytest $(PARITY)

test-cluster: .venv/installed  ## tests on a SLURM that they start; tests/slurm_cluster.sh installs it
	python -m pytest -m cluster

test-long: .venv/installed  ## tests that take minutes each: campaigns of faults and kills, full-size models
	python -m pytest -m "long and not cluster"

lint: .venv/installed  ## style, types, and Snakemake's own checks
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

docs: .venv/installed  ## the documentation as a site, links checked: results/docs/index.html
	python -m docs.generate
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet

# The lock is resolved for every platform and Python at once; it holds no addresses.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-header --no-annotate --upgrade pyproject.toml --output-file $(LOCK)
	$(PYTHON) envs/make_conda_environment.py

.venv/installed: $(LOCK)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --require-hashes --requirement $(LOCK)
	touch $@

clean:  ## everything that was made, except downloaded archives and the environment
	rm -rf data/*/raw data/*/benchmarks results/*/ logs .snakemake
