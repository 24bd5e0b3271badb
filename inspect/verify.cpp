#include "inspect/verify.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "format/checksum.h"
#include "format/ingot_keys.h"
#include "inspect/checksums.h"
#include "inspect/parallel.h"
#include "inspect/value_check.h"

namespace ingot::inspect {

namespace {

/// Between two looks at `stop`; what two readers of it share stays in the cache.
constexpr uint64_t kPieceElements = 1 << 18;
static_assert(kPieceElements % ValueCheck::kUnitElements == 0);

}  // namespace

Verification verify(const GgufModel& model, const VerifyOptions& options,
                    const std::function<void(uint64_t bytes)>& progress, const std::atomic<bool>* stop) {
    Verification result;
    const auto& tensors = model.header().tensors();
    const std::vector<std::string_view> expected = stored_checksums(model);
    for (const GgufFile& file : model.files())
        result.has_checksums = result.has_checksums || file.header().find(keys::kChecksums);
    if (!result.has_checksums && !options.values) return result;
    result.n_unchecked = uint64_t(std::ranges::count(expected, std::string_view()));

    // Threads take the next tensor in the files' order, so that a disk reads forwards.
    std::atomic<uint64_t> done_bytes = 0;
    std::mutex mutex;  // guards result
    std::vector<std::string> found(tensors.size());
    std::vector<std::vector<Finding>> findings(tensors.size());
    const auto stopped = [&] { return stop && stop->load(std::memory_order_relaxed); };

    const auto check_one = [&](size_t index) {
        const TensorInfo& tensor = tensors[index];
        const bool has_checksum = result.has_checksums && !expected[index].empty();
        if (!has_checksum && !options.values) return;
        StreamingChecksum checksum;
        std::optional<ValueCheck> values;
        if (options.values) values.emplace(tensor);
        const auto bytes = model.tensor_bytes(tensor);
        for (uint64_t at = 0; at < tensor.n_elements; at += kPieceElements) {
            if (stopped()) return;
            const uint64_t n = std::min(kPieceElements, tensor.n_elements - at);
            const auto piece = bytes.subspan(row_bytes(tensor.type, at), row_bytes(tensor.type, n));
            if (has_checksum) checksum.update(piece);
            if (values) values->add(piece);
            done_bytes += piece.size();
            if (progress) progress(done_bytes);
        }
        if (values) values->judge(bytes, findings[index]);
        if (!has_checksum) return;
        found[index] = checksum.hex();
        const std::lock_guard lock(mutex);
        result.n_checked += 1;
        result.checked_bytes += tensor.size_bytes;
        if (found[index] == expected[index]) return;
        result.damaged.push_back({.index = index,
                                  .name = std::string(tensor.name),
                                  .shard = tensor.shard,
                                  .offset = tensor.offset,
                                  .size_bytes = tensor.size_bytes,
                                  .expected = std::string(expected[index]),
                                  .found = found[index],
                                  .pending = expected[index] == keys::kPendingChecksum});
    };
    in_parallel(tensors.size(), options.n_threads, stop, check_one);
    result.read_bytes = done_bytes;
    result.stopped = stopped();
    std::ranges::sort(result.damaged, {}, &DamagedTensor::index);
    for (std::vector<Finding>& some : findings) std::ranges::move(some, std::back_inserter(result.findings));
    if (options.values && !result.stopped) {
        const bool has_all = result.n_checked == tensors.size();
        std::ranges::move(
            duplicate_data(model,
                           has_all ? std::span<const std::string>(found) : std::span<const std::string>(),
                           options.n_threads, stop),
            std::back_inserter(result.findings));
        result.stopped = stopped();
    }
    return result;
}

}  // namespace ingot::inspect
