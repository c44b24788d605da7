# Postbus. `make run` and `make test` are all that one needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

launcher := .postbus/bin/run

.PHONY: help
help: ## what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: run
run: $(launcher) ## everything up, until Ctrl-C
	@exec $(launcher) up

.PHONY: stop
stop: $(launcher) ## stop a run that was left behind
	@exec $(launcher) stop

.PHONY: test
test: ## lint, unit tests and end-to-end tests
	@go run ./apps/e2e/check

.PHONY: dead-letters
dead-letters: ## show the messages that services refused for good
	@go run ./apps/eventlog/deadletters list

.PHONY: redrive
redrive: ## publish those of them again that are valid
	@go run ./apps/eventlog/deadletters redrive

.PHONY: test-faults
test-faults: ## break everything under load, one thing at a time (10 minutes; SEED= repeats a run)
	@cd apps/e2e && go test -count=1 -v -timeout 60m -run 'TestFaults|TestTheAccounts' . -args -all-faults $(if $(SEED),-seed $(SEED))

.PHONY: images
images: $(launcher) ## build the container images (APPS="posts query", LOAD="minikube image load")
	@$(launcher) web
	@cd apps/k8s && GOWORK=off go run ./images $(if $(LOAD),-load '$(LOAD)') $(APPS)

.PHONY: test-k8s
test-k8s: ## deploy on the current kubectl context, in a namespace of its own, and break things there (LOAD= as above; ARGS=-keep)
	@$(MAKE) --no-print-directory images
	@cd apps/e2e && go test -tags k8s -count=1 -v -timeout 30m -run 'TestOnKubernetes' . $(if $(ARGS),-args $(ARGS))

.PHONY: screenshots
screenshots: ## make the README's screenshots again
	@cd apps/e2e && go test -count=1 -timeout 20m -run TestTheClientInABrowser . -args -screenshots

.PHONY: bench
bench: ## measure everything and print the table (12 minutes; ARGS='-only accepted' runs a part)
	@go run ./apps/bench $(ARGS)

.PHONY: clean
clean: ## remove all that was built or kept, Redis's data too
	rm -rf .postbus apps/*/.dapr apps/client/web/node_modules apps/client/web/dist

# Go knows by itself whether there is something to build.
.PHONY: $(launcher)
$(launcher):
	@go build -o $@ ./apps/e2e/run
