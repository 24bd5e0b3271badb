#include "inspect/diff.h"

#include <algorithm>
#include <cstring>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "inspect/checksums.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr uint64_t kPieceBytes = 4 << 20;  // between two looks at `stop`

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b, const std::atomic<bool>* stop) {
    if (a.size() != b.size()) return false;
    for (uint64_t at = 0; at < a.size(); at += kPieceBytes) {
        if (stop && stop->load(std::memory_order_relaxed)) return true;
        const size_t n = std::min<uint64_t>(kPieceBytes, a.size() - at);
        if (std::memcmp(a.data() + at, b.data() + at, n) != 0) return false;
    }
    return true;
}

/// Stored checksums by tensor of the joined model.
std::vector<std::string_view> require_checksums(const GgufModel& model) {
    std::vector<std::string_view> checksums = stored_checksums(model);
    const auto missing = std::ranges::find_if(
        checksums, [](std::string_view text) { return text.empty() || text == keys::kPendingChecksum; });
    if (missing != checksums.end() || checksums.size() != model.header().tensors().size()) {
        fail("{}: has no checksum of every tensor (key {}); compare the data instead", model.path().string(),
             keys::kChecksums);
    }
    return checksums;
}

}  // namespace

std::vector<KeyDifference> diff_metadata(const GgufHeader& a, const GgufHeader& b, const DiffOptions& options,
                                         uint64_t& n_same) {
    std::vector<KeyDifference> differences;
    n_same = 0;
    const auto counts = [&](std::string_view key) {
        if (key == keys::kSpare) return false;  // room for edits, no fact about the model
        if (options.match && !options.match->matches(key)) return false;
        return !(options.ignore_keys && options.ignore_keys->matches(key));
    };
    for (const KeyValue& entry : a.metadata()) {
        if (!counts(entry.key)) continue;
        const Value* other = b.find(entry.key);
        if (other && same_value(entry.value, *other)) {
            ++n_same;
        } else {
            differences.push_back({entry.key, &entry.value, other});
        }
    }
    for (const KeyValue& entry : b.metadata())
        if (counts(entry.key) && !a.find(entry.key))
            differences.push_back({entry.key, nullptr, &entry.value});
    return differences;
}

bool same_value(const Value& a, const Value& b) {
    return a.type() == b.type() && a.element_type() == b.element_type() && a.count() == b.count() &&
           std::ranges::equal(a.encoded(), b.encoded());
}

uint64_t first_difference(const Value& a, const Value& b) {
    uint64_t i = 0;
    auto x = a.elements().begin(), y = b.elements().begin();
    for (; x != a.elements().end() && y != b.elements().end(); ++x, ++y, ++i)
        if (!same_value(*x, *y)) break;
    return i;
}

Difference diff(const GgufModel& a, const GgufModel& b, const DiffOptions& options,
                const std::function<void(uint64_t elements)>& progress, const std::atomic<bool>* stop) {
    Difference result;
    if (options.metadata) result.keys = diff_metadata(a.header(), b.header(), options, result.n_same_keys);
    if (!options.tensors) return result;
    std::vector<std::string_view> checksums_a, checksums_b;
    if (options.by_checksum) {
        checksums_a = require_checksums(a);
        checksums_b = require_checksums(b);
    }
    const auto counts = [&](const TensorInfo& tensor) {
        return !options.match || options.match->matches(tensor.name);
    };
    std::vector<TensorDifference> candidates;
    for (const TensorInfo& tensor : a.header().tensors())
        if (counts(tensor))
            candidates.push_back({.name = tensor.name,
                                  .a = &tensor,
                                  .b = b.header().find_tensor(tensor.name),
                                  .sums = {},
                                  .why_not = {}});
    std::vector<char> same(candidates.size());
    std::atomic<uint64_t> done = 0;
    const auto add_progress = [&](uint64_t n_elements) {
        done += n_elements;
        if (progress) progress(done);
    };
    in_parallel(candidates.size(), options.n_threads, stop, [&](size_t i) {
        TensorDifference& tensor = candidates[i];
        if (!tensor.b) {
            tensor.why_not = "only in the first";
            return add_progress(tensor.a->n_elements);
        }
        if (tensor.a->type == tensor.b->type && tensor.a->shape == tensor.b->shape) {
            same[i] = options.by_checksum
                          ? checksums_a[size_t(tensor.a - a.header().tensors().data())] ==
                                checksums_b[size_t(tensor.b - b.header().tensors().data())]
                          : same_bytes(a.tensor_bytes(*tensor.a), b.tensor_bytes(*tensor.b), stop);
            if (same[i]) return add_progress(tensor.a->n_elements);
        }
        tensor.why_not = why_not_comparable(*tensor.a, *tensor.b);
        if (tensor.why_not.empty() && (options.by_checksum || !options.values))
            tensor.why_not = tensor.a->type == tensor.b->type ? "other bytes" : "another type";
        if (!tensor.why_not.empty()) return add_progress(tensor.a->n_elements);
        tensor.sums = measure_tensors(a, *tensor.a, b, *tensor.b, add_progress, stop);
    });
    result.stopped = stop && stop->load();
    for (size_t i = 0; i < candidates.size(); ++i) {
        if (same[i]) {
            ++result.n_same_tensors;
        } else {
            result.tensors.push_back(std::move(candidates[i]));
        }
    }
    for (const TensorInfo& tensor : b.header().tensors()) {
        if (counts(tensor) && !a.header().find_tensor(tensor.name))
            result.tensors.push_back({tensor.name, nullptr, &tensor, {}, "only in the second"});
    }
    return result;
}

}  // namespace ingot::inspect
