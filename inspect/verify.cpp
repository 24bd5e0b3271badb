#include "inspect/verify.h"

#include <algorithm>
#include <mutex>

#include "format/checksum.h"
#include "format/ingot_keys.h"
#include "inspect/checksums.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr uint64_t kPieceBytes = 16 << 20;  // between two looks at `stop`

}  // namespace

Verification verify(const GgufModel& model, int n_threads,
                    const std::function<void(uint64_t bytes)>& progress, const std::atomic<bool>* stop) {
    Verification result;
    const auto& tensors = model.header().tensors();
    const std::vector<std::string_view> expected = stored_checksums(model);
    for (const GgufFile& file : model.files())
        result.has_checksums = result.has_checksums || file.header().find(keys::kChecksums);
    if (!result.has_checksums) return result;
    result.n_unchecked = uint64_t(std::ranges::count(expected, std::string_view()));

    // Threads take the next tensor in the files' order, so that a disk reads forwards.
    std::atomic<uint64_t> done_bytes = 0;
    std::mutex mutex;  // guards result
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
    in_parallel(tensors.size(), n_threads, stop, check_one);
    result.stopped = result.n_checked + result.n_unchecked < tensors.size();
    std::sort(result.damaged.begin(), result.damaged.end(),
              [](const DamagedTensor& a, const DamagedTensor& b) { return a.index < b.index; });
    return result;
}

}  // namespace ingot::inspect
