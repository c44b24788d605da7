# Postbus. Most users need only `make run` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

launcher := .postbus/bin/run
# The oldest Go that works.
go := $(shell sed -n 's/^go //p' go.work)

.PHONY: help
help: ## the list of targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@printf '%s\n' '' 'make run also reads, from the environment or behind it (make run HOST=...):' \
	  "  HOST              the address on which the services' ports are opened to others" \
	  '                    (default 127.0.0.1, this machine alone; * is every interface)' \
	  '  REDIS_HOST        the host:port of a Redis to use (default localhost:6379,' \
	  '                    where one is started if none answers)' \
	  '  ENGINE            what is behind the bus and the stores: redis (the default),' \
	  '                    redis-ha, postgres-rabbitmq or postgres-jetstream' \
	  '                    (components/README.md)' \
	  '                    (make test and make test-faults, too)' \
	  '  NO_INSTALL        if set, a system package that is missing is named and not' \
	  '                    installed (make test, too)'

.PHONY: run
run: $(launcher) ## everything up, until Ctrl-C
	@exec $(launcher) up

.PHONY: stop
stop: $(launcher) ## stop a run that was left behind
	@exec $(launcher) stop

.PHONY: streams
streams: $(launcher) ## make the streams of the topics in the NATS that NATS names (make run does it by itself)
	@exec $(launcher) streams

.PHONY: test
test: go ## lint, unit tests and end-to-end tests (ENGINE= runs the end-to-end tests on another engine)
	@go run ./apps/tools/check

.PHONY: dead-letters
dead-letters: go ## show the messages that services refused for good
	@go run ./apps/eventlog/deadletters list

.PHONY: redrive
redrive: go ## publish those of them again that are valid
	@go run ./apps/eventlog/deadletters redrive

.PHONY: export
export: go ## write the event log of the running system to a file (FILE=blog.ndjson)
	@[ -n '$(FILE)' ] || { echo 'postbus: name a file: make export FILE=blog.ndjson' >&2; exit 2; }
	@go run ./apps/eventlog/transfer export '$(FILE)'

.PHONY: import
import: go ## append such a file to the empty log of the running system, on any engine (FILE=)
	@[ -n '$(FILE)' ] || { echo 'postbus: name a file: make import FILE=blog.ndjson' >&2; exit 2; }
	@go run ./apps/eventlog/transfer import '$(FILE)'

.PHONY: fuzz
fuzz: ## fuzz what parses the input of others (FUZZTIME=1h, of each target; make test takes 20 s)
	@go run ./apps/tools/check -only fuzz -fuzztime $(or $(FUZZTIME),10m)

.PHONY: test-faults
test-faults: ## break everything under load, one thing at a time (30 minutes; SEED= repeats a run, CASE='kill -9 Redis' runs a part, RATE=240 sends more, ENGINE= takes another engine)
	@cd apps/tools/e2e && go test -count=1 -v -timeout 4h -run "TestFaults$${CASE:+/($$CASE|what all)}|TestTheAccounts" . -args -all-faults $(if $(SEED),-seed $(SEED)) $(if $(RATE),-rate $(RATE))

.PHONY: test-engines
test-engines: go ## all end-to-end tests and the whole fault suite on each engine but the default (hours), and a table of that
	@go run ./apps/tools/check -only matrix

.PHONY: prove
prove: ## run tests by their names, wherever they are (TEST='TestOne TestTwo')
	@names="($${TEST// /|})"; \
	  folders=$$(grep -rlE "^func $$names\(" apps --include='*_test.go' --exclude-dir=node_modules | xargs -r dirname | sort -u) || true; \
	  [ -n "$$folders" ] || { echo "postbus: no test is named $$names" >&2; exit 1; }; \
	  for folder in $$folders; do (cd $$folder && go test -count=1 -v -timeout 40m -run "^$$names$$" .); done

.PHONY: simulate
simulate: go ## run 100,000 histories of all services in a world that fails (SEED= repeats one, KEEP= a part of it)
	@go run ./apps/tools/simulate $(if $(SEED),-seed $(SEED) -keep '$(KEEP)') $(ARGS)

.PHONY: images
images: $(launcher) ## build the container images (APPS="posts query", LOAD="minikube image load")
	@$(launcher) web
	@cd apps/tools/k8s && GOWORK=off go run ./images $(if $(LOAD),-load '$(LOAD)') $(APPS)

.PHONY: test-k8s
test-k8s: ## deploy on the current kubectl context, in a namespace of its own, and break things there (LOAD= as above; ENGINE= as for make run; ARGS='-keep -redis-image redis:7')
	@$(MAKE) --no-print-directory images
	@cd apps/tools/e2e && go test -tags k8s -count=1 -v -timeout 90m -run 'TestOnKubernetes' . $(if $(ARGS),-args $(ARGS))

.PHONY: dapr
dapr: go ## move to another Dapr (VERSION=1.18.3; CONTRIB=1.18.5 for later components than it asks for); then make test
	@[ -n '$(VERSION)' ] || { echo 'postbus: name a version: make dapr VERSION=1.18.3' >&2; exit 2; }
	@cd apps/tools/sidecar && export GOWORK=off && \
	  go get github.com/dapr/dapr@v$(VERSION) $(if $(CONTRIB),github.com/dapr/components-contrib@v$(CONTRIB)) && go mod tidy && \
	  components=$$(go list -m -f '{{.Version}}' github.com/dapr/components-contrib) && \
	  sed -i -E "s/^\| Dapr runtime \| [^|]+\|/| Dapr runtime | $(VERSION) |/; s/^\| components-contrib \| [^|]+\|/| components-contrib | $${components#v} |/" ../README.md && \
	  sed -i -E 's/(--runtime-version )[0-9.]+/\1$(VERSION)/' ../../../k8s/README.md

.PHONY: screenshots
screenshots: ## make the README's screenshots again
	@cd apps/tools/e2e && go test -count=1 -timeout 20m -run TestTheClientInABrowser . -args -screenshots

.PHONY: bench
bench: go ## measure everything and print the table (12 minutes; ARGS='-only accepted' runs a part, ARGS='-engines all' compares the engines)
	@go run ./apps/tools/bench $(ARGS)

.PHONY: clean
clean: ## remove all that was built or kept, Redis's data too
	rm -rf .postbus apps/*/.dapr apps/.names.db* apps/client/web/node_modules apps/client/web/dist

# Always built: Go itself knows what has changed.
.PHONY: $(launcher)
$(launcher): go
	@go build -o $@ ./apps/tools/run

# An older Go downloads the one that go.work names, unless that is switched off or there
# is no network.
.PHONY: go
go:
	@command -v go >/dev/null || { echo 'postbus: Go is missing: install Go $(go) or later (https://go.dev/dl), and start this again' >&2; exit 1; }
	@go list -m >/dev/null || { echo 'postbus: this needs Go $(go) or later (https://go.dev/dl), and the go on the PATH is another' >&2; exit 1; }
