# make test is what .ci/run runs.
GO      ?= go
OUT     ?= bin
VERSION ?= $(shell git describe --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)
COMMANDS := kenshin-edge kenshin-collector kenshin-plant kenshin-demo

# What the rigs get in make test; alone they take more, as in make sim DAYS=100000.
# SEED repeats a run, else some take theirs from the clock.
DAYS       ?= 2000
KILLS      ?= 2000
PIPEKILLS  ?= 200
STACKKILLS ?= 100
CUTS       ?= 300
FUZZ       ?= 30s
CHAOS      ?= 200
SEEDS      ?= 2
BUDGETS     = KENSHIN_SIM_DAYS=$(DAYS) KENSHIN_KILLS=$(KILLS) KENSHIN_PIPEKILLS=$(PIPEKILLS) KENSHIN_KILL9=$(STACKKILLS) \
  KENSHIN_CUTS=$(CUTS) KENSHIN_CHAOS=$(CHAOS) $(if $(SEED),KENSHIN_SEED=$(SEED))

.PHONY: build check test packages rigs beside race fuzz bench clean proto crash-fs kill9 powercut tamper badinput sim chaos matrix load flood mutants

build:
	@mkdir -p $(OUT)
	@for c in $(COMMANDS); do echo $$c; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(OUT)/$$c ./cmd/$$c || exit 1; done

check:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...

# Everything that has to hold, on two cores in less than 25 minutes. Most tests wait
# for processes, disks and clocks, so sim, which needs nothing but a processor, runs
# beside them in a process of its own, and the decoders are fuzzed beside all of it.
# kill9 and powercut come after them: what they wait for is short only on a quiet machine.
test: check
	.ci/fuzz $(FUZZ) $(MAKE) rigs

rigs:
	$(MAKE) -j 2 packages beside
	$(MAKE) kill9 powercut
beside:
	nice -n 10 $(MAKE) sim

# One package at a time: many of them start processes.
packages:
	$(GO) test -p 1 -timeout 20m -skip '^(TestSim|TestKill|TestKill9|TestKill9Stack)$$' ./...
	$(MAKE) race

# The packages where goroutines meet.
race:
	$(GO) test -race -short -p 1 -timeout 15m ./edge/... ./collector/...

# Each decoder of foreign bytes, FUZZ long.
fuzz:
	.ci/fuzz $(FUZZ)

# Benchmarks of so much work that they run once.
ONCE := 'Pipeline|Late$$|MonthByDay|Day|Growth'

# Figures with the real work in them: fsync, sockets, signatures.
bench:
	$(GO) test -run '^$$' -bench . -skip $(ONCE) -benchmem ./edge/... ./collector/... ./calc/...
	$(GO) test -run '^$$' -bench $(ONCE) -benchtime 1x -timeout 30m ./collector ./collector/series
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 60m ./cmd

# The rigs for faults: see deploy/docs/robustness.md and robustness-system.md.
RIG = $(BUDGETS) $(GO) test -count=1 -v -timeout 24h

crash-fs:
	$(RIG) ./edge/journal -run TestFaultAtEveryCall
	$(RIG) ./edge/outbox ./collector/store -run 'TestFaultAtEveryCall|TestPowerCutAtEveryCall' -args -seeds $(SEEDS)
kill9:
	$(RIG) ./edge/journal -run 'TestKill$$'
	$(RIG) ./cmd -run TestKill9
powercut:
	$(RIG) ./cmd -run TestPowerCut
sim:
	$(RIG) ./cmd -run 'TestSim$$'
chaos:
	$(RIG) ./cmd -run TestChaos
matrix:
	$(RIG) ./cmd -run TestFailureMatrix
badinput:
	$(RIG) -p 1 ./... -run 'Bad|Refuse|Wrong|Limit|Ratio|FullFolder|DamagedIs|TestFailureMatrix/malicious'
tamper:
	$(RIG) ./collector/store -run TestTamper -args -tamper 60
	$(RIG) ./edge/outbox -run TestTamper
load:
	KENSHIN_LOAD_SECONDS=300 $(GO) test ./cmd -run '^$$' -bench Load -benchtime 1x -timeout 1h
flood:
	KENSHIN_FLOOD_BATCHES=864000 $(GO) test ./cmd -run '^$$' -bench Flood -benchtime 1x -timeout 1h
mutants:
	KENSHIN_MUTANTS=all $(GO) test ./cmd -run 'TestMutants$$' -v -timeout 1h

proto:
	protoc --go_out=edge/wire --go_opt=paths=source_relative --go_opt=Mkenshin.proto=kenshin/edge/wire/wirepb -I edge/wire kenshin.proto
	mv edge/wire/kenshin.pb.go edge/wire/wirepb/

clean:
	rm -rf $(OUT)
