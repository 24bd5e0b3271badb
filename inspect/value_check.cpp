#include "inspect/value_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <tuple>

#include "format/checksum.h"
#include "format/decode.h"
#include "format/error.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr int kAbsurd = 14;                // powers of two above the median block
constexpr uint64_t kEnoughBlocks = 16;     // for a median that means something
constexpr uint64_t kBatch = 128;           // blocks whose magnitudes are read together
constexpr uint64_t kMostElements = 256;    // of a block, of every layout
constexpr uint64_t kMinDuplicate = 4096;   // bytes; small tensors are often equal, norms of ones
constexpr uint64_t kPieceBytes = 4 << 20;  // between two looks at `stop`

}  // namespace

ValueCheck::ValueCheck(const TensorInfo& tensor)
    : tensor_(tensor), reader_(magnitude_reader(tensor.type)), counts_{}, others_{} {
    if (reader_ || !info(tensor.type).decodable) return;
    reader_ = magnitude_reader(TensorType::F32);
    decodes_ = true;
}

/// Calls take(magnitudes, first block's bytes, blocks, elements of the last one) front to back.
template <typename Take>
void ValueCheck::for_batches(std::span<const std::byte> bytes, const Take& take) const {
    std::array<Magnitude, kBatch> magnitudes;
    std::vector<float> decoded;
    const uint64_t n_elements =
        bytes.size() / info(tensor_.type).block_bytes * info(tensor_.type).block_elements;
    const uint64_t batch_elements = kBatch * reader_->block_elements;
    for (uint64_t at = 0; at < n_elements; at += batch_elements) {
        const uint64_t n = std::min(batch_elements, n_elements - at);
        const std::byte* source = bytes.data() + row_bytes(tensor_.type, at);
        const uint64_t n_whole = n / reader_->block_elements, n_rest = n % reader_->block_elements;
        if (decodes_) {
            decoded.resize(n);
            decode_row(tensor_.type, source, decoded.data(), n);
            source = reinterpret_cast<const std::byte*>(decoded.data());
        }
        reader_->read(source, n_whole, magnitudes.data());
        if (n_rest > 0) {  // floats only: zeros make it a block
            std::array<std::byte, kMostElements * sizeof(float)> last{};
            const uint64_t bytes_each = reader_->block_bytes / reader_->block_elements;
            std::memcpy(last.data(), source + n_whole * reader_->block_bytes, n_rest * bytes_each);
            reader_->read(last.data(), 1, &magnitudes[n_whole]);
        }
        take(std::span(magnitudes).first(n_whole + (n_rest > 0)), source, at, n);
    }
}

/// Calls take(value, element of the block).
template <typename Take>
void ValueCheck::decode_block(const std::byte* block, uint64_t n_elements, const Take& take) const {
    std::array<float, kMostElements> values;
    decode_row(decodes_ ? TensorType::F32 : tensor_.type, block, values.data(), n_elements);
    for (uint64_t i = 0; i < n_elements; ++i) take(values[i], i);
}

/// Two at a time, in counters of their own: neighbours are often alike, and would wait for each other.
void ValueCheck::count(std::span<const Magnitude> magnitudes) {
    const size_t n_pairs = magnitudes.size() / 2;
    for (size_t i = 0; i < n_pairs; ++i) {
        ++counts_[magnitudes[2 * i]];
        ++others_[magnitudes[2 * i + 1]];
    }
    if (magnitudes.size() % 2) ++counts_[magnitudes.back()];
}

void ValueCheck::add(std::span<const std::byte> bytes) {
    if (!reader_) return;
    const uint64_t block_elements = reader_->block_elements;
    for_batches(bytes,
                [&](std::span<const Magnitude> magnitudes, const std::byte* source, uint64_t at, uint64_t n) {
                    const uint64_t n_odd_before = n_blocks(kOddMagnitude), n_zero_before = n_blocks(0);
                    count(magnitudes);
                    const bool all_zero = n_blocks(0) - n_zero_before == magnitudes.size();
                    const bool is_odd = n_blocks(kOddMagnitude) != n_odd_before;
                    if (!is_odd && (has_value_ || all_zero)) return;
                    if (!is_odd && reader_->of_values) {
                        has_value_ = true;
                        return;
                    }
                    // The rare ones: what may be NaN or infinite, and the first block that may not be all
                    // zero.
                    for (uint64_t i = 0; i < magnitudes.size(); ++i) {
                        if (magnitudes[i] != kOddMagnitude && (has_value_ || magnitudes[i] == 0)) continue;
                        const uint64_t first = i * block_elements;
                        const uint64_t n_odd = n_nan_ + n_infinite_;
                        decode_block(source + i * reader_->block_bytes, std::min(block_elements, n - first),
                                     [&](float value, uint64_t element) {
                                         has_value_ = has_value_ || (value != 0 && std::isfinite(value));
                                         if (std::isfinite(value)) return;
                                         if (n_nan_ + n_infinite_ == 0)
                                             first_odd_ = n_seen_ + at + first + element;
                                         ++(std::isnan(value) ? n_nan_ : n_infinite_);
                                     });
                        // Only large, in the end.
                        if (magnitudes[i] == kOddMagnitude && n_odd == n_nan_ + n_infinite_) {
                            --counts_[kOddMagnitude];
                            ++counts_[kOddMagnitude - 1];
                        }
                    }
                });
    n_seen_ += bytes.size() / info(tensor_.type).block_bytes * info(tensor_.type).block_elements;
}

/// The first element of the first block whose magnitude is `from` or more, but not odd.
uint64_t ValueCheck::find_first(std::span<const std::byte> bytes, int from) const {
    uint64_t found = UINT64_MAX;
    for_batches(bytes, [&](std::span<const Magnitude> magnitudes, const std::byte*, uint64_t at, uint64_t) {
        if (found != UINT64_MAX) return;
        for (uint64_t i = 0; i < magnitudes.size() && found == UINT64_MAX; ++i)
            if (magnitudes[i] >= from && magnitudes[i] != kOddMagnitude)
                found = at + i * reader_->block_elements;
    });
    return found;
}

void ValueCheck::judge(std::span<const std::byte> bytes, std::vector<Finding>& findings) const {
    if (!reader_ || tensor_.n_elements == 0) return;
    const auto add = [&](Severity severity, std::string_view code, std::string message) {
        findings.push_back({severity, code, std::string(tensor_.name), std::move(message)});
    };
    const auto place = [&](uint64_t element) {
        return fmt::format("row {}, column {}", grouped(element / tensor_.row_elements()),
                           grouped(element % tensor_.row_elements()));
    };
    if (n_nan_ + n_infinite_ > 0) {
        add(Severity::Error, n_nan_ > 0 ? "nan" : "infinity",
            fmt::format("{} of {} values are NaN and {} infinite, the first at {}", grouped(n_nan_),
                        grouped(tensor_.n_elements), grouped(n_infinite_), place(first_odd_)));
    } else if (!has_value_) {
        // A bias of zeros is a bias that was never trained; a matrix of zeros is a mistake.
        add(tensor_.n_dims > 1 && tensor_.n_rows() > 1 ? Severity::Warning : Severity::Note, "all-zero",
            fmt::format("all of {} values are zero", grouped(tensor_.n_elements)));
    }
    uint64_t n_all = 0, before = 0, n_absurd = 0;
    for (int i = 1; i < kOddMagnitude; ++i) n_all += n_blocks(i);
    int median = 1;
    while (median < kOddMagnitude && (before += n_blocks(median)) * 2 < n_all) ++median;
    for (int i = median + kAbsurd; i < kOddMagnitude; ++i) n_absurd += n_blocks(i);
    if (n_absurd == 0 || n_all < kEnoughBlocks) return;
    const uint64_t first = find_first(bytes, median + kAbsurd);
    add(Severity::Warning, "absurd-scale",
        fmt::format("{} of {} blocks of {} have {} at least 2^{} times as large as the median block's{}",
                    grouped(n_absurd), grouped(n_all), reader_->block_elements,
                    reader_->of_values ? "values" : "scales", kAbsurd,
                    first == UINT64_MAX ? "" : ", the first at " + place(first)));
}

std::vector<Finding> duplicate_data(const GgufModel& model, std::span<const std::string> checksums,
                                    int n_threads, const std::atomic<bool>* stop) {
    const auto& tensors = model.header().tensors();
    constexpr uint64_t kSample = 4096;  // bytes, from the middle: beginnings are more often alike
    struct Pair {
        size_t first, second;
        bool same;
    };
    std::vector<Pair> pairs;
    std::map<std::tuple<uint64_t, std::string>, size_t> seen;  // by size, and checksum or sample
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].size_bytes < kMinDuplicate) continue;
        const auto bytes = model.tensor_bytes(tensors[i]);
        std::string key = checksums.empty()
                              ? xxh3_128_hex(bytes.subspan((bytes.size() - kSample) / 2, kSample))
                              : checksums[i];
        const auto [place, is_new] = seen.emplace(std::tuple(bytes.size(), std::move(key)), i);
        if (!is_new) pairs.push_back({place->second, i, !checksums.empty()});
    }
    if (checksums.empty()) {
        in_parallel(pairs.size(), n_threads, stop, [&](size_t i) {
            const auto a = model.tensor_bytes(tensors[pairs[i].first]);
            const auto b = model.tensor_bytes(tensors[pairs[i].second]);
            bool same = true;
            for (uint64_t at = 0; at < a.size() && same; at += kPieceBytes) {
                if (stop && stop->load(std::memory_order_relaxed)) return;
                same = std::memcmp(a.data() + at, b.data() + at, std::min(kPieceBytes, a.size() - at)) == 0;
            }
            pairs[i].same = same;
        });
    }
    std::vector<Finding> findings;
    for (const Pair& pair : pairs) {
        if (!pair.same) continue;
        findings.push_back(
            {Severity::Note, "duplicate-data", std::string(tensors[pair.second].name),
             fmt::format("has the same {} bytes as {}", grouped(tensors[pair.second].size_bytes),
                         printable(tensors[pair.first].name))});
    }
    return findings;
}

}  // namespace ingot::inspect
