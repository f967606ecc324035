# make run    a one-node appliance that stays up
# make test   everything that must pass
# make demo   the whole job on a temporary appliance, under a minute
# make bench  intents and evidence at 64 clients, memory filled by the demo
# make build  bin/tamvd, bin/tamvctl, bin/tamvbench

export CGO_ENABLED = 0
# The race detector needs cgo; only the tests have it.
RACE      = CGO_ENABLED=1 go test -race
GOFUMPT   = go run mvdan.cc/gofumpt@v0.12.0
STATIC    = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOBUILD   = go build -trimpath -ldflags='-s -w'

.PHONY: build run demo bench test lint unit cross clean

build:
	$(GOBUILD) -o bin/ ./cmd/...

run: build
	bin/tamvd dev

demo: build
	./with-appliance.sh bin/tamvctl demo

bench: build
	./with-appliance.sh sh -c 'bin/tamvctl demo >/dev/null && bin/tamvbench intent && echo && bin/tamvbench evidence'

test: lint unit cross demo

lint:
	@test -z "$$($(GOFUMPT) -l .)" || { $(GOFUMPT) -l .; echo 'run gofumpt on these files'; exit 1; }
	go vet ./...
	$(STATIC) ./...

unit:
	$(RACE) -covermode=atomic -coverprofile=coverage.out ./...
	go run ./.ci/coverage coverage.out

cross:
	GOARCH=arm64 go build ./...

clean:
	rm -rf bin coverage.out
