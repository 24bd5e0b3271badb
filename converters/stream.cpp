#include "converters/stream.h"

#include <tbb/enumerable_thread_specific.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "converters/convert.h"
#include "converters/quantize/plain.h"
#include "converters/quantize/quantize.h"
#include "converters/tile_pipeline.h"
#include "format/checksum.h"

namespace ingot::converters {

namespace {

/// One tensor on its way.
struct Job : StreamJob {
    bool copied = false;        // the bytes go over as they are
    uint64_t row_bytes = 0;     // in the file
    uint64_t source_bytes = 0;  // for the progress
    StreamingChecksum checksum;
};

/// A tile with room for what becomes of it.
struct Work : Tile {
    std::vector<std::byte> encoded;
};

/// Floating-point values are always looked at, so that a NaN is found; blocks of the same type are not.
bool is_copied(const TensorRows& rows, TensorType type) {
    return !is_float(type) && rows.n_elements() > 0 && rows.holds(type);
}

std::vector<Job> ordered(const std::vector<StreamJob>& jobs) {
    std::vector<const TensorRows*> all;
    for (const StreamJob& job : jobs) all.push_back(job.rows);
    std::vector<Job> result;
    for (const size_t i : reading_order(all)) {
        const StreamJob& job = jobs[i];
        result.push_back({job,
                          is_copied(*job.rows, job.type),
                          row_bytes(job.type, job.rows->row_elements()),
                          source_bytes_of(*job.rows),
                          {}});
    }
    return result;
}

std::vector<const TensorRows*> rows_of(const std::vector<Job>& jobs) {
    std::vector<const TensorRows*> rows;
    for (const Job& job : jobs) rows.push_back(job.rows);
    return rows;
}

class Stream {
  public:
    Stream(const std::vector<StreamJob>& jobs, StreamSink& sink, const StreamOptions& options)
        : sink_(sink), options_(options), jobs_(ordered(jobs)) {}

    void run() {
        for (const Job& job : jobs_) {
            if (job.rows->n_elements() == 0) sink_.finish(job.tensor, job.checksum.hex());
        }
        const bool done = for_each_tile<Work>(
            rows_of(jobs_), options_.n_threads, options_.cancel, [&](Work& work) { encode_tile(work); },
            [&](const Work& work) { retire_tile(work); });
        if (!done) throw Cancelled("interrupted");
    }

  private:
    /// In parallel: source rows -> float -> encoded, written to their place in the file.
    void encode_tile(Work& work) {
        const Job& job = jobs_[work.tensor];
        const uint64_t in_row = row_bytes(job.type, work.first_column);
        work.encoded.resize(work.n_rows * row_bytes(job.type, work.n_columns));
        if (job.copied) {
            job.rows->copy_blocks(job.type, work.first_row, work.n_rows, work.first_column, work.n_columns,
                                  work.encoded.data());
        } else {
            std::vector<float>& values = values_.local();  // (n_rows, n_columns)
            values.resize(work.n_elements());
            work.read(*job.rows, values.data());
            check_finite(work, values);
            quantize(work, values);
        }
        sink_.write(job.tensor, work.first_row * job.row_bytes + in_row, work.encoded);
    }

    /// Rows of different matrices (experts) have columns of different importance.
    void quantize(Work& work, std::span<const float> values) const {
        const Job& job = jobs_[work.tensor];
        const std::vector<uint64_t>& shape = job.rows->shape();
        const uint64_t rows_of_matrix = job.importance && shape.size() > 2 ? shape[1] : job.rows->n_rows();
        const std::span<std::byte> encoded(work.encoded);
        const uint64_t encoded_row_bytes = encoded.size() / work.n_rows;
        for (uint64_t row = 0; row < work.n_rows;) {
            const uint64_t matrix = (work.first_row + row) / rows_of_matrix;
            const uint64_t n =
                std::min(work.n_rows - row, (matrix + 1) * rows_of_matrix - work.first_row - row);
            std::span<const float> importance;
            if (job.importance) importance = job.importance->columns(matrix, job.rows->row_elements());
            if (!importance.empty()) importance = importance.subspan(work.first_column, work.n_columns);
            quantize_rows(job.type, values.subspan(row * work.n_columns, n * work.n_columns),
                          encoded.subspan(row * encoded_row_bytes, n * encoded_row_bytes), work.n_columns,
                          importance);
            row += n;
        }
    }

    void check_finite(const Work& work, const std::vector<float>& values) const {
        const Job& job = jobs_[work.tensor];
        const float limit = job.type == TensorType::F16 ? 65519.996f : std::numeric_limits<float>::max();
        if (plain::passes().largest_magnitude(values.data(), values.size()) <= std::bit_cast<uint32_t>(limit))
            return;

        const auto bad =
            std::ranges::find_if(values, [&](float value) { return !(std::fabs(value) <= limit); });
        const uint64_t at = uint64_t(bad - values.begin());
        const TensorRows::Place place =
            job.rows->place(work.first_row + at / work.n_columns, work.first_column + at % work.n_columns);
        if (std::isfinite(*bad)) {
            fail(
                "{}: tensor \"{}\" has {} at row {}, column {}, beyond what F16 holds (65504); use BF16 or "
                "F32",
                options_.source, place.tensor, *bad, place.row, place.column);
        }
        fail(
            "{}: tensor \"{}\" has {} at row {}, column {}; the checkpoint is damaged, or its training "
            "diverged",
            options_.source, place.tensor,
            std::isnan(*bad) ? "NaN"
            : *bad > 0       ? "infinity"
                             : "-infinity",
            place.row, place.column);
    }

    /// In order: the tensor's checksum; memory that held the source rows goes back.
    void retire_tile(const Work& work) {
        Job& job = jobs_[work.tensor];
        job.checksum.update(work.encoded);
        for (const Extent& extent : work.extents) extent.release();
        const uint64_t n_elements =
            work.first_row * job.rows->row_elements() + work.first_column + work.n_elements();
        if (options_.progress) {
            const double share = double(n_elements) / double(job.rows->n_elements());
            options_.progress(done_bytes_ + uint64_t(share * double(job.source_bytes)));
        }
        if (!work.is_last) return;
        sink_.finish(job.tensor, job.checksum.hex());
        done_bytes_ += job.source_bytes;
    }

    StreamSink& sink_;
    const StreamOptions& options_;
    std::vector<Job> jobs_;
    tbb::enumerable_thread_specific<std::vector<float>> values_;
    uint64_t done_bytes_ = 0;  // of the source: tensors that are finished
};

}  // namespace

void stream_rows(const std::vector<StreamJob>& jobs, StreamSink& sink, const StreamOptions& options) {
    Stream(jobs, sink, options).run();
}

}  // namespace ingot::converters
