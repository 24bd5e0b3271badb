#include "inspect/statistics.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "format/error.h"
#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using namespace ingot::inspect;

namespace {

/// A file with one F32 tensor of these values.
std::string float_file(const TemporaryFolder& folder, const std::vector<float>& values, uint64_t row) {
    std::vector<std::byte> bytes =
        encode_file({}, {{"t", TensorType::F32, {row, uint64_t(values.size()) / row}}});
    const uint64_t offset = GgufHeader::parse(bytes).tensors()[0].offset;
    std::memcpy(bytes.data() + offset, values.data(), values.size() * sizeof(float));
    const std::string path = folder / "floats.gguf";
    write_bytes(path, bytes);
    return path;
}

}  // namespace

TEST_CASE("statistics: moments by hand, with NaN and infinities only counted") {
    const TemporaryFolder folder;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    const GgufModel model(float_file(folder, {1, -2, 0, 3, nan, -infinity, infinity, 4}, 4));
    const TensorInfo& tensor = model.header().tensors()[0];
    const Statistics found = statistics(model, tensor, 1);
    CHECK(found.n_elements == 8);
    CHECK(found.n_nan == 1);
    CHECK(found.n_infinite == 2);
    CHECK(found.n_zero == 1);
    CHECK(found.n_finite() == 5);
    CHECK(found.min == -2);
    CHECK(found.max == 4);
    CHECK(found.mean == Approx(1.2));
    CHECK(found.mean_magnitude == Approx(2.0));
    CHECK(found.root_mean_square == Approx(std::sqrt(6.0)));
    CHECK(found.deviation == Approx(std::sqrt(6.0 - 1.44)));
}

TEST_CASE("statistics: the deviation of large numbers that differ little keeps its digits") {
    const TemporaryFolder folder;
    std::vector<float> values(1 << 17);
    for (size_t i = 0; i < values.size(); ++i) values[i] = 1e6f + (i % 2 ? 0.0625f : -0.0625f);
    const GgufModel model(float_file(folder, values, 1 << 10));
    const TensorInfo& tensor = model.header().tensors()[0];
    CHECK(statistics(model, tensor, 2).deviation == Approx(0.0625).epsilon(1e-9));
    CHECK(statistics(model, tensor, 1).mean == statistics(model, tensor, 3).mean);
}

TEST_CASE("histogram: every finite value is in one bin, or below or above all") {
    const TemporaryFolder folder;
    std::vector<float> values(100000);
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i % 1000) / 1000;
    values[7] = 1000;  // far above four deviations
    values[8] = -1000;
    values[9] = std::numeric_limits<float>::quiet_NaN();
    const GgufModel model(float_file(folder, values, 100));
    const TensorInfo& tensor = model.header().tensors()[0];
    const Statistics found = statistics(model, tensor);
    const Histogram histogram = inspect::histogram(model, tensor, found, 10);
    CHECK(histogram.n_below == 1);
    CHECK(histogram.n_above == 1);
    CHECK(std::accumulate(histogram.bins.begin(), histogram.bins.end(), uint64_t(0)) == 100000 - 3);
    CHECK(histogram.low == Approx(found.mean - 4 * found.deviation));
    CHECK(histogram.width * 10 == Approx(8 * found.deviation));
}

TEST_CASE("histogram: one value for all elements makes one full bin") {
    const TemporaryFolder folder;
    const GgufModel model(float_file(folder, std::vector<float>(64, 0.5f), 64));
    const TensorInfo& tensor = model.header().tensors()[0];
    const Histogram histogram = inspect::histogram(model, tensor, statistics(model, tensor), 8);
    CHECK(histogram.bins[0] == 64);
    CHECK(histogram.width == 0);
}

TEST_CASE("values: any range of a blocked type, and none beyond its end") {
    const TemporaryFolder folder;
    const std::string path = folder / "q8.gguf";
    std::vector<std::byte> bytes = encode_file({}, {{"t", TensorType::Q8_0, {64}}});
    const uint64_t offset = GgufHeader::parse(bytes).tensors()[0].offset;
    for (int block = 0; block < 2; ++block) {  // scale 1.0 as half, then 32 signed bytes
        std::byte* at = bytes.data() + offset + block * 34;
        at[0] = std::byte{0x00};
        at[1] = std::byte{0x3c};
        for (int i = 0; i < 32; ++i) at[2 + i] = std::byte(32 * block + i);
    }
    write_bytes(path, bytes);
    const GgufModel model(path);
    const TensorInfo& tensor = model.header().tensors()[0];
    CHECK(values(model, tensor, 30, 4) == std::vector<float>{30, 31, 32, 33});
    CHECK(values(model, tensor, 64, 0).empty());
    CHECK_THROWS_WITH(values(model, tensor, 60, 5), ContainsSubstring("it has 64"));
}

TEST_CASE("npy: NumPy's header, the last axis first in the file, and the decoded values") {
    const TemporaryFolder folder;
    const GgufModel model(float_file(folder, {1, 2, 3, 4, 5, 6}, 3));
    const std::string path = folder / "t.npy";
    write_npy(model, model.header().tensors()[0], path, false);
    const std::string bytes = read_file(path);
    REQUIRE(bytes.size() == 128 + 24);
    CHECK(bytes.substr(0, 10) == std::string("\x93NUMPY\x01\x00\x76\x00", 10));  // 118 bytes follow
    CHECK_THAT(bytes, ContainsSubstring("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,), }"));
    CHECK(bytes[127] == '\n');
    float last = 0;
    std::memcpy(&last, bytes.data() + 148, sizeof last);
    CHECK(last == 6);
    CHECK_THROWS_WITH(write_npy(model, model.header().tensors()[0], path, false),
                      ContainsSubstring("exists already"));
}
