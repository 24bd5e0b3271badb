#include "converters/stream.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "converters/quantize/quantize.h"
#include "format/checksum.h"

namespace ingot::converters {

namespace {

// A tile is the unit of work, and bounds memory: at most 2 × threads are in flight, each with its encoded
// bytes, and each thread has the floats of one. 1 MiB of floats stays in a core's second-level cache.
constexpr uint64_t kTileElements = 256 << 10;

/// How one tensor is cut: into groups of whole rows, or, where a row is longer than a tile, into pieces of
/// rows.
struct Geometry {
    uint64_t row_elements = 0;
    uint64_t n_rows = 0;
    uint64_t target_row_bytes = 0;
    uint64_t source_bytes = 0;  // of the whole tensor, for the progress
    bool copied = false;        // the bytes go over as they are

    uint64_t n_elements() const { return row_elements * n_rows; }
    bool cuts_rows() const { return row_elements > kTileElements; }
};

Geometry geometry_of(const TensorPlan& target, const TensorRows& rows) {
    Geometry g{rows.row_elements(), rows.n_rows(), 0, 0, false};
    g.target_row_bytes = row_bytes(target.type, g.row_elements);
    std::vector<Extent> extents;
    rows.append_extents(0, g.n_rows, extents);
    for (const Extent& extent : extents) g.source_bytes += extent.size_bytes;
    // Floating-point values are always looked at, so that a NaN is found; blocks of the same type are not.
    const bool plain_float =
        target.type == TensorType::F32 || target.type == TensorType::F16 || target.type == TensorType::BF16;
    g.copied = !plain_float && g.n_elements() > 0 && rows.holds(target.type);
    return g;
}

struct Tile {
    size_t tensor = 0;
    uint64_t first_row = 0, n_rows = 0;
    uint64_t first_column = 0, n_columns = 0;  // all of them, unless n_rows is 1
    std::vector<std::byte> encoded;
    std::vector<Extent> extents;  // what it reads; of a piece of a row: those of the row, with its last piece

    uint64_t n_elements() const { return n_rows * n_columns; }
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
            geometry_.push_back(geometry_of(targets[i], *plan.tensors[i].rows));
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
        while (next_tensor_ < geometry_.size() && next_element_ == geometry_[next_tensor_].n_elements()) {
            ++next_tensor_;
            next_element_ = 0;
        }
        if (cancelled_ || next_tensor_ == geometry_.size()) {
            flow.stop();
            return nullptr;
        }
        const Geometry& g = geometry_[next_tensor_];
        // Tiles in flight have consecutive numbers, so their places in this ring differ.
        Tile& tile = tiles_[n_tiles_++ % tiles_.size()];
        tile.tensor = next_tensor_;
        tile.first_row = next_element_ / g.row_elements;
        tile.first_column = next_element_ % g.row_elements;
        tile.n_rows = 1;
        tile.n_columns = std::min(kTileElements, g.row_elements - tile.first_column);
        if (!g.cuts_rows()) tile.n_rows = std::min(kTileElements / g.row_elements, g.n_rows - tile.first_row);
        next_element_ += tile.n_elements();
        tile.extents.clear();
        if (tile.first_column + tile.n_columns == g.row_elements) {
            rows_of(tile).append_extents(tile.first_row, tile.n_rows, tile.extents);
        }
        for (const Extent& extent : tile.extents) extent.will_need();
        return &tile;
    }

    /// In parallel: source rows -> float -> encoded, written to their place in the file.
    Tile* encode_tile(Tile* tile) {
        const Geometry& g = geometry_[tile->tensor];
        const TensorPlan& target = plan_.layout.tensors()[tile->tensor];
        const uint64_t in_row = row_bytes(target.type, tile->first_column);
        const uint64_t size = tile->n_rows * row_bytes(target.type, tile->n_columns);
        tile->encoded.resize(size);
        if (g.copied) {
            rows_of(*tile).copy_blocks(target.type, tile->first_row, tile->n_rows, tile->first_column,
                                       tile->n_columns, tile->encoded.data());
        } else {
            std::vector<float>& values = values_.local();  // (n_rows, n_columns)
            values.resize(tile->n_elements());
            if (g.cuts_rows()) {
                rows_of(*tile).read_columns(tile->first_row, 1, tile->first_column, tile->n_columns,
                                            values.data());
            } else {
                rows_of(*tile).read(tile->first_row, tile->n_rows, values.data());
            }
            check_finite(*tile, target, values);
            quantize_rows(target.type, values, tile->encoded, tile->n_columns);
        }
        output_.write_at(target.offset + tile->first_row * g.target_row_bytes + in_row, tile->encoded);
        return tile;
    }

    const TensorRows& rows_of(const Tile& tile) const { return *plan_.tensors[tile.tensor].rows; }

    void check_finite(const Tile& tile, const TensorPlan& target, const std::vector<float>& values) const {
        uint32_t largest = 0;  // magnitudes order as their bits do; infinity and NaN are above all numbers
        for (const float value : values)
            largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7fffffff);
        const float limit = target.type == TensorType::F16 ? 65519.996f : std::numeric_limits<float>::max();
        if (largest <= std::bit_cast<uint32_t>(limit)) return;

        const auto bad =
            std::ranges::find_if(values, [&](float value) { return !(std::fabs(value) <= limit); });
        const uint64_t at = uint64_t(bad - values.begin());
        const TensorRows::Place place = rows_of(tile).place(tile.first_row + at / tile.n_columns,
                                                            tile.first_column + at % tile.n_columns);
        if (std::isfinite(*bad)) {
            fail(
                "{}: tensor \"{}\" has {} at row {}, column {}, beyond what F16 holds (65504); use BF16 or "
                "F32",
                plan_.source, place.tensor, *bad, place.row, place.column);
        }
        fail(
            "{}: tensor \"{}\" has {} at row {}, column {}; the checkpoint is damaged, or its training "
            "diverged",
            plan_.source, place.tensor,
            std::isnan(*bad) ? "NaN"
            : *bad > 0       ? "infinity"
                             : "-infinity",
            place.row, place.column);
    }

    /// In order: the tensor's checksum; memory that held the source rows goes back.
    void retire_tile(const Tile& tile) {
        checksums_[tile.tensor].update(tile.encoded);
        for (const Extent& extent : tile.extents) extent.release();
        const Geometry& g = geometry_[tile.tensor];
        const uint64_t n_done = tile.first_row * g.row_elements + tile.first_column + tile.n_elements();
        if (options_.progress) {
            const double share = double(n_done) / double(g.n_elements());
            options_.progress(done_bytes_ + uint64_t(share * double(g.source_bytes)), plan_.source_bytes);
        }
        if (n_done == g.n_elements()) done_bytes_ += g.source_bytes;
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
    uint64_t next_element_ = 0;
    size_t n_tiles_ = 0;
    bool cancelled_ = false;
    // Of the last stage:
    uint64_t done_bytes_ = 0;  // of the source: tensors that are finished
};

}  // namespace

std::vector<std::string> stream_tensors(const ConversionPlan& plan, OutputFile& output, int n_threads,
                                        const ConvertOptions& options) {
    return Stream(plan, output, n_threads, options).run();
}

}  // namespace ingot::converters
