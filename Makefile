# make test is what .ci/run runs. Budgets of the long rigs are variables.
GO      ?= go
FUZZ    ?= 5s
OUT     ?= bin
VERSION ?= $(shell git describe --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)
COMMANDS := kenshin-edge kenshin-collector kenshin-plant kenshin-demo

KILLS     ?= 2000
PIPEKILLS ?= 100
CUTS      ?= 300
SEEDS     ?= 2
DAYS      ?= 2000

.PHONY: build check test race fuzz bench clean proto crash-fs kill9 powercut tamper sim chaos matrix load flood mutants

build:
	@mkdir -p $(OUT)
	@for c in $(COMMANDS); do echo $$c; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(OUT)/$$c ./cmd/$$c || exit 1; done

check:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...

# Everything that has to hold, on two cores in less than 25 minutes. One package
# at a time: many of them start processes and wait for real clocks.
test: check
	$(GO) test -p 1 -timeout 20m ./...
	$(MAKE) race
	$(MAKE) fuzz

# The packages where goroutines meet.
race:
	$(GO) test -race -short -p 1 -timeout 15m ./edge/... ./collector/...

# Each decoder of foreign bytes, FUZZ long.
fuzz:
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ) $$p >/tmp/fuzz.$$$$ 2>&1 || { cat /tmp/fuzz.$$$$; exit 1; }; \
	  done; done; rm -f /tmp/fuzz.$$$$

# Benchmarks of so much work that they run once.
ONCE := 'Pipeline|Late$$|MonthByDay|Day|Growth'

# Figures with the real work in them: fsync, sockets, signatures.
bench:
	$(GO) test -run '^$$' -bench . -skip $(ONCE) -benchmem ./edge/... ./collector/... ./calc/...
	$(GO) test -run '^$$' -bench $(ONCE) -benchtime 1x -timeout 30m ./collector ./collector/series
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./cmd

# The rigs for faults, long: see deploy/docs/robustness.md and robustness-system.md.
crash-fs:
	$(GO) test -v -timeout 1h ./edge/journal -run TestFaultAtEveryCall
	$(GO) test -v -timeout 1h ./edge/outbox ./collector/store -run 'TestFaultAtEveryCall|TestPowerCutAtEveryCall' -args -seeds $(SEEDS)
kill9:
	$(GO) test -v -timeout 1h ./edge/journal -run 'TestKill$$' -args -kills $(KILLS)
	$(GO) test -v -timeout 1h ./cmd -run TestKill9 -args -kills $(PIPEKILLS)
powercut:
	$(GO) test -v -timeout 2h ./cmd -run TestPowerCut -args -powercuts $(CUTS)
matrix:
	$(GO) test -v -timeout 30m ./cmd -run TestFailureMatrix
tamper:
	$(GO) test -v -timeout 1h ./collector/store -run TestTamper -args -tamper 60
	$(GO) test -v ./edge/outbox -run TestTamper
sim:
	KENSHIN_SIM_DAYS=$(DAYS) $(GO) test ./cmd -run 'TestSim$$' -v -timeout 3h
chaos:
	KENSHIN_CHAOS=200 $(GO) test ./cmd -run TestChaos -v -timeout 1h
load:
	KENSHIN_LOAD_SECONDS=300 $(GO) test ./cmd -run '^$$' -bench Load -benchtime 1x -timeout 1h
flood:
	$(GO) test ./cmd -run '^$$' -bench Flood -benchtime 1x -timeout 1h
mutants:
	KENSHIN_MUTANTS=all $(GO) test ./cmd -run 'TestMutants$$' -v -timeout 1h

proto:
	protoc --go_out=edge/wire --go_opt=paths=source_relative --go_opt=Mkenshin.proto=kenshin/edge/wire/wirepb -I edge/wire kenshin.proto
	mv edge/wire/kenshin.pb.go edge/wire/wirepb/

clean:
	rm -rf $(OUT)
