#pragma once
// Are the bytes of the tensors the ones that were written, and do their values make sense?
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "format/gguf_model.h"
#include "inspect/lint.h"

namespace ingot::inspect {

struct VerifyOptions {
    bool values = false;  // look at the values too: see ValueCheck
    int n_threads = 0;    // 0: all that the machine has
};

/// A tensor whose bytes are not the ones that were written.
struct DamagedTensor {
    size_t index = 0;  // in the model's list of tensors
    std::string name;
    uint32_t shard = 0;   // of a split model: which file
    uint64_t offset = 0;  // bytes from the start of that file
    uint64_t size_bytes = 0;
    std::string expected;  // checksum in the file; see pending
    std::string found;     // checksum of the bytes as they are
    bool pending = false;  // the writer never came to this tensor: the conversion was cut short
};

struct Verification {
    bool has_checksums = false;  // without them, only the extents were checked (by parsing the header)
    uint64_t n_checked = 0;      // tensors
    uint64_t n_unchecked = 0;    // tensors of shards without checksums, where other shards have some
    uint64_t checked_bytes = 0;
    uint64_t read_bytes = 0;
    bool stopped = false;                // `stop` was raised before the end
    std::vector<DamagedTensor> damaged;  // in the model's order
    std::vector<Finding> findings;       // about values, in the model's order; duplicates last

    bool ok() const { return damaged.empty() && !stopped; }
};

/// Compares every tensor with its checksum in its file's `ingot.checksum.xxh3_128`, and looks at its values
/// where that is wanted: one pass over the data, or none where there is neither. `progress` receives the
/// bytes done so far, from several threads. Throws Error when the list of checksums is malformed or does not
/// fit the tensors.
Verification verify(const GgufModel& model, const VerifyOptions& options = {},
                    const std::function<void(uint64_t bytes)>& progress = {},
                    const std::atomic<bool>* stop = nullptr);

}  // namespace ingot::inspect
