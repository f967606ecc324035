# make run            a one-node appliance that stays up
# make test           everything that must pass
# make demo           the whole job on a temporary site of three nodes, whose leader is killed
# make test-cluster   faults in a site of real processes; FORM=long for hours of them
# make bench          intents and evidence at 64 clients, memory filled by the demo
# make bench-cluster  one node and three beside etcd, Postgres, Redis and rqlite, and the time to fail over
# make build          bin/tamvd, bin/tamvctl, bin/tamvbench

export CGO_ENABLED = 0
# The race detector needs cgo; only the tests have it.
RACE      = CGO_ENABLED=1 go test -race
GOFUMPT   = go run mvdan.cc/gofumpt@v0.12.0
STATIC    = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOBUILD   = go build -trimpath -ldflags='-s -w'

.PHONY: build run demo bench bench-cluster test test-cluster lint unit cross clean

FORM ?= short

build:
	$(GOBUILD) -o bin/ ./cmd/...

run: build
	bin/tamvd dev

demo: build
	./with-appliance.sh 3 bin/tamvctl demo --nodes 3

bench: build
	./with-appliance.sh 1 sh -c 'bin/tamvctl demo >/dev/null && bin/tamvbench intent && echo && bin/tamvbench evidence'

bench-cluster: build
	cd bench && go build -mod=mod -trimpath -ldflags='-s -w' -o ../bin/tamvpeers ./peers
	bin/tamvbench cluster && echo && bin/tamvbench failover

test: lint unit cross demo test-cluster

test-cluster:
	go test ./faults -run TestCluster -form $(FORM) -v -timeout 12h

lint:
	@test -z "$$($(GOFUMPT) -l .)" || { $(GOFUMPT) -l .; echo 'run gofumpt on these files'; exit 1; }
	go vet ./...
	$(STATIC) ./...

# The kernels and the index also run as on ARM, which the race detector would only slow down.
unit:
	$(RACE) -short -covermode=atomic -coverprofile=coverage.out ./...
	go test ./vector/...
	go run ./.ci/coverage coverage.out

cross:
	GOARCH=arm64 go build ./...

clean:
	rm -rf bin coverage.out
