// What was written is compared with the source, element by element.
#include "converters/verification.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "converters/convert.h"
#include "format/decode.h"
#include "format/gguf.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

struct Converted {
    TemporaryFolder folder;
    ConversionPlan plan;
    ConversionResult result;

    explicit Converted(const std::vector<Tensor>& tensors, const char* type) {
        TinyModel().write(folder, tensors);
        plan = plan_checkpoint(folder.path().string(), *find_recipe(type));
        result = convert(plan, {folder / "out.gguf"});
    }
    VerificationReport verify(int n_threads = 2) const {
        VerificationOptions options;
        options.n_threads = n_threads;
        return verify_conversion(plan, result.outputs, options);
    }
    void overwrite(const std::string& tensor, uint64_t at, const std::string& bytes) const {
        const GgufFile file(result.outputs[0]);
        std::fstream stream(result.outputs[0], std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(long(file.header().find_tensor(tensor)->offset + at));
        stream.write(bytes.data(), long(bytes.size()));
    }
};

const TensorError& error_of(const VerificationReport& report, const std::string& name) {
    const auto found = std::ranges::find(report.tensors, name, &TensorError::name);
    REQUIRE(found != report.tensors.end());
    return *found;
}

}  // namespace

TEST_CASE("In F32 and BF16, a BF16 checkpoint is exact") {
    for (const char* type : {"F32", "BF16"}) {
        const Converted model(TinyModel().tensors(), type);
        const VerificationReport report = model.verify();
        CHECK(report.ok());
        CHECK(report.tensors.size() == 21);
        for (const TensorError& tensor : report.tensors) {
            CHECK(tensor.max_error == 0);
            CHECK(tensor.source_encoding == "BF16");
        }
    }
}

TEST_CASE("The errors of a block layout are those of its definition, whatever the number of threads") {
    const Converted model(TinyModel().tensors(), "Q8_0");
    const VerificationReport report = model.verify(1), again = model.verify(3);
    CHECK(report.ok());
    // The sums over again, from the file and the source, for a tensor whose rows do not move.
    const auto tensors = TinyModel().tensors();
    const auto source = std::ranges::find(tensors, "model.layers.1.mlp.down_proj.weight", &Tensor::name);
    const GgufFile file(model.result.outputs[0]);
    const TensorInfo& written = *file.header().find_tensor("blk.1.ffn_down.weight");
    std::vector<float> found(written.n_elements), expected(written.n_elements);
    decode_row(written.type, file.tensor_bytes(written).data(), found.data(), found.size());
    decode_row(TensorType::BF16, source->data.data(), expected.data(), expected.size());
    double squared = 0, source_squared = 0, largest = 0;
    for (size_t i = 0; i < found.size(); ++i) {
        const double error = double(found[i]) - expected[i];
        squared += error * error;
        source_squared += double(expected[i]) * expected[i];
        largest = std::max(largest, std::fabs(error));
    }
    const TensorError& error = error_of(report, "blk.1.ffn_down.weight");
    CHECK(std::fabs(error.rmse / std::sqrt(squared / double(found.size())) - 1) < 1e-9);
    CHECK(std::fabs(error.relative_rmse / std::sqrt(squared / source_squared) - 1) < 1e-9);
    CHECK(error.max_error == largest);
    CHECK(error.relative_rmse > 0.001);
    CHECK(error.relative_rmse < 0.02);
    for (size_t i = 0; i < report.tensors.size(); ++i) {
        CHECK(report.tensors[i].rmse == again.tensors[i].rmse);
        CHECK(report.tensors[i].name == again.tensors[i].name);
    }
}

TEST_CASE("Damage is named: another value, NaN, zeros") {
    SECTION("a value that rounding does not explain") {
        const Converted model(TinyModel().tensors(), "F16");
        model.overwrite("blk.0.attn_q.weight", 10, "\x01\x40");
        const VerificationReport report = model.verify();
        CHECK_FALSE(report.ok());
        CHECK(report.n_failed() == 1);
        CHECK(error_of(report, "blk.0.attn_q.weight").n_beyond_rounding == 1);
    }
    SECTION("a scale that became NaN") {
        const Converted model(TinyModel().tensors(), "Q8_0");
        model.overwrite("blk.1.ffn_up.weight", 0, std::string("\x00\x7e", 2));
        const VerificationReport report = model.verify();
        CHECK(error_of(report, "blk.1.ffn_up.weight").n_not_finite == 32);
        CHECK(report.n_failed() == 1);
    }
    SECTION("a tensor that was never written") {
        const Converted model(TinyModel().tensors(), "Q8_0");
        model.overwrite("blk.1.ffn_up.weight", 0, std::string(96 * 2 * 34, '\0'));
        const VerificationReport report = model.verify();
        CHECK(error_of(report, "blk.1.ffn_up.weight").written_is_zero);
        CHECK(report.n_failed() == 1);
    }
}

TEST_CASE("A tensor that is zero in the source is named, and no damage") {
    auto tensors = TinyModel().tensors();
    tensors.at(2).data.assign(tensors.at(2).data.size(), '\0');
    const Converted model(tensors, "Q4_0");
    const VerificationReport report = model.verify();
    CHECK(report.ok());
    CHECK(error_of(report, "blk.0.attn_q.weight").source_is_zero);
    CHECK(error_of(report, "blk.0.attn_q.weight").relative_rmse == 0);
}
