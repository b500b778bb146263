# Everything works with Go alone. With a C compiler the tests run under the race detector.
# Two commands to begin with: make demo, make test. CONTRIBUTING.md tells the rest.

GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(CURDIR)/.cache/bin
RACE    ?= $(if $(shell command -v $${CC:-cc} 2>/dev/null),-race)
CGO     := $(if $(RACE),1,0)
# Extra flags for every go test, for example: make test TESTFLAGS='-v -run Conservation'
TESTFLAGS ?=
FUZZTIME  ?= 30s
# How often test-kafka kills the gateway and a broker.
KILLS     ?= 20
# The jars of Apache Kafka and what makes it start faster.
KAFKA     := $(CURDIR)/.cache/kafka
BINARIES  := OTELCOL=$(BIN)/otelcol-lifeline LIFELINE=$(BIN)/lifeline

export PATH := $(TOOLS):$(PATH)
# One set of build flags everywhere, so that every target shares one build cache.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w'

.PHONY: all build demo test test-kafka sim race generate fmt lint fuzz bench tools clean
all: build

build: ## the distribution and the CLI, in bin/
	$(BUILD) -o $(BIN)/ ./cmd/otelcol-lifeline ./cmd/lifeline

demo: build ## the main job, live: agent, gateway, recovery, embedded Kafka and S3 (KEEP=1 leaves it running)
	cd test && $(BUILD) -o $(BIN)/demo ./cmd/demo
	$(BIN)/demo --otelcol $(BIN)/otelcol-lifeline --lifeline $(BIN)/lifeline $(if $(KEEP),--keep)

test: build ## what a contribution must pass
	CGO_ENABLED=$(CGO) $(GO) test $(RACE) $(TESTFLAGS) $$($(GO) list ./... | grep -v /cmd/otelcol-lifeline)
	cd test && CGO_ENABLED=$(CGO) $(BINARIES) $(GO) test $(RACE) $(TESTFLAGS) $$($(GO) list ./... | grep -v /apache$$)

test-kafka: build $(KAFKA)/.stamp ## the same gateway in front of Apache Kafka: answers, and KILLS kills. Needs Java and Maven
	cd test && CGO_ENABLED=0 $(BINARIES) $(GO) test -count=1 -run '^TestKill$$' $(TESTFLAGS) ./e2e -kills $(KILLS)
	cd test && CGO_ENABLED=0 $(BINARIES) KAFKA_HOME=$(KAFKA) $(GO) test -count=1 -timeout 15m $(TESTFLAGS) ./apache -kills $(KILLS)

$(KAFKA)/.stamp: test/apache/pom.xml
	rm -rf $(KAFKA) && mkdir -p $(KAFKA)
	mvn -q -B -f $< org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(KAFKA)/libs
	@touch $@

SEED ?= 1
N    ?= 1000
sim: ## N simulated outages from SEED on: hours of virtual time, faults at every edge, every record accounted for
	cd test && CGO_ENABLED=0 $(GO) test ./sim -run 'TestOutages|TestTheSameSeed' -count 1 -v -timeout 0 $(TESTFLAGS) -seed $(SEED) -runs $(N) | grep -v '^ *=== RUN\|^ *--- PASS.*seed='

race: ## the unit tests ten times over, for the race detector
	$(GO) test -race -count=10 $(TESTFLAGS) ./internal/... ./exporter/... ./receiver/... ./extension/...

generate: tools ## everything that is generated: component metadata and the distribution
	$(GO) generate ./...
	builder --config builder-config.yaml --output-path ./cmd/otelcol-lifeline --skip-get-modules --skip-compilation

fmt: tools
	gofumpt -w $$(git ls-files '*.go' | grep -v -e generated_ -e ^cmd/otelcol-lifeline/)
	goimports -w -local github.com/otel-lifeline/lifeline $$(git ls-files '*.go' | grep -v -e generated_ -e ^cmd/otelcol-lifeline/)

lint: tools
	golangci-lint run ./...
	cd test && golangci-lint run --config ../.golangci.yml ./...

# A finding is written down as a seed and fails the second time, too. What does not
# was the fuzzing engine's: it sometimes calls the end of its own time a failure.
fuzz: ## every fuzz target for FUZZTIME each; those below IN, if it is set
	@one() { (cd $$1 && $(GO) test -run '^$$' -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x .); }; \
	for f in $$(git grep -l '^func Fuzz' -- '$(IN)*_test.go'); do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$f); do \
	    echo "== $$t $$(dirname $$f)"; one $$(dirname $$f) $$t || one $$(dirname $$f) $$t || exit 1; \
	  done; done

bench: build ## what it costs, beside stock components: lines for benchstat, then ratios; a quarter of an hour
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 0.2s -count 3 ./internal/... ./exporter/... ./receiver/...
	cd test && $(GO) test -run '^$$' -bench . -benchmem -benchtime 0.5s -count 3 ./bench
	cd test && $(BUILD) -o $(BIN)/bench ./cmd/bench
	$(BIN)/bench --otelcol $(BIN)/otelcol-lifeline --lifeline $(BIN)/lifeline

tools: $(TOOLS)/.stamp
$(TOOLS)/.stamp: internal/tools/go.mod internal/tools/go.sum
	cd internal/tools && GOFLAGS= CGO_ENABLED=0 $(GO) build -o $(TOOLS)/ tool
	@touch $@

clean:
	rm -rf $(BIN) .cache _build
