#include "converters/quantize/feedback/row_tile.h"

#include <algorithm>
#include <cmath>

#include "converters/quantize/feedback/block_refinement.h"
#include "converters/quantize/feedback/product.h"
#include "converters/quantize/fit/fit.h"

namespace ingot::converters::feedback {

/// sums (x.rows, right.n) += x right, where right has as many rows as x has columns.
static void add_rows_times(const Matrix& x, Columns right, float* sums, Index sums_stride) {
    const Matrix turned = x.transpose();
    add_product({turned.data(), turned.cols(), turned.cols()}, right, turned.rows(), sums, sums_stride);
}

static Columns all_columns(const Matrix& matrix, Index first_row = 0) {
    return {&matrix(first_row, 0), matrix.cols(), matrix.cols()};
}

RowTile::RowTile(const Curvature& curvature, const BlockCodec& codec, std::span<const float> rows)
    : curvature_(curvature),
      codec_(codec),
      target_(Eigen::Map<const Matrix>(rows.data(), Index(rows.size()) / curvature.n_columns(),
                                       curvature.n_columns())),
      n_blocks_(curvature.n_columns() / codec.block_elements),
      blocks_(size_t(target_.rows() * n_blocks_)) {
    if (curvature.shift.size() != 0)
        add_rows_times(target_, all_columns(curvature.shift), target_.data(), target_.cols());
}

void RowTile::round() {
    const Index n_rows = target_.rows(), n = target_.cols();
    Matrix left(n_rows, n);  // values yet to be rounded, columns in the order of the rounding
    for (Index i = 0; i < n; ++i) left.col(i) = target_.col(curvature_.order[size_t(i)]);
    Matrix errors(n_rows, kChunk);  // of one chunk, divided by U(i, i)
    for (Index begin = 0; begin < n; begin += kChunk) {
        const Index size = std::min(kChunk, n - begin), rest = n - begin - size;
        choose_scales(begin, size, left);
        round_chunk(begin, size, left, errors);
        if (rest == 0) break;
        add_rows_times(-errors.leftCols(size), {&curvature_.factor(begin, begin + size), n, rest},
                       &left(0, begin + size), n);
    }
}

/// The first column of a chunk, which is a stretch of neighbours in another order.
static Index first_column(const Curvature& curvature, Index begin) {
    return curvature.order[size_t(begin)] / kChunk * kChunk;
}

void RowTile::choose_scales(Index begin, Index size, const Matrix& left) {
    const fit::Fit fit = fit::find_fit(codec_.type);
    const Index first = first_column(curvature_, begin), n = codec_.block_elements;
    const size_t block_bytes = size_t(row_bytes(codec_.type, uint64_t(n)));
    std::vector<float> values(static_cast<size_t>(size));
    std::vector<std::byte> encoded(size_t(row_bytes(codec_.type, uint64_t(size))));
    for (Index row = 0; row < left.rows(); ++row) {
        for (Index j = 0; j < size; ++j)
            values[size_t(curvature_.order[size_t(begin + j)] - first)] = left(row, begin + j);
        fit(values.data(), curvature_.weights.data() + first, uint64_t(size / n), encoded.data());
        for (Index b = 0; b < size / n; ++b)
            codec_.unpack(encoded.data() + size_t(b) * block_bytes, block(row, first / n + b));
    }
}

void RowTile::round_chunk(Index begin, Index size, Matrix& left, Matrix& errors) {
    const Index n_rows = left.rows(), n = codec_.block_elements;
    const Index first_block = first_column(curvature_, begin) / n;
    std::vector<BlockGrid> grids;
    for (Index row = 0; row < n_rows; ++row)
        for (Index b = 0; b < size / n; ++b) grids.emplace_back(codec_, block(row, first_block + b));
    for (Index j = 0; j < size; ++j) {
        const Index column = curvature_.order[size_t(begin + j)] - first_block * n;
        const Index b = column / n;
        const int element = int(column % n);
        const float* u = &curvature_.factor(begin + j, begin);  // (size), zero before j
        const float inverse = 1 / u[j];
        for (Index row = 0; row < n_rows; ++row) {
            float* values = &left(row, begin);
            const BlockGrid& grid = grids[size_t(row * (size / n) + b)];
            const uint8_t code = grid.nearest(element, values[j]);
            block(row, first_block + b).codes[size_t(element)] = code;
            const float error = (values[j] - grid.value(element, code)) * inverse;
            errors(row, j) = error;
            for (Index k = j + 1; k < size; ++k) values[k] -= error * u[k];
        }
    }
}

Matrix RowTile::decoded() const {
    Matrix values(target_.rows(), target_.cols());
    float* out = values.data();
    for (const BlockParts& parts : blocks_) {
        const BlockGrid grid(codec_, parts);
        for (int i = 0; i < codec_.block_elements; ++i) *out++ = grid.value(i, parts.codes[size_t(i)]);
    }
    return values;
}

void RowTile::refine(int n_sweeps) {
    if (n_sweeps == 0) return;
    const Index n_rows = target_.rows(), n = codec_.block_elements;
    // -1/2 of the error's gradient by q, (n_rows, n_columns)
    Matrix pull = Matrix::Zero(n_rows, target_.cols());
    add_rows_times(target_ - decoded(), all_columns(curvature_.moments), pull.data(), pull.cols());
    Matrix steps(n_rows, n);  // what a block's values changed by
    for (int sweep = 0; sweep < n_sweeps; ++sweep) {
        bool changed = false;
        for (Index b = 0; b < n_blocks_; ++b) {
            const Matrix local = curvature_.moments.block(b * n, b * n, n, n);
            steps.setZero();
            for (Index row = 0; row < n_rows; ++row) {
                BlockRefinement refinement(codec_, local, block(row, b), &pull(row, b * n), &steps(row, 0));
                changed |= refinement.sweep();
            }
            add_rows_times(-steps, all_columns(curvature_.moments, b * n), pull.data(), pull.cols());
        }
        if (!changed) break;
    }
}

void RowTile::store(std::span<std::byte> destination) const {
    const size_t block_bytes = size_t(row_bytes(codec_.type, uint64_t(codec_.block_elements)));
    for (size_t i = 0; i < blocks_.size(); ++i) codec_.pack(blocks_[i], &destination[i * block_bytes]);
}

double RowTile::error() const {
    const Matrix difference = target_ - decoded();
    return (difference * curvature_.moments).cwiseProduct(difference).cast<double>().sum();
}

}  // namespace ingot::converters::feedback
