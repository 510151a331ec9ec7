# Everything that a change to Strata needs. `make` alone lists the targets.

TOOLS   = go tool -modfile=tools/go.mod
TARGETS = linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

FUZZTIME  ?= 10s
TESTFLAGS ?=
CRASHES   ?= 300

# Strata is one static program; only the race detector needs a C compiler.
export CGO_ENABLED = 0

.DEFAULT_GOAL = help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/strata
	go build -trimpath -o bin/ ./cmd/strata

.PHONY: test
test: ## Run all tests; TESTFLAGS=-v shows each of them
	go test $(TESTFLAGS) ./...

.PHONY: test-user
test-user: ## Run the tests of sandboxes, snapshots and runners as an ordinary user too (needs root)
	.ci/test-user

.PHONY: race
race: export CGO_ENABLED = 1
race: ## Run all tests with the race detector (needs a C compiler)
	go test -race $(TESTFLAGS) ./...

.PHONY: crash
crash: ## Kill strata at every place and at CRASHES (300) random moments, fail its disk, cut its power (needs root)
	go test -tags faults -count=1 -timeout 4h -parallel 2 $(TESTFLAGS) ./internal/crashtest -args -crashes $(CRASHES)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## Measure against peers and write docs/benchmarks.md
	go run ./bench -o docs/benchmarks.md

.PHONY: fmt
fmt: ## Format all Go files
	$(TOOLS) gofumpt -w .

.PHONY: lint
lint: ## Check the format and run the linters of .golangci.yml
	@files=$$($(TOOLS) gofumpt -l .) && \
	if [ -n "$$files" ]; then echo "not formatted (run make fmt):"; echo "$$files"; exit 1; fi
	$(TOOLS) golangci-lint run ./...
	$(TOOLS) golangci-lint run --build-tags faults ./internal/crashtest ./internal/fault

.PHONY: cross
cross: ## Build and vet for every other supported platform
	@set -e; for target in $(TARGETS); do \
		echo "build and vet for $$target"; \
		export GOOS=$${target%/*} GOARCH=$${target#*/}; \
		go build -trimpath ./...; \
		go vet ./...; \
	done

.PHONY: docs
docs: ## Write docs/reference/cli.md from the commands themselves
	go run ./cmd/strata __docs docs

.PHONY: clean
clean: ## Remove what the targets built
	rm -rf bin dist
