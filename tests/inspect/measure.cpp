#include "inspect/measure.h"

#include <cmath>
#include <limits>

#include "format/half.h"
#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using inspect::Measurement;

namespace {

struct Tensor {
    std::string name;
    TensorType type;
    std::vector<uint64_t> shape;
    std::vector<float> values;
};

void write_tensors(const std::string& path, const std::vector<Tensor>& tensors) {
    std::vector<TensorPlan> plans;
    for (const Tensor& tensor : tensors) plans.push_back({tensor.name, tensor.type, tensor.shape});
    const GgufLayout layout({}, plans);
    std::vector<std::byte> bytes = layout.encode_header();
    bytes.resize(layout.file_size_bytes());
    for (size_t i = 0; i < tensors.size(); ++i) {
        std::byte* to = bytes.data() + layout.tensors()[i].offset;
        for (const float value : tensors[i].values) {
            const uint16_t half = float_to_half(value);
            const bool is_half = tensors[i].type == TensorType::F16;
            std::memcpy(to, is_half ? static_cast<const void*>(&half) : &value, is_half ? 2 : 4);
            to += is_half ? 2 : 4;
        }
    }
    write_bytes(path, bytes);
}

}  // namespace

TEST_CASE("measure: errors of a tensor, computed by hand") {
    const TemporaryFolder folder;
    write_tensors(folder / "a.gguf", {{"w", TensorType::F32, {2, 2}, {3, 0, 0, 4}},
                                      {"same", TensorType::F32, {2}, {0.5f, -2}},
                                      {"zero", TensorType::F32, {2}, {0, 0}}});
    write_tensors(folder / "b.gguf", {{"zero", TensorType::F32, {2}, {0, 0}},
                                      {"same", TensorType::F16, {2}, {0.5f, -2}},
                                      {"w", TensorType::F16, {2, 2}, {3, 0.5f, 0, 3}}});
    for (const int n_threads : {1, 3}) {
        const Measurement result =
            inspect::measure(GgufModel(folder / "a.gguf"), GgufModel(folder / "b.gguf"), n_threads);
        REQUIRE(result.tensors.size() == 3);
        CHECK(result.skipped.empty());
        const auto& w = result.tensors[0];
        CHECK(w.name == "w");
        CHECK(w.type_a == TensorType::F32);
        CHECK(w.type_b == TensorType::F16);
        CHECK(w.sums.rmse() == std::sqrt(1.25 / 4));
        CHECK(w.sums.max_error == 1);
        CHECK(std::fabs(w.sums.signal_to_noise() - 10 * std::log10(25 / 1.25)) < 1e-12);
        CHECK(std::fabs(w.sums.cosine() - 21 / (5 * std::sqrt(18.25))) < 1e-12);
        CHECK(result.tensors[1].sums.exact());
        CHECK(std::isinf(result.tensors[1].sums.signal_to_noise()));
        CHECK(result.tensors[2].sums.cosine() == 1);
        CHECK(result.total.n_elements == 8);
        CHECK(result.total.rmse() == std::sqrt(1.25 / 8));
    }
}

TEST_CASE("measure: tensors without a counterpart, of other shapes or that cannot be decoded are named") {
    const TemporaryFolder folder;
    write_tensors(folder / "a.gguf", {{"left", TensorType::F32, {2}, {1, 2}},
                                      {"turned", TensorType::F32, {2, 3}, {1, 2, 3, 4, 5, 6}},
                                      {"packed", TensorType::IQ1_S, {256}, {}}});
    write_tensors(folder / "b.gguf", {{"turned", TensorType::F32, {3, 2}, {1, 2, 3, 4, 5, 6}},
                                      {"packed", TensorType::IQ1_S, {256}, {}},
                                      {"right", TensorType::F32, {2}, {1, 2}}});
    const Measurement result = inspect::measure(GgufModel(folder / "a.gguf"), GgufModel(folder / "b.gguf"));
    CHECK(result.tensors.empty());
    REQUIRE(result.skipped.size() == 4);
    CHECK(result.skipped[0].reason == "only in the first");
    CHECK(result.skipped[1].reason == "2 × 3, and 3 × 2 in the second");
    CHECK_THAT(result.skipped[2].reason, ContainsSubstring("IQ1_S cannot be decoded"));
    CHECK(result.skipped[3].name == "right");
    CHECK(result.skipped[3].reason == "only in the second");
}

TEST_CASE("measure: NaN and infinity are counted and left out; a large tensor is measured to its end") {
    const TemporaryFolder folder;
    constexpr size_t kMany = 200'003;  // several pieces
    std::vector<float> ones(kMany, 1), other(kMany, 1);
    other.back() = 3;
    other[5] = std::numeric_limits<float>::infinity();
    ones[70'000] = NAN;
    write_tensors(folder / "a.gguf", {{"w", TensorType::F32, {kMany}, ones}});
    write_tensors(folder / "b.gguf", {{"w", TensorType::F32, {kMany}, other}});
    uint64_t most = 0;
    const Measurement result = inspect::measure(GgufModel(folder / "a.gguf"), GgufModel(folder / "b.gguf"), 1,
                                                [&](uint64_t done) { most = std::max(most, done); });
    CHECK(most == kMany);
    CHECK(result.total.n_not_finite == 2);
    CHECK(result.total.max_error == 2);
    CHECK(result.total.squared_error == 4);
    CHECK_FALSE(result.total.exact());
    const std::atomic<bool> stop = true;
    CHECK(inspect::measure(GgufModel(folder / "a.gguf"), GgufModel(folder / "b.gguf"), 1, {}, &stop).stopped);
}
