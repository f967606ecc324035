// usearch as npm ships it, prebuilt for this machine's architecture; the protocol
// is that of package cmd/tamvbench/vectors (Peer). All queries go in one call, so
// that JavaScript costs next to nothing. The number of candidates is fixed when an
// index is made, so for each pass the index is loaded anew, outside of the time.
"use strict";
const fs = require("fs");
const os = require("os");
const path = require("path");
const { Index, MetricKind, ScalarKind } = require("usearch");

const K = 10;
const [basePath, queryPath, truthPath, metric, m, efConstruction, threads, version] = process.argv.slice(2);

function read(file, Cells) {
  const bytes = fs.readFileSync(file);
  return { n: bytes.readInt32LE(0), d: bytes.readInt32LE(4), cells: new Cells(bytes.buffer.slice(bytes.byteOffset + 8, bytes.byteOffset + bytes.length)) };
}

function make(dimensions, expansionSearch) {
  return new Index({
    dimensions,
    metric: { cosine: MetricKind.Cos, ip: MetricKind.IP, l2: MetricKind.L2sq }[metric],
    quantization: ScalarKind.F32,
    connectivity: +m,
    expansion_add: +efConstruction,
    expansion_search: expansionSearch,
  });
}

function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const say = (fields) => fs.writeSync(1, JSON.stringify(fields) + "\n");

let base = read(basePath, Float32Array);
const query = read(queryPath, Float32Array);
const truth = read(truthPath, Int32Array);
let index = make(base.d, 64);
const step = 10000;
const memory = process.memoryUsage().rss;
let took = 0;
for (let first = 0; first < base.n; first += step) {
  const count = Math.min(step, base.n - first);
  const keys = BigUint64Array.from({ length: count }, (_, i) => BigInt(first + i));
  const rows = base.cells.subarray(first * base.d, (first + count) * base.d);
  const began = cpu();
  index.add(keys, rows, +threads);
  took += cpu() - began;
}
say({
  version,
  setting: "float32, npm's prebuilt library, one batched call a pass",
  rows: base.n,
  dim: base.d,
  build_cpu_s: took,
  bytes_per_vector: Math.max(0, process.memoryUsage().rss - memory) / base.n,
});

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tamv-usearch-"));
process.on("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
const saved = path.join(folder, "index");
index.save(saved);
index = base = null;

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const loaded = make(query.d, +line);
    loaded.load(saved);
    const began = cpu();
    const found = loaded.search(query.cells, K, 1);
    const cpuSeconds = cpu() - began;
    let hits = 0;
    for (let q = 0; q < query.n; q++) {
      const right = new Set(truth.cells.subarray(q * truth.d, q * truth.d + K));
      for (let i = 0; i < K; i++) hits += right.has(Number(found.keys[q * K + i]));
    }
    say({ ef: +line, recall10: hits / K / query.n, cpu_s: cpuSeconds });
  });
