#pragma once
// The product that error feedback spends its time on. Eigen is compiled for the baseline of the processor's
// family, this for what the machine has.
#include "converters/quantize/feedback/matrix.h"
#include "converters/quantize/fit/fit.h"

namespace ingot::converters::feedback {

/// Some columns of a row-major matrix: (n_rows, n).
struct Columns {
    const float* data;
    Index stride;  // floats from row to row
    Index n;
};

/// sums (left.n, right.n) += leftᵀ right, `sums_stride` floats from row to row. The bits are the same for
/// every instruction set.
void add_product(Columns left, Columns right, Index n_rows, float* sums, Index sums_stride,
                 fit::Isa isa = fit::best_isa());

}  // namespace ingot::converters::feedback
