#pragma once
// What `ingot bench` prints: a table for people, Markdown for issues, CSV and JSON for programs.
#include <string>
#include <vector>

#include "runtime/benchmark.h"

namespace ingot::cli {

/// What was measured of one model.
struct BenchReport {
    std::string file;
    uint64_t size_bytes = 0;
    uint64_t n_parameters = 0;
    std::string architecture;
    std::string type;  // of most weights
    std::string device;
    double load_seconds = 0;
    std::vector<runtime::BenchmarkResult> results;
    runtime::cpu::LimitRates limits;  // medians of all that were measured beside the runs
};

std::string bench_table(const std::vector<BenchReport>& reports, bool with_profile);
std::string bench_markdown(const std::vector<BenchReport>& reports, bool with_profile);
std::string bench_csv(const std::vector<BenchReport>& reports);
std::string bench_json(const std::vector<BenchReport>& reports, bool with_profile);

}  // namespace ingot::cli
