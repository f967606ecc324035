# make run            a one-node appliance that stays up
# make test           everything that must pass
# make demo           the whole job on a temporary site of three nodes, whose leader is killed
# make test-cluster   faults in a site of real processes; FORM=long for hours of them
# make bench          intents and evidence at 64 clients, memory filled by the demo
# make bench-cluster  one node and three beside etcd, Postgres, Redis and rqlite, and the time to fail over
# make bench-ledger   appending, verifying and proving beside Tessera, a Postgres trigger and others
# make bench-vector   the vector index beside hnswlib and others; makes its data first
# make bench-search   signed searches among 100,000 documents of 1536 dimensions
# make build          bin/tamvd, bin/tamvctl, bin/tamvbench

export CGO_ENABLED = 0
# The race detector needs cgo; only the tests have it.
RACE      = CGO_ENABLED=1 go test -race
GOFUMPT   = go run mvdan.cc/gofumpt@v0.12.0
STATIC    = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOBUILD   = go build -trimpath -ldflags='-s -w'

.PHONY: build run demo bench bench-cluster bench-ledger bench-vector bench-search test test-cluster lint unit judge cross clean

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

bench-ledger: build
	cd bench && go build -trimpath -ldflags='-s -w' -o ../bin/tamvledger ./ledger
	bin/tamvbench ledger

bench-vector: build
	cd bench && go build -trimpath -ldflags='-s -w' -o ../bin/tamvvectors ./vectors
	bin/tamvbench vector data --out bin/vectors
	for set in glove lift large; do d=bin/vectors/$$set; \
	  bin/tamvbench vector --base $$d.fbin --query $$d.query.fbin --truth $$d.truth.ibin --picture $$d.svg \
	  $$([ $$set = large ] || echo --peers all) || exit 1; done

bench-search: build
	bin/tamvbench vector data --out bin/search --lift-rows 100000 --large 0
	./with-appliance.sh 1 bin/tamvbench search --base bin/search/lift.fbin --query bin/search/lift.query.fbin --clients 16

test: lint unit judge cross demo test-cluster

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

# What others wrote reads and verifies the log as this module serves it.
judge:
	cd bench && go vet ./... && go test ./judge

cross:
	GOARCH=arm64 go build ./...

clean:
	rm -rf bin coverage.out
