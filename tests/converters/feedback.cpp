// Rounding with error feedback: its algebra against definitions, its results against fits without it.
#include <Eigen/LU>
#include <cmath>
#include <cstring>
#include <random>

#include "converters/convert.h"
#include "converters/quantize/feedback/block_codec.h"
#include "converters/quantize/feedback/error_feedback.h"
#include "converters/quantize/feedback/layer_quantizer.h"
#include "converters/quantize/feedback/product.h"
#include "converters/quantize/feedback/row_tile.h"
#include "converters/quantize/quantize.h"
#include "format/decode.h"
#include "format/error.h"
#include "format/gguf.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::converters::feedback;
using namespace ingot::test;
using enum TensorType;

namespace {

constexpr TensorType kLayouts[] = {Q4_0, Q4_1, Q5_0, Q5_1, Q8_0,   Q2_K,
                                   Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS};
constexpr uint64_t kColumns = 512, kRows = 40;

/// Rows with a few strong common causes, as activations have: (n_rows, kColumns).
std::vector<float> correlated(uint64_t n_rows, unsigned seed = 3) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    constexpr uint64_t kCauses = 40;
    std::mt19937 same(5);
    std::vector<float> causes(kCauses * kColumns);
    for (float& value : causes) value = normal(same);
    std::vector<float> rows(n_rows * kColumns);
    for (uint64_t r = 0; r < n_rows; ++r) {
        for (uint64_t c = 0; c < kCauses; ++c) {
            const float strength = normal(random);
            for (uint64_t i = 0; i < kColumns; ++i)
                rows[r * kColumns + i] += strength * causes[c * kColumns + i];
        }
        for (uint64_t i = 0; i < kColumns; ++i) rows[r * kColumns + i] += normal(random);
    }
    return rows;
}

std::vector<float> weights(uint64_t n_rows = kRows) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> values(n_rows * kColumns);
    for (float& value : values) value = normal(random);
    return values;
}

SecondMoments moments_of(const std::vector<float>& rows) {
    SecondMoments moments(kColumns, SecondMoments::Form::Full);
    for (size_t at = 0; at < rows.size(); at += 64 * kColumns)
        moments.add(std::span(rows).subspan(at, std::min(rows.size() - at, size_t(64 * kColumns))));
    return moments;
}

std::vector<float> decoded(TensorType type, std::span<const std::byte> bytes) {
    const uint64_t n_rows = bytes.size() / row_bytes(type, kColumns);
    std::vector<float> values(n_rows * kColumns);
    for (uint64_t r = 0; r < n_rows; ++r)
        decode_row(type, &bytes[r * row_bytes(type, kColumns)], &values[r * kColumns], kColumns);
    return values;
}

/// Σ over rows x of inputs of the squared errors of all products: the definition, without H.
double product_error(std::span<const float> w, std::span<const float> q, const std::vector<float>& inputs) {
    double total = 0;
    for (size_t r = 0; r < w.size(); r += kColumns)
        for (size_t x = 0; x < inputs.size(); x += kColumns) {
            double difference = 0;
            for (size_t i = 0; i < kColumns; ++i)
                difference += (double(w[r + i]) - double(q[r + i])) * double(inputs[x + i]);
            total += difference * difference;
        }
    return total;
}

}  // namespace

TEST_CASE("blocks taken apart and put together again are the same bytes and the same values") {
    const std::vector<float> source = weights();
    for (const TensorType type : kLayouts) {
        INFO(name(type));
        const BlockCodec* codec = find_codec(type);
        REQUIRE(codec);
        std::vector<std::byte> bytes(kRows * row_bytes(type, kColumns));
        quantize_rows(type, source, bytes, kColumns);
        const std::vector<float> values = decoded(type, bytes);
        const size_t block_bytes = row_bytes(type, uint64_t(codec->block_elements));
        std::vector<std::byte> again(block_bytes);
        for (size_t b = 0; b < bytes.size() / block_bytes; ++b) {
            BlockParts parts;
            codec->unpack(&bytes[b * block_bytes], parts);
            const BlockGrid grid(*codec, parts);
            for (int i = 0; i < codec->block_elements; ++i) {
                const float value = values[b * size_t(codec->block_elements) + size_t(i)];
                const uint8_t code = grid.nearest(i, value);
                parts.codes[size_t(i)] = code;
                REQUIRE(grid.value(i, code) == value);
            }
            codec->pack(parts, again.data());
            REQUIRE(std::memcmp(again.data(), &bytes[b * block_bytes], block_bytes) == 0);
        }
    }
    CHECK_FALSE(find_codec(F16));
}

TEST_CASE("products of columns, of any number, are the same bits for every instruction set") {
    constexpr Index kDepth = 300, kStride = 80, kLeft = 13, kRight = 41;
    const std::vector<float> values = weights(kDepth * kStride / kColumns + 1);
    const Columns left{&values[3], kStride, kLeft}, right{&values[20], kStride, kRight};
    std::vector<float> best;
    for (const fit::Isa isa : {fit::Isa::Avx512, fit::Isa::Avx2, fit::Isa::Baseline}) {
        if (isa > fit::best_isa()) continue;  // better than this machine's
        std::vector<float> sums(kLeft * 50, 1.0f);
        add_product(left, right, kDepth, sums.data(), 50, isa);
        for (Index i = 0; i < kLeft; ++i) {
            for (Index j = 0; j < 50; ++j) {
                double expected = 1;
                for (Index r = 0; r < kDepth && j < kRight; ++r)
                    expected += double(left.data[r * kStride + i]) * double(right.data[r * kStride + j]);
                CHECK(sums[size_t(i * 50 + j)] == Approx(expected).epsilon(1e-6));
            }
        }
        if (best.empty()) best = sums;
        CHECK(sums == best);
    }
}

TEST_CASE("second moments are sums of products, in whatever pieces the rows come") {
    const std::vector<float> rows = correlated(100);
    const SecondMoments moments = moments_of(rows);
    CHECK(moments.n_rows() == 100);
    for (const auto& [i, j] : {std::pair{0, 0}, {3, 200}, {130, 131}, {255, 511}, {511, 511}}) {
        double sum = 0;
        for (size_t r = 0; r < 100; ++r)
            sum += double(rows[r * kColumns + size_t(i)]) * double(rows[r * kColumns + size_t(j)]);
        CHECK(moments.sums()[size_t(i) * kColumns + size_t(j)] == Approx(sum).epsilon(1e-4).margin(0.05));
    }
    SecondMoments diagonal(kColumns, SecondMoments::Form::Diagonal);
    diagonal.add(rows);
    const std::vector<float> expected = moments.diagonal(), found = diagonal.diagonal();
    for (size_t i = 0; i < kColumns; ++i) CHECK(found[i] == Approx(expected[i]).epsilon(1e-4));
}

TEST_CASE("the factor is that of the inverse of H, in an order that mixes no chunks") {
    const ErrorFeedback feedback(moments_of(correlated(800)));
    const Curvature& curvature = feedback.curvature();
    std::vector<bool> used(kColumns);
    for (size_t i = 0; i < kColumns; ++i) {
        const Index column = curvature.order[i];
        CHECK(column / kChunk == curvature.order[i / kChunk * kChunk] / kChunk);
        used[size_t(column)] = true;
        if (i % kChunk == 0) continue;
        const Index before = curvature.order[i - 1];
        CHECK(curvature.moments(before, before) >= curvature.moments(column, column));
    }
    CHECK(std::ranges::count(used, true) == int64_t(kColumns));

    Eigen::MatrixXd ordered(kColumns, kColumns);
    for (Index r = 0; r < Index(kColumns); ++r)
        for (Index c = 0; c < Index(kColumns); ++c)
            ordered(r, c) = curvature.moments(curvature.order[size_t(r)], curvature.order[size_t(c)]);
    const Eigen::MatrixXd factor = curvature.factor.cast<double>();
    const Eigen::MatrixXd product = factor.transpose() * factor * ordered;
    CHECK((product - Eigen::MatrixXd::Identity(kColumns, kColumns)).cwiseAbs().maxCoeff() < 1e-3);
}

TEST_CASE("feeding errors is solving for the columns that are left, after each rounding") {
    // The definition: with the first k columns fixed at q, the others w' minimize (w - w') H (w - w')ᵀ.
    const ErrorFeedback feedback(moments_of(correlated(800)), {0.01, 0});
    const Curvature& curvature = feedback.curvature();
    const std::vector<float> source = weights(1);
    std::vector<std::byte> bytes(row_bytes(Q8_0, kColumns));
    feedback.quantize(Q8_0, source, bytes);
    const std::vector<float> result = decoded(Q8_0, bytes);

    const Index n = kColumns;
    Eigen::MatrixXd h(n, n);
    Eigen::VectorXd w(n), q(n);
    for (Index r = 0; r < n; ++r) {
        w(r) = source[size_t(curvature.order[size_t(r)])];
        q(r) = result[size_t(curvature.order[size_t(r)])];
        for (Index c = 0; c < n; ++c)
            h(r, c) = curvature.moments(curvature.order[size_t(r)], curvature.order[size_t(c)]);
    }
    const BlockCodec& codec = *find_codec(Q8_0);
    for (const Index k : {Index(1), Index(40), Index(255), Index(256), Index(400), n - 1}) {
        const Index rest = n - k;
        const Eigen::VectorXd left =
            w.tail(rest) + h.bottomRightCorner(rest, rest)
                               .partialPivLu()
                               .solve(h.bottomLeftCorner(rest, k) * (w.head(k) - q.head(k)));
        // The next column was rounded from there.
        const Index column = curvature.order[size_t(k)];
        BlockParts parts;
        codec.unpack(&bytes[size_t(column / 32) * row_bytes(Q8_0, 32)], parts);
        const BlockGrid grid(codec, parts);
        const float step = grid.value(0, 1) - grid.value(0, 0);
        CHECK(std::fabs(left(0) - q(k)) < 0.502 * std::fabs(double(step)));
    }
}

TEST_CASE("products have less error than without feedback, in every layout, on inputs not seen before") {
    const SecondMoments moments = moments_of(correlated(2000));
    const std::vector<float> unseen = correlated(200, 99), source = weights();
    const ErrorFeedback plain(moments, {0.01, 0}), refined(moments);
    for (const TensorType type : kLayouts) {
        INFO(name(type));
        std::vector<std::byte> bytes(kRows * row_bytes(type, kColumns));
        quantize_rows(type, source, bytes, kColumns, moments.diagonal());
        const double without = product_error(source, decoded(type, bytes), unseen);
        plain.quantize(type, source, bytes);
        const double with = product_error(source, decoded(type, bytes), unseen);
        refined.quantize(type, source, bytes);
        const double best = product_error(source, decoded(type, bytes), unseen);
        CHECK(with < 0.5 * without);
        CHECK(best < with);
    }
}

TEST_CASE("refinement only ever lowers the error, and ends") {
    const ErrorFeedback feedback(moments_of(correlated(800)));
    const std::vector<float> source = weights(8);
    for (const TensorType type : kLayouts) {
        INFO(name(type));
        RowTile tile(feedback.curvature(), *find_codec(type), source);
        tile.round();
        double error = tile.error();
        for (int sweep = 0; sweep < 6; ++sweep) {
            tile.refine(1);
            CHECK(tile.error() <= error * (1 + 1e-5));
            error = tile.error();
        }
        std::vector<std::byte> once(8 * row_bytes(type, kColumns)), again(once.size());
        tile.refine(1000);
        tile.store(once);
        tile.refine(1000);
        tile.store(again);
        CHECK(once == again);
    }
}

TEST_CASE("rows come in any number of tiles") {
    const ErrorFeedback feedback(moments_of(correlated(800)));
    const std::vector<float> source = weights();
    const size_t row = row_bytes(Q4_K, kColumns), half = ErrorFeedback::kTileRows;
    std::vector<std::byte> whole(kRows * row), pieces(kRows * row);
    feedback.quantize(Q4_K, source, whole);
    feedback.quantize(Q4_K, std::span(source).first(half * kColumns), std::span(pieces).first(half * row));
    feedback.quantize(Q4_K, std::span(source).subspan(half * kColumns),
                      std::span(pieces).subspan(half * row));
    CHECK(whole == pieces);
}

TEST_CASE("drifted inputs: the matrix is aimed at the products that were meant") {
    const std::vector<float> meant = correlated(2000), source = weights();
    std::vector<float> drifted = meant;
    for (size_t i = 0; i < drifted.size(); ++i) drifted[i] = 0.9f * drifted[i] + 0.05f * meant[i ^ 1];
    SecondMoments aware(kColumns, SecondMoments::Form::Full), unaware = aware;
    aware.add(drifted, meant);
    unaware.add(drifted);
    CHECK(unaware.drift().empty());
    const auto error = [&](const SecondMoments& moments) {
        std::vector<std::byte> bytes(kRows * row_bytes(Q4_K, kColumns));
        ErrorFeedback(moments).quantize(Q4_K, source, bytes);
        const std::vector<float> q = decoded(Q4_K, bytes);
        double total = 0;
        for (size_t r = 0; r < source.size(); r += kColumns)
            for (size_t x = 0; x < 100 * kColumns; x += kColumns) {
                double difference = 0;
                for (size_t i = 0; i < kColumns; ++i)
                    difference += double(source[r + i]) * double(meant[x + i]) -
                                  double(q[r + i]) * double(drifted[x + i]);
                total += difference * difference;
            }
        return total;
    };
    CHECK(error(aware) < 0.3 * error(unaware));
    aware.add(meant, meant);  // no drift adds none
    SecondMoments same(kColumns, SecondMoments::Form::Full);
    same.add(meant, meant);
    CHECK(same.drift().empty());
}

TEST_CASE("drift that is noise is not aimed at") {
    const std::vector<float> meant = correlated(700), noise = correlated(700, 77);
    std::vector<float> noisy = meant, shrunk = meant;
    for (size_t i = 0; i < meant.size(); ++i) {
        noisy[i] += 0.1f * noise[i];
        shrunk[i] *= 0.9f;
    }
    const auto shift = [&](const std::vector<float>& reference) {
        SecondMoments moments(kColumns, SecondMoments::Form::Full);
        moments.add(meant, reference);
        return ErrorFeedback(moments).curvature().shift.norm();
    };
    const float of_noise = shift(noisy), of_drift = shift(shrunk);
    // -0.1 on the diagonal, less what the damping takes where the inputs hardly reach.
    CHECK(of_drift > 0.06f * std::sqrt(float(kColumns)));
    CHECK(of_drift < 0.1f * std::sqrt(float(kColumns)));
    CHECK(of_noise < 0.1f * of_drift);
}

TEST_CASE("moments that say nothing, and such that are no numbers") {
    const std::vector<float> nothing(64 * kColumns), source = weights(4);
    std::vector<std::byte> bytes(4 * row_bytes(Q4_K, kColumns));
    ErrorFeedback(moments_of(nothing)).quantize(Q4_K, source, bytes);
    double error = 0, size = 0;
    const std::vector<float> q = decoded(Q4_K, bytes);
    for (size_t i = 0; i < q.size(); ++i) {
        error += std::pow(double(q[i] - source[i]), 2);
        size += std::pow(double(source[i]), 2);
    }
    CHECK(error < 0.01 * size);  // rounded each for itself

    std::vector<float> one_column = nothing;  // of rank one
    for (size_t r = 0; r < 64; ++r) one_column[r * kColumns + 7] = 1e18f;
    CHECK_NOTHROW(ErrorFeedback(moments_of(one_column)).quantize(Q4_K, source, bytes));
    one_column[7] = INFINITY;
    CHECK_THROWS_AS(ErrorFeedback(moments_of(one_column)), Error);
    CHECK_THROWS_AS(ErrorFeedback(moments_of(nothing)).quantize(F16, source, bytes), Error);
}

namespace {

/// Takes notes instead of writing.
class Notes : public StreamSink {
  public:
    void write(size_t tensor, uint64_t, std::span<const std::byte>) override { written.push_back(tensor); }
    void finish(size_t tensor, const std::string&) override { finished.push_back(tensor); }
    std::vector<size_t> written, finished;
};

}  // namespace

TEST_CASE("matrices with the same input are quantized together, those behind them in the next pass") {
    const ConversionPlan plan =
        plan_checkpoint(INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", *find_recipe("Q4_K_M"));
    Notes notes;
    LayerQuantizer quantizer(plan, notes, {});
    std::vector<float> x = correlated(8), other = correlated(8, 4);
    x.resize(8 * 256);
    other.resize(8 * 256);
    const auto pass = [&] {
        // What comes behind the input that is collected is left out, once the first piece has shown who has
        // it.
        for (int chunk = 0; chunk < 2; ++chunk) {
            const bool goes_on =
                quantizer.add_inputs("blk.0.attn_q.weight", x, 256, 1, {}) &&
                quantizer.add_inputs("blk.0.attn_k.weight", x, 256, 1, {}) &&
                quantizer.add_inputs("blk.0.attn_norm.weight", x, 256, 1, {}) &&  // no matrix
                quantizer.add_inputs("blk.0.attn_output.weight", other, 256, 1, {});
            CHECK(goes_on == (chunk == 0 || quantizer.n_done() == 3));
        }
        std::vector<std::string> names;
        for (const EncodedTensor& tensor : quantizer.finish_pass()) names.push_back(tensor.name);
        return names;
    };
    CHECK(pass() == std::vector<std::string>{"blk.0.attn_q.weight", "blk.0.attn_k.weight"});
    CHECK(quantizer.has_more());
    CHECK(pass() == std::vector<std::string>{"blk.0.attn_output.weight"});
    CHECK_FALSE(quantizer.has_more());
    CHECK(pass().empty());
    CHECK(quantizer.n_done() == 3);
    CHECK(notes.finished.size() == 3);
    CHECK(notes.written == notes.finished);
    CHECK(quantizer.by_diagonal().empty());
    CHECK_THROWS_AS(quantizer.add_inputs("blk.1.attn_q.weight", x, 128, 1, {}), Error);

    LayerQuantizerOptions little;
    little.most_moment_bytes = 1000;
    LayerQuantizer frugal(plan, notes, little);
    frugal.add_inputs("blk.0.attn_q.weight", x, 256, 1, {});
    CHECK(frugal.finish_pass().size() == 1);
    CHECK(frugal.by_diagonal() == std::vector<std::string>{"blk.0.attn_q.weight"});
}
