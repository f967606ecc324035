// What the peers in C++ have in common: reading the files, measuring, and the
// protocol of package cmd/tamvbench/vectors (Peer). A peer defines a struct with
//
//	static std::string version(), setting();
//	Peer(const Config&, const Matrix& base);       makes an empty index
//	void build(const Matrix& base);                adds row i under label i
//	void search(const float* query, int ef, int64_t* labels);   K labels, -1 = none
//
// and calls run<Peer>.
#pragma once
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

constexpr int K = 10;

struct Config {
  std::string base, query, truth, metric;
  int m, ef_construction, threads;
};

[[noreturn]] inline void fail(const std::string& why) {
  std::cerr << why << std::endl;
  exit(1);
}

template <class T>
struct Table {
  int n = 0, d = 0;
  std::vector<T> cells;
  const T* row(size_t i) const { return cells.data() + i * d; }
};
using Matrix = Table<float>;

template <class T>
Table<T> read_table(const std::string& path) {
  Table<T> t;
  FILE* f = fopen(path.c_str(), "rb");
  if (!f || fread(&t.n, 4, 1, f) != 1 || fread(&t.d, 4, 1, f) != 1 || t.n < 1 || t.d < 1) fail("cannot read " + path);
  t.cells.resize((size_t)t.n * t.d);
  if (fread(t.cells.data(), sizeof(T), t.cells.size(), f) != t.cells.size()) fail(path + " is too short");
  fclose(f);
  return t;
}

// normalise gives every row length 1: cosine is then the inner product.
inline void normalise(Matrix& m) {
  for (int i = 0; i < m.n; i++) {
    float* row = m.cells.data() + (size_t)i * m.d;
    double square = 0;
    for (int j = 0; j < m.d; j++) square += double(row[j]) * row[j];
    if (square == 0) continue;
    const double inverse = 1 / std::sqrt(square);
    for (int j = 0; j < m.d; j++) row[j] = float(row[j] * inverse);
  }
}

// cpu is the CPU time of this process, user and system, in seconds.
inline double cpu() {
  rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

// resident is how many bytes of memory this process occupies.
inline double resident() {
  long total = 0, pages = 0;
  FILE* f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%ld %ld", &total, &pages) != 2) fail("cannot read /proc/self/statm");
  fclose(f);
  return double(pages) * sysconf(_SC_PAGESIZE);
}

// parallel calls work(i, thread) for all i below n on several threads.
template <class F>
void parallel(int threads, size_t n, F work) {
  std::atomic<size_t> next{0};
  std::vector<std::thread> all;
  for (int t = 0; t < threads; t++)
    all.emplace_back([&, t] {
      for (size_t i; (i = next.fetch_add(1)) < n;) work(i, t);
    });
  for (auto& t : all) t.join();
}

template <class Peer>
int run(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "version") {
    std::cout << Peer::version() << std::endl;
    return 0;
  }
  if (argc != 8) fail("usage: PEER BASE QUERY TRUTH METRIC M EF_CONSTRUCTION THREADS");
  const Config c{argv[1], argv[2], argv[3], argv[4], atoi(argv[5]), atoi(argv[6]), atoi(argv[7])};
  Matrix base = read_table<float>(c.base), query = read_table<float>(c.query);
  const auto truth = read_table<int32_t>(c.truth);
  if (query.d != base.d || truth.n != query.n || truth.d < K) fail("the files do not belong together");
  if (c.metric == "cosine") {
    normalise(base);
    normalise(query);
  }
  const double memory = resident();
  double began = cpu();
  Peer peer(c, base);
  peer.build(base);
  const double took = cpu() - began;
  printf("{\"version\":\"%s\",\"setting\":\"%s\",\"rows\":%d,\"dim\":%d,\"build_cpu_s\":%.6f,\"bytes_per_vector\":%.1f}\n", Peer::version().c_str(),
         Peer::setting().c_str(), base.n, base.d, took, std::max(0.0, resident() - memory) / base.n);
  fflush(stdout);
  std::vector<int64_t> found((size_t)query.n * K);
  for (int ef; std::cin >> ef;) {
    began = cpu();
    for (int i = 0; i < query.n; i++) peer.search(query.row(i), ef, &found[(size_t)i * K]);
    const double pass = cpu() - began;
    size_t hits = 0;
    for (int i = 0; i < query.n; i++)
      for (int j = 0; j < K; j++) hits += std::count(truth.row(i), truth.row(i) + K, found[(size_t)i * K + j]);
    printf("{\"ef\":%d,\"recall10\":%.6f,\"cpu_s\":%.6f}\n", ef, double(hits) / K / query.n, pass);
    fflush(stdout);
  }
  return 0;
}
