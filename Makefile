# The front door. Two commands are all a new user needs: make demo, make test.

SHELL := /bin/bash
NODE := node_modules/.bin/node
INSTALLED := node_modules/.package-lock.json

.PHONY: help demo test check crds bundle image tools shell bench sim walk chaos clean

help:
	@echo 'make demo         the cluster of the article on this machine, played through; KEEP=1 leaves it running'
	@echo 'make shell        a shell inside the sandbox that make demo KEEP=1 left running; SANDBOX=pid chooses'
	@echo 'make test         every check and every test, each fault on the real stack too'
	@echo 'make check        types and style: seconds'
	@echo 'make tools        what the machine lacks; builds the real kube-apiserver, etcd and MinIO, once'
	@echo 'make bench        outages as a client sees them, as ratios'
	@echo 'make sim          the protocol under faults, simulated: SEEDS=1000 from FROM=1 on JOBS=1 cores'
	@echo 'make walk         small worlds in every order, minutes; ONLY=words; STORIES=1: what goes wrong without each rule'
	@echo 'make chaos        random faults on the sandbox: MINUTES=30 SEED=1 POLICY=Lease|Instance HEARTBEAT=true|false ONLY=regex'
	@echo 'make crds         write manifests/crds, manifests/argocd and docs/conditions.md from their sources'
	@echo 'make bundle       write dist/*.mjs, the programs, and dist/kubectl-pointsman'
	@echo 'make image        the image of the controller; IMAGE=name:tag, BUILDER=docker'
	@echo 'make clean        remove node_modules and dist'

demo: $(INSTALLED) tools
	@$(NODE) sandbox/demo.ts $(if $(KEEP),--keep)

test: check tools
	$(NODE) node_modules/vitest/vitest.mjs run

check: $(INSTALLED)
	$(NODE) node_modules/typescript/bin/tsc --noEmit
	$(NODE) node_modules/@biomejs/biome/bin/biome ci --error-on-warnings .

crds: $(INSTALLED)
	$(NODE) src/crds/main.ts

bundle: $(INSTALLED)
	$(NODE) build.ts

# BUILDER builds it: docker, podman, or buildah with BUILD='bud --isolation chroot'.
BUILDER ?= docker
BUILD ?= build
IMAGE ?= pointsman-controller:0.1.0
image: bundle
	$(BUILDER) $(BUILD) -t $(IMAGE) .

# What is missing on this machine is said all at once; the real servers are built once and kept in the cache.
tools: $(INSTALLED)
	@$(NODE) tools/install.ts

shell: $(INSTALLED)
	@$(NODE) sandbox/enter.ts

bench: $(INSTALLED) tools
	@$(NODE) sandbox/bench.ts

SEEDS ?= 1000
FROM ?= 1
JOBS ?= 1
sim: $(INSTALLED)
	@$(NODE) test/sim/main.ts --seeds $(SEEDS) --from $(FROM) --jobs $(JOBS)

walk: $(INSTALLED)
	@$(NODE) --max-old-space-size=6000 test/walk/main.ts $(if $(STORIES),--stories) $(if $(ONLY),'--only=$(ONLY)')

chaos: $(INSTALLED) tools
	@MINUTES='$(MINUTES)' SEED='$(SEED)' POLICY='$(POLICY)' HEARTBEAT='$(HEARTBEAT)' $(NODE) sandbox/chaos/main.ts

$(INSTALLED): package.json package-lock.json
	@command -v npm >/dev/null || { echo 'Cannot install: npm is missing; apt-get install nodejs npm' >&2; exit 1; }
	npm ci --no-progress --loglevel=error
	@touch $@

clean:
	rm -rf node_modules dist
