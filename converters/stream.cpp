#include "converters/stream.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "converters/architectures/mapping.h"
#include "converters/quantize/quantize.h"
#include "format/checksum.h"
#include "format/decode.h"

namespace ingot::converters {

namespace {

// A tile is the unit of work, and bounds memory: at most 2 × threads are in flight, each with its encoded
// bytes, and each thread has the floats of one. 1 MiB of floats stays in a core's second-level cache.
constexpr uint64_t kTileElements = 256 << 10;

/// How one tensor is cut: `n_rows` rows of `row_elements`, each a whole number of blocks of both types.
struct Geometry {
    uint64_t row_elements = 0;
    uint64_t n_rows = 0;
    uint64_t head_rows = 0;  // rows of one interleaved head; 0: rows stay in order
    uint64_t source_row_bytes = 0;
    uint64_t target_row_bytes = 0;
    bool copied = false;  // the bytes go over as they are

    uint64_t tile_rows() const {
        return std::max<uint64_t>(1, kTileElements / std::max<uint64_t>(1, row_elements));
    }
};

Geometry geometry_of(const TensorPlan& target, const TensorSource& source) {
    Geometry g;
    const TensorType source_type = source.tensor ? source.tensor->type : TensorType::F32;
    if (target.shape.size() <= 1) {
        // A vector is cut anywhere between blocks, or, when it is permuted, into single elements.
        g.row_elements = source.interleaved_heads
                             ? 1
                             : std::max(info(source_type).block_elements, info(target.type).block_elements);
        g.n_rows = target.n_elements / g.row_elements;
    } else {
        g.row_elements = target.shape[0];
        g.n_rows = g.row_elements == 0 ? 0 : target.n_elements / g.row_elements;
    }
    if (source.interleaved_heads) g.head_rows = g.n_rows / source.interleaved_heads;
    g.source_row_bytes = row_bytes(source_type, g.row_elements);
    g.target_row_bytes = row_bytes(target.type, g.row_elements);
    // Floating-point values are always looked at, so that a NaN is found; blocks of the same type are not.
    const bool plain_float =
        source_type == TensorType::F32 || source_type == TensorType::F16 || source_type == TensorType::BF16;
    g.copied = source.tensor && source_type == target.type && !plain_float && !g.head_rows;
    return g;
}

struct Tile {
    size_t tensor = 0;
    uint64_t first_row = 0;
    uint64_t n_rows = 0;
    std::vector<std::byte> encoded;
};

class Stream {
  public:
    Stream(const ConversionPlan& plan, OutputFile& output, int n_threads, const ConvertOptions& options)
        : plan_(plan),
          output_(output),
          options_(options),
          n_threads_(n_threads),
          tiles_(2 * size_t(n_threads)) {
        const auto& targets = plan.layout.tensors();
        for (size_t i = 0; i < targets.size(); ++i)
            geometry_.push_back(geometry_of(targets[i], plan.tensors[i]));
        checksums_.resize(targets.size());
    }

    std::vector<std::string> run() {
        tbb::task_arena arena(n_threads_);
        arena.execute([&] {
            const auto next = tbb::make_filter<void, Tile*>(
                tbb::filter_mode::serial_in_order, [&](tbb::flow_control& flow) { return next_tile(flow); });
            const auto encode = tbb::make_filter<Tile*, Tile*>(tbb::filter_mode::parallel,
                                                               [&](Tile* tile) { return encode_tile(tile); });
            const auto retire = tbb::make_filter<Tile*, void>(tbb::filter_mode::serial_in_order,
                                                              [&](Tile* tile) { retire_tile(*tile); });
            tbb::parallel_pipeline(tiles_.size(), next & encode & retire);
        });
        if (cancelled_) throw Cancelled("interrupted; nothing was written");
        std::vector<std::string> hex;
        for (const StreamingChecksum& checksum : checksums_) hex.push_back(checksum.hex());
        return hex;
    }

  private:
    /// In order: the next rows to work on. The system starts to read them.
    Tile* next_tile(tbb::flow_control& flow) {
        if (options_.cancel && options_.cancel->load(std::memory_order_relaxed)) cancelled_ = true;
        while (next_tensor_ < geometry_.size() && next_row_ == geometry_[next_tensor_].n_rows) {
            ++next_tensor_;
            next_row_ = 0;
        }
        if (cancelled_ || next_tensor_ == geometry_.size()) {
            flow.stop();
            return nullptr;
        }
        const Geometry& g = geometry_[next_tensor_];
        // Tiles in flight have consecutive numbers, so their places in this ring differ.
        Tile& tile = tiles_[n_tiles_++ % tiles_.size()];
        tile.tensor = next_tensor_;
        tile.first_row = next_row_;
        tile.n_rows = std::min(g.tile_rows(), g.n_rows - next_row_);
        next_row_ += tile.n_rows;
        if (const SourceTensor* source = plan_.tensors[tile.tensor].tensor) {
            plan_.checkpoint->will_need(*source, tile.first_row * g.source_row_bytes,
                                        tile.n_rows * g.source_row_bytes);
        }
        return &tile;
    }

    /// In parallel: source rows -> float -> encoded, written to their place in the file.
    Tile* encode_tile(Tile* tile) {
        const Geometry& g = geometry_[tile->tensor];
        const TensorSource& source = plan_.tensors[tile->tensor];
        const TensorPlan& target = plan_.layout.tensors()[tile->tensor];
        tile->encoded.resize(tile->n_rows * g.target_row_bytes);
        if (g.copied) {
            std::memcpy(tile->encoded.data(),
                        source.tensor->data.data() + tile->first_row * g.source_row_bytes,
                        tile->encoded.size());
        } else {
            std::vector<float>& values = values_.local();  // (n_rows, row_elements)
            values.resize(tile->n_rows * g.row_elements);
            read_rows(*tile, g, source, values);
            check_finite(*tile, g, source, target, values);
            quantize_rows(target.type, values, tile->encoded, g.row_elements);
        }
        output_.write_at(target.offset + tile->first_row * g.target_row_bytes, tile->encoded);
        return tile;
    }

    void read_rows(const Tile& tile, const Geometry& g, const TensorSource& source,
                   std::vector<float>& values) const {
        if (!source.tensor) {
            std::copy_n(source.values.data() + tile.first_row * g.row_elements, values.size(), values.data());
            return;
        }
        const std::byte* data = source.tensor->data.data();
        if (!g.head_rows) {
            decode_row(source.tensor->type, data + tile.first_row * g.source_row_bytes, values.data(),
                       values.size());
            return;
        }
        for (uint64_t row = 0; row < tile.n_rows; ++row) {
            const uint64_t source_row = interleaved_source_row(tile.first_row + row, g.head_rows);
            decode_row(source.tensor->type, data + source_row * g.source_row_bytes,
                       values.data() + row * g.row_elements, g.row_elements);
        }
    }

    void check_finite(const Tile& tile, const Geometry& g, const TensorSource& source,
                      const TensorPlan& target, const std::vector<float>& values) const {
        uint32_t largest = 0;  // magnitudes order as their bits do; infinity and NaN are above all numbers
        for (const float value : values)
            largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7fffffff);
        const float limit = target.type == TensorType::F16 ? 65519.996f : std::numeric_limits<float>::max();
        if (largest <= std::bit_cast<uint32_t>(limit)) return;

        const auto bad =
            std::ranges::find_if(values, [&](float value) { return !(std::fabs(value) <= limit); });
        const uint64_t at = uint64_t(bad - values.begin());
        uint64_t row = tile.first_row + at / g.row_elements;
        if (g.head_rows) row = interleaved_source_row(row, g.head_rows);
        const uint64_t element = row * g.row_elements + at % g.row_elements;  // of the whole tensor
        const uint64_t width = std::max<uint64_t>(1, target.shape.empty() ? 1 : target.shape[0]);
        const std::string& tensor = source.tensor ? source.tensor->name : target.name;
        if (std::isfinite(*bad)) {
            fail(
                "{}: tensor \"{}\" has {} at row {}, column {}, beyond what F16 holds (65504); use BF16 or "
                "F32",
                plan_.source, tensor, *bad, element / width, element % width);
        }
        fail(
            "{}: tensor \"{}\" has {} at row {}, column {}; the checkpoint is damaged, or its training "
            "diverged",
            plan_.source, tensor,
            std::isnan(*bad) ? "NaN"
            : *bad > 0       ? "infinity"
                             : "-infinity",
            element / width, element % width);
    }

    /// In order: the tensor's checksum; memory that held the source rows goes back.
    void retire_tile(const Tile& tile) {
        const Geometry& g = geometry_[tile.tensor];
        checksums_[tile.tensor].update(tile.encoded);
        const SourceTensor* source = plan_.tensors[tile.tensor].tensor;
        if (!source) return;
        if (tile.first_row == 0) released_rows_ = 0;
        uint64_t consumed = tile.first_row + tile.n_rows;
        if (g.head_rows) consumed -= consumed % g.head_rows;  // rows of a head are read in another order
        plan_.checkpoint->release(*source, released_rows_ * g.source_row_bytes,
                                  (consumed - released_rows_) * g.source_row_bytes);
        released_rows_ = consumed;
        done_bytes_ += tile.n_rows * g.source_row_bytes;
        if (options_.progress) options_.progress(done_bytes_, plan_.source_bytes);
    }

    const ConversionPlan& plan_;
    OutputFile& output_;
    const ConvertOptions& options_;
    const int n_threads_;
    std::vector<Geometry> geometry_;            // one per tensor
    std::vector<StreamingChecksum> checksums_;  // one per tensor
    std::vector<Tile> tiles_;
    tbb::enumerable_thread_specific<std::vector<float>> values_;

    // Of the first stage:
    size_t next_tensor_ = 0;
    uint64_t next_row_ = 0;
    size_t n_tiles_ = 0;
    bool cancelled_ = false;
    // Of the last stage:
    uint64_t released_rows_ = 0;  // of the current tensor
    uint64_t done_bytes_ = 0;
};

}  // namespace

std::vector<std::string> stream_tensors(const ConversionPlan& plan, OutputFile& output, int n_threads,
                                        const ConvertOptions& options) {
    return Stream(plan, output, n_threads, options).run();
}

}  // namespace ingot::converters
