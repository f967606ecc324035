// The hnswlib of the system's headers.
#include <hnswlib/hnswlib.h>

#include <memory>

#include "peer.hpp"

struct Hnswlib {
  static std::string version() { return PEER_VERSION; }
  static std::string setting() { return "float32, g++ -O3 -march=native"; }

  std::unique_ptr<hnswlib::SpaceInterface<float>> space;
  hnswlib::HierarchicalNSW<float> index;
  int threads;

  static hnswlib::SpaceInterface<float>* make(const Config& c, int d) {
    if (c.metric == "l2") return new hnswlib::L2Space(d);
    return new hnswlib::InnerProductSpace(d);
  }

  Hnswlib(const Config& c, const Matrix& base)
      : space(make(c, base.d)), index(space.get(), base.n, c.m, c.ef_construction), threads(c.threads) {}

  void build(const Matrix& base) {
    index.addPoint(base.row(0), 0);
    parallel(threads, base.n - 1, [&](size_t i, int) { index.addPoint(base.row(i + 1), i + 1); });
  }

  void search(const float* query, int ef, int64_t* labels) {
    index.setEf(ef);
    auto hits = index.searchKnn(query, K);
    std::fill(labels, labels + K, -1);
    for (; !hits.empty(); hits.pop()) *labels++ = hits.top().second;
  }
};

int main(int argc, char** argv) { return run<Hnswlib>(argc, argv); }
