# Varve's commands for people. Everything that they install lands in .cache, apart from Debian packages (kcat).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE := .cache
BIN := $(CACHE)/bin
VARVE := bin/varve
STATICCHECK_VERSION := v0.7.0
FUZZTIME ?= 10s
ROLLING_ROUNDS ?= 20
ARGS ?=

.PHONY: help build minio run test test-packages lint simulate simulate-nightly simulate-planted fuzz bench bench-quick demo demo-cluster rolling killing conformance differential torture nemesis nemesis-planted stack stack-down terraform-check compose-check clocks generate tools kcat clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/varve
	go build -o $(VARVE) ./services/varve

run: build ## start everything in one process: Kafka on 127.0.0.1:9092 (ARGS="--data-dir …" adds flags)
	$(VARVE) serve $(ARGS)

test: tools test-packages ## get what the tests need, and run them all with the race detector

# The longest package comes first, beside the others: it waits for processes. At its end each would sleep for a second, lest the race detector miss what
# still runs: nothing does, tests wait for their goroutines.
test-packages: build
	VARVE_BIN=$(abspath $(VARVE)) GORACE=atexit_sleep_ms=0 go test -race -timeout 15m ./services/e2e ./...
	cd infra/objstore/versitytest && go test -timeout 5m ./...

tools: kcat minio $(BIN)/nats-server ## get what tests need: kcat, MinIO, NATS, Python's client
	services/e2e/python.sh

minio:
	localstack/minio/build.sh

kcat:
	@command -v kcat >/dev/null || { if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq kcat; else sudo apt-get update -qq && sudo apt-get install -y -qq kcat; fi; }

$(BIN)/nats-server: go.mod
	go build -o $@ github.com/nats-io/nats-server/v2

$(BIN)/staticcheck:
	GOBIN=$(abspath $(BIN)) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

lint: $(BIN)/staticcheck ## gofmt, go vet, staticcheck
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; [ -z "$$unformatted" ] || { echo "not formatted:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	$(BIN)/staticcheck ./...

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package | tail -n 1; \
		done; \
	done

bench: build ## measure what the README claims, against the bare operations of this machine
	$(VARVE) bench $(ARGS)

bench-quick: build ## the same in under four minutes, less exactly
	$(VARVE) bench --quick $(ARGS)

SEEDS ?= 100
simulate: ## run whole clusters on virtual time, one for each of SEEDS seeds; SEED=7 replays one, with its trace
	go run ./services/simulate $(if $(SEED),-seed $(SEED) -trace,-seeds $(SEEDS)) $(ARGS)

simulate-nightly: ## the same with 10,000 seeds
	$(MAKE) simulate SEEDS=10000

simulate-planted: ## break Varve in a way for each invariant, and count the seeds until the simulation finds out
	go run ./services/simulate -planted $(ARGS)

demo: build kcat ## the whole path on real input, with a SIGKILL in the middle, checked
	go run ./localstack/demo $(ARGS)

demo-cluster: build kcat minio ## the same with a process for each role, on MinIO
	go run ./localstack/demo -cluster $(ARGS)

rolling: build ## restart process after process under load (ROLLING_ROUNDS=20, ROLLING_KINDS="ingest leader standby tiering", ROLLING_METALOG=jetstream|bucket), and measure what clients see
	ROLLING_ROUNDS=$(ROLLING_ROUNDS) VARVE_BIN=$(abspath $(VARVE)) go test -v -count=1 -timeout 60m -run Rolling ./services/e2e

killing: build ## kill ingest node after ingest node under load (ROLLING_ROUNDS=20, ROLLING_KINDS="object replicated"), and measure what clients see
	ROLLING_ROUNDS=$(ROLLING_ROUNDS) VARVE_BIN=$(abspath $(VARVE)) go test -v -count=1 -timeout 60m -run KilledNodes ./services/e2e

conformance: build ## compare Varve's answers with Apache Kafka's, and run Kafka's tools and many clients against it (needs Java, Maven, npm)
	VARVE_CONFORMANCE=1 VARVE_BIN=$(abspath $(VARVE)) go test -v -count=1 -timeout 25m ./services/conformance

differential: build ## only compare Varve's answers with Apache Kafka's (needs Java, Maven; VARVE_CONFORMANCE_SEED)
	services/conformance/differential.sh

ROUNDS ?= 100
METALOG ?= jetstream
torture: ## end every process of a cluster at once, and its power, ROUNDS times (100), and compare all records (METALOG=jetstream or bucket; root)
	NEMESIS_JAVA=0 services/nemesis/nemesis.sh -rounds $(ROUNDS) -metalog $(METALOG) $(ARGS)

nemesis: ## a cluster of processes in network namespaces under real clients while everything fails; its history is checked (NEMESIS_DURATION, NEMESIS_SEED; root)
	services/nemesis/nemesis.sh $(ARGS)

nemesis-planted: ## the same with deliberately broken builds, one of each kind: every fault must be found
	services/nemesis/nemesis.sh planted $(ARGS)

stack: build minio ## run a cluster on this machine: MinIO, three coordinators, two ingest nodes, tiering worker
	go run ./localstack/stack up

stack-down: ## stop it
	go run ./localstack/stack down

terraform-check: ## check the AWS modules against the provider's schema, and start what their user data writes
	terraform/check.sh
	$(MAKE) build kcat
	terraform/userdata_test.sh $(abspath $(VARVE))

compose-check: build kcat ## check that the compose file loads, and start what it says as processes
	infra/compose/check.sh $(abspath $(VARVE))

clocks: ## take over among coordinators whose clocks are minutes off, with a binary whose clock can be moved
	mkdir -p $(CACHE)/nemesis/bin
	go run ./services/nemesis build -o $(CACHE)/nemesis/bin/varve
	VARVE_MOVABLE_CLOCK=1 VARVE_BIN=$(abspath $(CACHE)/nemesis/bin/varve) go test -v -count=1 -timeout 10m -run TestClocks ./services/e2e

generate: ## regenerate code from the .proto files (needs protoc)
	GOBIN=$(abspath $(BIN)) go install google.golang.org/protobuf/cmd/protoc-gen-go
	PATH="$(abspath $(BIN)):$$PATH" go generate ./coordinator/metapb

clean: ## remove what was built and what the demos left; .cache/bin stays
	rm -rf bin $(CACHE)/demo localstack-data
