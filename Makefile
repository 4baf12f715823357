# Targets for people; `make` alone lists them.

PYTHON ?= python3
HOSTS ?= 3
TUNNELS ?= peer

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# command:package, of everything the lab and the tests run
TOOLS := ovs-vswitchd:openvswitch-switch ip:iproute2 ethtool:ethtool ping:iputils-ping \
         tcpdump:tcpdump unshare:util-linux busybox:busybox \
         chromium-headless-shell:chromium-headless-shell

# Of what only `make bench` compares with; unpacked, not installed: none may start as a service.
PEERS := ovn-common ovn-central ovn-host openvswitch-testcontroller

# Ryu builds only with old setuptools: constraints.txt says why there are two variables.
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints.txt \
       PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip

# A network namespace of its own, so that no test touches the machine's interfaces.
ISOLATED := unshare --net -- sh -c 'ip link set lo up && exec "$$@"' isolated

export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help install system demo test prove coverage bench soak peers check format lab-up lab-down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with the project and what it needs

$(STAMP): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "$(PYTHON) is not Python 3.11 to 3.13: make install PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory system
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[dev]'
	@# Ryu brings a ryu-manager too, which does not start; ours must be the one on top.
	@grep -q apps.ryu_manager $(BIN)/ryu-manager \
	  || $(PIP) install --quiet --no-deps --force-reinstall --editable .
	@grep -q apps.ryu_manager $(BIN)/ryu-manager \
	  || { echo "$(BIN)/ryu-manager is Ryu's own, not this project's"; exit 1; }
	@touch $@

# Installs only what is missing, and only where it may; else names the command to type.
system: ## install the Debian packages that the lab needs
	@missing=; \
	for pair in $(TOOLS); do \
	  command -v $${pair%%:*} >/dev/null 2>&1 || missing="$$missing $${pair##*:}"; \
	done; \
	$(PYTHON) -c 'import ensurepip' >/dev/null 2>&1 || missing="$$missing python3-venv"; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; \
	else \
	  echo "missing:$$missing"; \
	  echo "type as root: apt-get update && apt-get install -y$$missing"; \
	  exit 1; \
	fi

demo: root system install ## watch the controller take over hand-made flows, on three hosts
	@$(ISOLATED) $(BIN)/python -m apps.demo

test: root system install ## run all tests, on real Open vSwitch (ARGS="-k name" for some)
ifeq ($(ARGS),)
	@$(BIN)/python -m tests.side_by_side
else
	@$(ISOLATED) $(BIN)/python -m pytest $(ARGS)
endif

prove: root system install ## the proofs at the size of a release, an hour or two (ARGS="machine kills" for some)
	@$(ISOLATED) $(BIN)/python -m tests.prove $(ARGS)

coverage: root system install ## what tests reach of topology/ and controller/: 92 % at least
	@$(BIN)/python -m tests.covered

bench: root system install peers ## measure beside peers (ARGS="one_post --rounds 3", --short, ...)
	@$(ISOLATED) $(BIN)/python -m bench $(ARGS)

MINUTES ?= 10
SEED ?= $(shell date +%s)

soak: root system install ## random faults under traffic (MINUTES=n SEED=s ARGS="--hosts 6")
	@$(ISOLATED) $(BIN)/python -m bench.soak --minutes $(MINUTES) --seed $(SEED) $(ARGS)

# Where they cannot be had, the bench says which figures went without their peers.
peers: install
	@mkdir -p $(VENV)/peers/debs; cd $(VENV)/peers; \
	for package in $(PEERS); do \
	  test -n "$$(ls debs/$${package}_*.deb 2>/dev/null)" && continue; \
	  (cd debs && apt-get download -qq $$package) >/dev/null 2>&1 \
	    && dpkg-deb -x debs/$${package}_*.deb . || echo "no $$package: measured without it"; \
	done

check: install ## lint, types, layering, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.audit

format: install ## put the code into ruff's layout
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

lab-up: root system install ## a lab to work in: HOSTS=3 TUNNELS=peer|flow
	@$(BIN)/python -m topology.lab up --hosts $(HOSTS) --tunnels $(TUNNELS) $(ARGS)

lab-down: root install ## take the lab away
	@$(BIN)/python -m topology.lab down $(ARGS)

clean: ## remove .venv and what tools leave behind
	rm -rf $(VENV) .coverage.d build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find apps bench controller topology tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "the lab makes network namespaces: run make as root"; exit 1; }
