# Every target sets up what it needs: a .venv with the exact versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_WAIT_POLICY := PASSIVE

.PHONY: install demo test check format bench clean clean-kernels

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "PYTHON: $$($(PYTHON) --version) is too old; set PYTHON to a Python 3.11 or newer"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/testbed run experiments/configs/demo.yaml

check: test

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	@set -e; for script in benchmarks/*.py; do name=$$(basename $$script .py); \
		case $$name in _*) continue;; \
			gpu_*) $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
				{ echo "== $$name: skipped, no CUDA device is here"; continue; };; esac; \
		echo "== $$name"; $(BIN)/python $$script --json benchmarks/results/$$name.json; done

clean-kernels:
	find simulator policies allocation -name '*.nb[ci]' -delete

clean: clean-kernels
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache runs
