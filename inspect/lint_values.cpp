// What the values of a file's tensors tell.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <mutex>

#include "format/checksum.h"
#include "format/decode.h"
#include "format/error.h"
#include "inspect/lint.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr uint64_t kPiece = 1 << 16;  // elements; whole blocks of every layout
constexpr uint64_t kBlock = 32;       // elements that are looked at together
constexpr int kAbsurd = 14;           // powers of two above the median block
constexpr int kExponents = 512, kZeroExponent = 256;
constexpr uint64_t kMinDuplicate = 4096;  // bytes; small tensors are often equal, norms of ones

/// What one tensor's values come to.
struct Values {
    uint64_t n_nan = 0, n_infinite = 0, n_nonzero = 0;
    uint64_t first_odd = UINT64_MAX;                 // element that is NaN or infinite
    std::array<uint64_t, kExponents> blocks{};       // blocks by ⌊log2⌋ of their root mean square
    std::array<uint64_t, kExponents> first_block{};  // element where the first such block begins

    void add_block(std::span<const float> values, uint64_t at) {
        double squares = 0;
        for (size_t i = 0; i < values.size(); ++i) {
            const double x = double(values[i]);
            if (!std::isfinite(x)) {
                ++(std::isnan(x) ? n_nan : n_infinite);
                first_odd = std::min(first_odd, at + i);
                continue;
            }
            n_nonzero += x != 0;
            squares += x * x;
        }
        if (squares == 0) return;
        // Of floats, whose squares have exponents from -298 to 256.
        const int exponent =
            std::clamp(int(std::floor(std::log2(squares / double(values.size())) / 2)) + kZeroExponent, 0,
                       kExponents - 1);
        if (blocks[size_t(exponent)]++ == 0) first_block[size_t(exponent)] = at;
    }
};

class ValueLinter {
  public:
    ValueLinter(const GgufModel& model, const std::function<void(uint64_t)>& progress,
                const std::atomic<bool>* stop)
        : model_(model), progress_(progress), stop_(stop) {}

    std::vector<Finding> run(int n_threads) {
        const auto& tensors = model_.header().tensors();
        found_.resize(tensors.size());
        checksums_.resize(tensors.size());
        in_parallel(tensors.size(), n_threads, stop_, [&](size_t i) { look_at(i); });
        std::vector<Finding> findings;
        for (std::vector<Finding>& some : found_) findings.insert(findings.end(), some.begin(), some.end());
        if (!stopped()) add_duplicates(findings);
        return findings;
    }

  private:
    bool stopped() const { return stop_ && stop_->load(std::memory_order_relaxed); }

    void look_at(size_t index) {
        const TensorInfo& tensor = model_.header().tensors()[index];
        const auto bytes = model_.tensor_bytes(tensor);
        StreamingChecksum checksum;
        Values values;
        const bool decodable = info(tensor.type).decodable;
        std::vector<float> decoded;
        for (uint64_t at = 0; at < tensor.n_elements; at += kPiece) {
            if (stopped()) return;
            const uint64_t n = std::min(kPiece, tensor.n_elements - at);
            const auto piece = bytes.subspan(row_bytes(tensor.type, at), row_bytes(tensor.type, n));
            checksum.update(piece);
            if (decodable) {
                decoded.resize(n);
                decode_row(tensor.type, piece.data(), decoded.data(), n);
                for (uint64_t i = 0; i < n; i += kBlock)
                    values.add_block(std::span(decoded).subspan(i, std::min(kBlock, n - i)), at + i);
            }
            done_ += piece.size();
            if (progress_) progress_(done_);
        }
        checksums_[index] = checksum.hex();
        if (decodable) judge(tensor, values, found_[index]);
    }

    static void judge(const TensorInfo& tensor, const Values& values, std::vector<Finding>& findings) {
        const auto add = [&](Severity severity, std::string_view code, std::string message) {
            findings.push_back({severity, code, std::string(tensor.name), std::move(message)});
        };
        const auto place = [&](uint64_t element) {
            return fmt::format("row {}, column {}", grouped(element / tensor.row_elements()),
                               grouped(element % tensor.row_elements()));
        };
        if (values.n_nan + values.n_infinite > 0) {
            add(Severity::Error, values.n_nan > 0 ? "nan" : "infinity",
                fmt::format("{} of {} values are NaN and {} infinite, the first at {}", grouped(values.n_nan),
                            grouped(tensor.n_elements), grouped(values.n_infinite), place(values.first_odd)));
        }
        if (values.n_nonzero == 0 && values.n_nan + values.n_infinite == 0 && tensor.n_elements > 0) {
            // A bias of zeros is a bias that was never trained; a matrix of zeros is a mistake.
            add(tensor.n_dims > 1 && tensor.n_rows() > 1 ? Severity::Warning : Severity::Note, "all-zero",
                fmt::format("all of {} values are zero", grouped(tensor.n_elements)));
        }
        uint64_t n_blocks = 0, before = 0;
        for (const uint64_t count : values.blocks) n_blocks += count;
        int median = 0;
        while (median < kExponents && (before += values.blocks[size_t(median)]) * 2 < n_blocks) ++median;
        uint64_t n_absurd = 0, first = UINT64_MAX;
        for (int exponent = median + kAbsurd; exponent < kExponents; ++exponent) {
            if (values.blocks[size_t(exponent)] == 0) continue;
            n_absurd += values.blocks[size_t(exponent)];
            first = std::min(first, values.first_block[size_t(exponent)]);
        }
        constexpr uint64_t kEnoughBlocks = 16;  // for a median that means something
        if (n_absurd > 0 && n_blocks >= kEnoughBlocks) {
            add(Severity::Warning, "absurd-scale",
                fmt::format("{} of {} blocks of {} are at least 2^{} times as large as the median one, the "
                            "first at {}",
                            grouped(n_absurd), grouped(n_blocks), kBlock, kAbsurd, place(first)));
        }
    }

    void add_duplicates(std::vector<Finding>& findings) const {
        const auto& tensors = model_.header().tensors();
        std::map<std::string_view, size_t> seen;  // by checksum
        for (size_t i = 0; i < tensors.size(); ++i) {
            if (tensors[i].size_bytes < kMinDuplicate) continue;
            const auto [place, is_new] = seen.emplace(checksums_[i], i);
            if (is_new || tensors[place->second].size_bytes != tensors[i].size_bytes) continue;
            findings.push_back({Severity::Note, "duplicate-data", std::string(tensors[i].name),
                                fmt::format("has the same {} bytes as {}", grouped(tensors[i].size_bytes),
                                            printable(tensors[place->second].name))});
        }
    }

    const GgufModel& model_;
    const std::function<void(uint64_t)>& progress_;
    const std::atomic<bool>* stop_;
    std::atomic<uint64_t> done_ = 0;  // bytes
    std::vector<std::vector<Finding>> found_;
    std::vector<std::string> checksums_;
};

}  // namespace

std::vector<Finding> lint_values(const GgufModel& model, int n_threads,
                                 const std::function<void(uint64_t bytes)>& progress,
                                 const std::atomic<bool>* stop) {
    return ValueLinter(model, progress, stop).run(n_threads);
}

}  // namespace ingot::inspect
