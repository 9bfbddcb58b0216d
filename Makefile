# make test is what .ci/run runs. Budgets of the long rigs are variables.
GO      ?= go
FUZZ    ?= 5s
OUT     ?= bin
VERSION ?= $(shell git describe --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)
COMMANDS := kenshin-edge kenshin-collector kenshin-plant kenshin-demo

.PHONY: build check test race fuzz bench clean proto

build:
	@mkdir -p $(OUT)
	@for c in $(COMMANDS); do echo $$c; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(OUT)/$$c ./cmd/$$c || exit 1; done

check:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...

# Everything that has to hold, on two cores in less than 25 minutes.
test: check
	$(GO) test -timeout 15m ./...
	$(MAKE) race
	$(MAKE) fuzz

# The packages where goroutines meet.
race:
	$(GO) test -race -short -timeout 10m ./edge/... ./collector/... 

# Each decoder of foreign bytes, FUZZ long.
fuzz:
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ) $$p >/tmp/fuzz.$$$$ 2>&1 || { cat /tmp/fuzz.$$$$; exit 1; }; \
	  done; done; rm -f /tmp/fuzz.$$$$

# Figures with the real work in them: fsync, sockets, signatures.
bench:
	$(GO) test -run '^$$' -bench . -benchmem ./edge/... ./collector/... ./calc/...
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./cmd

proto:
	protoc --go_out=edge/wire --go_opt=paths=source_relative --go_opt=Mkenshin.proto=kenshin/edge/wire/wirepb -I edge/wire kenshin.proto
	mv edge/wire/kenshin.pb.go edge/wire/wirepb/

clean:
	rm -rf $(OUT)
