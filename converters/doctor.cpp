#include "converters/doctor.h"

#include <tbb/info.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "converters/tiles.h"

namespace ingot::converters {

namespace {

/// What the system could give this process now; 0 where it does not say.
uint64_t available_memory_bytes() {
    std::ifstream file("/proc/meminfo");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("MemAvailable:")) return std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
    }
    return 0;
}

/// Worth knowing, but not in the way.
void describe_types(const ConversionPlan& plan, Findings& findings) {
    size_t n_fallbacks = 0;
    std::string first;
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        if (plan.tensors[i].fallback_reason.empty()) continue;
        if (n_fallbacks++ == 0) first = plan.target(i).name + ": " + plan.tensors[i].fallback_reason;
    }
    if (n_fallbacks > 0) {
        findings.note("types", fmt::format("{} of {} tensors get another type than {}; {}", n_fallbacks,
                                           plan.tensors.size(), plan.recipe().name, first));
    }
    if (!plan.left_out.empty()) {
        findings.note("weights", fmt::format("{} tensors of the source are not needed, {} the first",
                                             plan.left_out.size(), plan.left_out.front()));
    }
}

}  // namespace

void check_sources(const ConversionPlan& plan, Findings& findings) {
    const auto check = [&](const Checkpoint& checkpoint) {
        const bool whole = findings.attempt("weights", [&] { checkpoint.check_contents(); });
        if (!whole) findings.advise("download the file again");
    };
    if (plan.checkpoint) check(*plan.checkpoint);
    for (const auto& adapter : plan.adapters) check(*adapter);
}

uint64_t needed_memory_bytes(const ConversionPlan& plan, int n_threads) {
    constexpr uint64_t kProgramBytes = 16 << 20;
    // A tile's floats for each thread; for each tile in flight what it was read from and what it becomes.
    const uint64_t threads = uint64_t(n_threads);
    const uint64_t tiles = kTileElements * (threads * sizeof(float) + 2 * threads * 2 * sizeof(float));
    uint64_t headers = 0;
    for (const PlannedFile& file : plan.files) headers += file.layout.data_offset();
    constexpr uint64_t kHeaderCopies = 6;  // values, encoded, the tokenizer files they came from
    return kProgramBytes + tiles + kHeaderCopies * headers + 4096 * plan.tensors.size();
}

Diagnosis examine(const ConversionPlan& plan, const std::string& output, bool overwrite, int n_threads) {
    Diagnosis diagnosis;
    diagnosis.findings = plan.findings;
    if (!plan.files.empty()) {
        check_output(plan, output, overwrite, diagnosis.findings);
        describe_types(plan, diagnosis.findings);
    }
    check_sources(plan, diagnosis.findings);
    diagnosis.disk = disk_space(plan, output);
    diagnosis.needed_memory_bytes =
        needed_memory_bytes(plan, n_threads > 0 ? n_threads : tbb::info::default_concurrency());
    diagnosis.available_memory_bytes = available_memory_bytes();
    if (diagnosis.available_memory_bytes > 0 &&
        diagnosis.needed_memory_bytes > diagnosis.available_memory_bytes) {
        diagnosis.findings.warn(
            "memory",
            fmt::format("up to {} bytes are needed, {} are available", grouped(diagnosis.needed_memory_bytes),
                        grouped(diagnosis.available_memory_bytes)),
            "use fewer --threads");
    }
    return diagnosis;
}

}  // namespace ingot::converters
