#pragma once
// `ingot convert --check`: everything that is in the way of a conversion, before a byte moves.
#include <cstdint>
#include <string>

#include "converters/findings.h"
#include "converters/plan.h"

namespace ingot::converters {

struct Diagnosis {
    Findings findings;  // of the plan and of the output
    DiskSpace disk;
    uint64_t needed_memory_bytes = 0;     // an upper bound
    uint64_t available_memory_bytes = 0;  // 0: unknown

    bool ok() const { return !findings.has_problems(); }
};

/// Looks at the plan, the output, the machine, and the bytes of sources that have checksums. Writes nothing.
Diagnosis examine(const ConversionPlan& plan, const std::string& output, bool overwrite, int n_threads);

/// Compares the sources with the checksums in them, where their format has some (PyTorch archives have);
/// those are read from end to end.
void check_sources(const ConversionPlan& plan, Findings& findings);

/// What a conversion needs at most, whatever the size of the tensors: tiles, and the header with the
/// vocabulary.
uint64_t needed_memory_bytes(const ConversionPlan& plan, int n_threads);

}  // namespace ingot::converters
