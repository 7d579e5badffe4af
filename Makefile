PYTHON ?= python3
VENV ?= .venv
DATA ?= data

$(if $(word 2,$(VENV)),$(error VENV is '$(VENV)': expected a path without spaces))
run := $(VENV)/bin/python
installed := $(VENV)/.installed
# An environment with one framework and no tools is enough to train.
train-torch := $(or $(wildcard $(installed)),$(VENV)/.torch)
train-tf := $(or $(wildcard $(installed)),$(VENV)/.tensorflow)
enough := $(or $($(firstword $(MAKECMDGOALS))),$(installed))
# Others that the benchmark measures, out of the way of the packages.
peers := .venv-peers
# Fetching puts this file in place last.
empty :=
mnist := $(subst :,\:,$(subst $(empty) $(empty),\ ,$(DATA)))/MNIST/raw/t10k-labels-idx1-ubyte

# Paths reach the shell through its environment, whatever characters they have.
export DATA PORT

proof := $(run) -m parity_tests
results := parity_tests/measurements/results

# The tests run in as many processes as there are cores, each of one thread.
one_thread := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1
in_parallel := --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
proof_tests := parity_tests/tests/ladder parity_tests/tests/traps
tests := $(one_thread) $(run) -m pytest --data="$$DATA"

# TensorFlow has no torchrun: here the shell starts the ranks, and passes on what would end them.
free_ports := import socket, sys; \
	servers = [socket.create_server(("localhost", 0)) for _ in range(int(sys.argv[1]))]; \
	print(*(f"\"localhost:{server.getsockname()[1]}\"" for server in servers), sep=", ")
define on_tf_ranks
[ $(RANKS) -gt 0 ] 2>/dev/null || { echo 'RANKS is $(RANKS): expected a number above 0' >&2; exit 2; }; \
workers=$$($(run) -c '$(free_ports)' $(RANKS)) || exit 2; \
trap 'kill $$pids' INT TERM HUP; rank=0; pids=; \
while [ $$rank -lt $(RANKS) ]; do \
	TF_CONFIG="{\"cluster\": {\"worker\": [$$workers]}, \"task\": {\"type\": \"worker\", \"index\": $$rank}}" \
		$(proof) train tf --data "$$DATA" $(ARGS) & \
	pids="$$pids $$!"; rank=$$((rank + 1)); \
done; \
status=0; for pid in $$pids; do wait $$pid || status=$$?; done; wait; exit $$status
endef

.PHONY: help install data train-torch train-tf parity test search soak fuzz mutants check traps zoo \
	bench lint diff clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14
	@echo
	@echo 'Options reach the program through ARGS: make train-torch ARGS="--epochs 2"'
	@echo 'PYTHON, VENV and DATA name the interpreter, the environment and the folder of MNIST.'

install: $(installed) ## Make the environment: both frameworks and the tools, 8 GB

$(installed): extra := parity
$(VENV)/.torch: extra := torch
$(VENV)/.tensorflow: extra := tensorflow

$(installed) $(VENV)/.torch $(VENV)/.tensorflow: pyproject.toml .constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is not Python 3.11 or newer: name one that is, as in make PYTHON=python3.11' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(run) -m pip install --quiet --constraint .constraints.txt --editable '.[$(extra)]'
	@touch $@

data: $(installed) ## Fetch MNIST and verify it
	@$(proof) fetch-mnist "$$DATA"

$(mnist): | $(enough)
	@$(proof) fetch-mnist "$$DATA"

train-torch: $(train-torch) $(mnist) ## Train the book's network in PyTorch: RANKS=2 in two processes
	@$(run) $(if $(RANKS),-m torch.distributed.run --standalone --nproc-per-node $(RANKS)) \
		-m $(if $(RANKS),--) parity_tests train torch --data "$$DATA" $(ARGS)

train-tf: $(train-tf) $(mnist) ## Train the book's network in TensorFlow: RANKS=2 in two processes
	@$(if $(RANKS),$(on_tf_ranks),$(proof) train tf --data "$$DATA" $(ARGS))

parity: $(installed) $(mnist) ## Prove that the two are the same: build/parity.html (4 minutes)
	@$(tests) $(in_parallel) $(proof_tests) --page build/parity.html $(ARGS)

test: $(installed) $(mnist) ## Run all tests, the proof included (8 minutes)
	@$(tests) $(in_parallel) $(ARGS)

search: $(installed) $(mnist) ## Search for a counterexample with new random inputs (10 minutes)
	@$(tests) --hypothesis-profile search -m hypothesis $(ARGS)

soak: $(installed) $(mnist) ## Run what takes longer: the soak tests, the search, the traps (2 hours)
	@$(tests) -m soak $(ARGS)
	@$(MAKE) search traps

fuzz: $(installed) ## Fuzz every reader: a million executions (half an hour)
	@$(run) -m pip install --quiet --constraint .constraints.txt --editable '.[fuzz]'
	@$(one_thread) $(run) -m parity_tests.tests.fuzz parity_tests/tests/fuzz/results.json

check: $(installed) $(mnist) ## Check your own port: make check PORT=file.py
	@$(if $(PORT),,$(error PORT is not set: expected a Python file, as in make check PORT=file.py))
	@$(proof) check "$$PORT" --data "$$DATA" $(ARGS)

traps: $(installed) $(mnist) ## Plant each known mistake and show what sees it (half an hour)
	@$(proof) traps --data "$$DATA" --output parity_tests/traps/sensitivity.json $(ARGS)

zoo: $(installed) ## Judge pairs of Keras models and ports, right and wrong, and time it (half an hour)
	@$(run) -m parity_tests.tests.models.sensitivity
	@$(run) -m parity_tests.tests.models.timing

mutants: $(installed) $(mnist) ## Change the code in each place: does a test see it? (an hour)
	@$(one_thread) $(run) -m parity_tests.tests.mutation --data "$$DATA" $(ARGS)

bench: $(installed) $(mnist) $(peers)/.installed ## Time a step and whole runs against others (half an hour)
	@$(proof) bench --peers $(peers) --data "$$DATA" \
		--output $(results)/benchmark.json --plot $(results)/benchmark.svg $(ARGS)

$(peers)/.installed: .constraints.txt
	$(PYTHON) -m venv $(peers)
	$(peers)/bin/python -m pip install --quiet --constraint .constraints.txt jax keras && \
		touch $@ || echo 'JAX could not be installed, and will be absent' >&2

lint: $(installed) ## Check style, format and types
	@$(run) -m ruff check .
	@$(run) -m ruff format --check .
	@$(run) -m mypy

diff: ## Show the port, each line in which the packages differ: ARGS=losses.py for a file
	@for file in tf_reference/$(or $(ARGS),*.py*); do port=torch_port/$${file#*/}; \
		diff -u --label $$file --label $$port $$file $$port || true; done

clean: ## Remove the environment, the data that was fetched, and the caches
	rm -rf $(patsubst %/pyvenv.cfg,%,$(wildcard $(VENV)/pyvenv.cfg $(peers)/pyvenv.cfg))
	@raw="$$DATA/MNIST/raw"; [ ! -e "$$raw/.fetched" ] || { \
		rm -f "$$raw/.fetched" "$$raw/train-images-idx3-ubyte" "$$raw/train-labels-idx1-ubyte" \
			"$$raw/t10k-images-idx3-ubyte" "$$raw/t10k-labels-idx1-ubyte"; \
		rmdir "$$raw" "$$DATA/MNIST" "$$DATA" 2>/dev/null || true; }
	rm -rf build *.egg-info .hypothesis .*_cache
	find tf_reference torch_port parity_tests -name __pycache__ -exec rm -rf {} +
