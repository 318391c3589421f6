# Everything a developer does; each target installs what it needs on a bare Debian 12 with Python 3.11, Go and root.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := /usr/bin/python3
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/trainer:$(CURDIR)
# The folder of a Python environment, made if it is not there yet: $(call environment,dev)
environment = $$($(PYTHON) -m tests.cluster.environments $(1))

.PHONY: help
help: ## Show this text
	@echo 'usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: images up deploy ## Fine-tune a real model on two nodes, serve it, and compare its answers with the base model's
	@.cluster/run $(call environment,dev)/bin/python -P -m tests.demo "$$($(PYTHON) -m tests.models)/smollm2"

.PHONY: test
test: ## Run every level of tests: lint, unit, api, train, e2e
	@$(PYTHON) -m tests.run

.PHONY: lint
lint: ## Check style, types, architecture and generated files
	@$(PYTHON) -m tests.run lint

.PHONY: up
up: ## Start the local cluster: two nodes, DNS, S3, training-operator; or start again what died
	@$(PYTHON) -m tests.cluster up

.PHONY: status
status: ## Try what the local cluster promises: nodes, names, Services, S3, no way out, pod security
	@$(PYTHON) -m tests.cluster status

.PHONY: images
images: ## Build the images whose inputs changed, and load them into the local cluster
	@$(PYTHON) -m tests.cluster images

.PHONY: deploy
deploy: ## Install or update the operator in the local cluster
	@$(PYTHON) -m tests.cluster deploy

.PHONY: queue
queue: ## Install Kueue in the local cluster; what was deployed before goes on without it
	@$(PYTHON) -m tests.cluster queue

.PHONY: down
down: ## Take the local cluster down; what was built stays in the cache
	@$(PYTHON) -m tests.cluster down

.PHONY: crds
crds: ## Generate crds/, the tables of fields and the page of all reasons from the operator's types
	@$(call environment,dev)/bin/python -m customizer_operator.crds
	@$(call environment,dev)/bin/python -m customizer_operator.field_tables
	@$(call environment,dev)/bin/python -m customizer_operator.troubleshooting

.PHONY: bench
bench: ## Measure, and print ratios
	@$(PYTHON) -m tests.run bench
