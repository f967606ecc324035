// faiss' IndexHNSWFlat from the system's library.
#include <faiss/IndexHNSW.h>
#include <omp.h>

#include "peer.hpp"

struct Faiss {
  static std::string version() {
    return std::to_string(FAISS_VERSION_MAJOR) + "." + std::to_string(FAISS_VERSION_MINOR) + "." + std::to_string(FAISS_VERSION_PATCH);
  }
  static std::string setting() { return "IndexHNSWFlat, float32, the distribution's library (on amd64 an SSE baseline)"; }

  faiss::IndexHNSWFlat index;
  int threads;

  Faiss(const Config& c, const Matrix& base)
      : index(base.d, c.m, c.metric == "l2" ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT), threads(c.threads) {
    index.hnsw.efConstruction = c.ef_construction;
  }

  void build(const Matrix& base) {
    omp_set_num_threads(threads);
    index.add(base.n, base.cells.data());
    omp_set_num_threads(1);
  }

  void search(const float* query, int ef, int64_t* labels) {
    float distances[K];
    index.hnsw.efSearch = ef;
    index.search(1, query, K, distances, labels);
  }
};

int main(int argc, char** argv) { return run<Faiss>(argc, argv); }
