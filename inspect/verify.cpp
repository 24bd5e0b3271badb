#include "inspect/verify.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>

#include "format/checksum.h"
#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::inspect {

namespace {

constexpr size_t kHexDigits = 32;           // of one checksum
constexpr uint64_t kPieceBytes = 16 << 20;  // between two looks at `stop`

bool is_checksum(std::string_view text) {
    return text.size() == kHexDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The list in a file, one checksum per tensor; empty when it has none.
std::vector<std::string_view> read_checksums(const GgufFile& file) {
    const auto& tensors = file.header().tensors();
    const Value* found = file.header().find(keys::kChecksums);
    if (!found) return {};
    const Value& value = *found;
    if (value.type() != ValueType::Array || value.element_type() != ValueType::String) {
        fail("{}: metadata {} must be an array of strings, one checksum per tensor; it is {} {}",
             file.path().string(), keys::kChecksums, value.type() == ValueType::Array ? "an array of" : "a",
             name(value.element_type()));
    }
    if (value.count() != tensors.size()) {
        fail(
            "{}: metadata {} has {} checksums for {} tensors; another program changed the tensors, "
            "or the header is damaged",
            file.path().string(), keys::kChecksums, value.count(), tensors.size());
    }
    std::vector<std::string_view> checksums;
    checksums.reserve(tensors.size());
    for (const Value element : value.elements()) {
        const std::string_view text = element.as_string();
        if (!is_checksum(text)) {
            fail(
                "{}: metadata {}: the checksum of tensor {} must be {} "
                "lower-case hex digits; it has {} bytes of something else",
                file.path().string(), keys::kChecksums, printable(tensors[checksums.size()].name), kHexDigits,
                text.size());
        }
        checksums.push_back(text);
    }
    return checksums;
}

}  // namespace

Verification verify(const GgufModel& model, int n_threads,
                    const std::function<void(uint64_t bytes)>& progress, const std::atomic<bool>* stop) {
    Verification result;
    const auto& tensors = model.header().tensors();
    std::vector<std::string_view> expected;  // by tensor; empty where its file has no checksums
    for (const GgufFile& file : model.files()) {
        const std::vector<std::string_view> own = read_checksums(file);
        result.has_checksums = result.has_checksums || file.header().find(keys::kChecksums);
        expected.insert(expected.end(), own.begin(), own.end());
        expected.resize(expected.size() + file.header().tensors().size() - own.size());
    }
    if (!result.has_checksums) return result;
    result.n_unchecked = uint64_t(std::ranges::count(expected, std::string_view()));

    // Threads take the next tensor in the files' order, so that a disk reads forwards.
    std::atomic<size_t> next = 0;
    std::atomic<uint64_t> done_bytes = 0;
    std::mutex mutex;  // guards result and failure
    std::exception_ptr failure;
    const auto stopped = [&] { return stop && stop->load(std::memory_order_relaxed); };

    const auto check_one = [&](size_t index) {
        const TensorInfo& tensor = tensors[index];
        if (expected[index].empty()) return;
        StreamingChecksum streaming;
        auto rest = model.tensor_bytes(tensor);
        while (!rest.empty()) {
            if (stopped()) return;
            const auto piece = rest.first(std::min<uint64_t>(rest.size(), kPieceBytes));
            rest = rest.subspan(piece.size());
            streaming.update(piece);
            done_bytes += piece.size();
            if (progress) progress(done_bytes);
        }
        std::string found = streaming.hex();
        const std::lock_guard lock(mutex);
        result.n_checked += 1;
        result.checked_bytes += tensor.size_bytes;
        if (found == expected[index]) return;
        result.damaged.push_back({.index = index,
                                  .name = std::string(tensor.name),
                                  .shard = tensor.shard,
                                  .offset = tensor.offset,
                                  .size_bytes = tensor.size_bytes,
                                  .expected = std::string(expected[index]),
                                  .found = std::move(found),
                                  .pending = expected[index] == keys::kPendingChecksum});
    };
    const auto work = [&] {
        try {
            for (size_t i = next++; i < tensors.size() && !stopped(); i = next++) check_one(i);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            next = tensors.size();
        }
    };

    if (n_threads <= 0) n_threads = int(std::max(1u, std::thread::hardware_concurrency()));
    {
        std::vector<std::jthread> helpers;
        for (size_t i = 1; i < std::min(size_t(n_threads), tensors.size()); ++i) helpers.emplace_back(work);
        work();
    }  // joined here
    if (failure) std::rethrow_exception(failure);
    result.stopped = result.n_checked + result.n_unchecked < tensors.size();
    std::sort(result.damaged.begin(), result.damaged.end(),
              [](const DamagedTensor& a, const DamagedTensor& b) { return a.index < b.index; });
    return result;
}

}  // namespace ingot::inspect
