#pragma once
// What differs between two files: metadata, tensors, and the tensors' values.
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf_model.h"
#include "format/name_pattern.h"
#include "inspect/measure.h"

namespace ingot::inspect {

struct DiffOptions {
    bool metadata = true, tensors = true;
    bool values = true;                      // false: of tensors whose bytes differ only that is told
    bool by_checksum = false;                // believe the checksums that both files hold: no data is read
    std::optional<NamePattern> match;        // only these keys and tensors
    std::optional<NamePattern> ignore_keys;  // keys that do not count
    int n_threads = 0;                       // 0: all that the machine has
};

/// A key that is not the same in both files. Views into the headers; null where the file has no such key.
struct KeyDifference {
    std::string_view key;
    const Value *a = nullptr, *b = nullptr;
};

/// A tensor that is not the same in both files. Null where the file has no such tensor.
struct TensorDifference {
    std::string_view name;
    const TensorInfo *a = nullptr, *b = nullptr;
    std::optional<ErrorSums> sums = {};  // where the values could be compared
    std::string why_not = {};            // where they could not: the reason

    bool same_values() const { return sums && sums->exact(); }
};

struct Difference {
    std::vector<KeyDifference> keys;        // in A's order, then those only in B
    std::vector<TensorDifference> tensors;  // likewise
    uint64_t n_same_keys = 0;
    uint64_t n_same_tensors = 0;  // type, shape and all bytes
    bool stopped = false;         // `stop` was raised before the end

    bool same() const { return keys.empty() && tensors.empty(); }
};

/// Compares the models, shards joined. Tensors are the same when their type, shape and bytes are; others are
/// decoded and measured. What a tensor's place in the file is, padding and spare bytes do not count. `progress`
/// receives the elements of A that are done, from several threads. With by_checksum: throws Error when a file
/// has none.
Difference diff(const GgufModel& a, const GgufModel& b, const DiffOptions& options,
                const std::function<void(uint64_t elements)>& progress = {},
                const std::atomic<bool>* stop = nullptr);

/// The keys that differ, without `match` and `ignore_keys`. `n_same` receives the number of the others.
std::vector<KeyDifference> diff_metadata(const GgufHeader& a, const GgufHeader& b, const DiffOptions& options,
                                         uint64_t& n_same);

/// Same type and same bytes.
bool same_value(const Value& a, const Value& b);
/// The first element in which two arrays of one element type differ; their shorter length when it is none.
uint64_t first_difference(const Value& a, const Value& b);

}  // namespace ingot::inspect
