// Pre-quantized weights by hand-computed values, and what happens to parts that do not fit together.
// (Whole checkpoints beside their libraries: tests/interop/prequantized_parity.py.)
#include "converters/prequantized/prequantized.h"

#include <cmath>

#include "converters/rows/transforms.h"
#include "format/decode.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

/// A checkpoint of these tensors, decoded.
struct Decoded {
    explicit Decoded(const std::vector<Tensor>& tensors, const std::string& quantization = "{}",
                     const std::string& dtype = "float32") {
        write_file(folder / "model.safetensors", safetensors_file(tensors));
        checkpoint = open_checkpoint(folder.path().string());
        weights.emplace(*checkpoint);
        const std::string config =
            fmt::format("{{\"torch_dtype\":\"{}\",\"quantization_config\":{}}}", dtype, quantization);
        found = decode_prequantized(Json::parse(config, "config.json"), *checkpoint, *weights);
    }
    std::vector<float> values(const std::string& name) const {
        const WeightSet::Weight* weight = weights->find(name);
        REQUIRE(weight);
        REQUIRE(weight->rows);
        return read_all(*weight->rows);
    }
    TemporaryFolder folder;
    std::unique_ptr<Checkpoint> checkpoint;
    std::optional<WeightSet> weights;
    Prequantized found;
};

std::string error_of(const std::vector<Tensor>& tensors, const std::string& quantization = "{}") {
    try {
        const Decoded decoded(tensors, quantization);
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

std::string f16_bytes(const std::vector<float>& values) {
    std::string bytes;
    for (const float value : values) {
        const uint16_t bits = float_to_half(value);
        bytes += char(bits & 0xff);
        bytes += char(bits >> 8);
    }
    return bytes;
}

std::string i32_bytes(const std::vector<uint32_t>& values) {
    std::string bytes(values.size() * 4, '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

/// The 16 values of the code are 0, 1, … 15.
Tensor counting_code(const std::string& name) {
    std::vector<float> code(16);
    for (size_t i = 0; i < 16; ++i) code[i] = float(i);
    return {name, "F32", {16}, f32_bytes(code)};
}

std::vector<Tensor> four_bit_weight(const std::string& more_state = "") {
    const std::string state =
        fmt::format(R"({{"quant_type":"nf4","blocksize":4,"dtype":"float32","shape":[2,4]{}}})", more_state);
    return {{"a.weight", "U8", {4, 1}, "\x12\x34\x56\x78"},
            {"a.weight.absmax", "F32", {2}, f32_bytes({2, 10})},
            counting_code("a.weight.quant_map"),
            {"a.weight.quant_state.bitsandbytes__nf4", "U8", {state.size()}, state},
            {"a.bias", "F32", {2}, f32_bytes({1, 2})}};
}

}  // namespace

TEST_CASE("bitsandbytes: the first of two elements is in the high bits, each block has its scale") {
    const Decoded decoded(four_bit_weight());
    CHECK(decoded.values("a.weight") == std::vector<float>{2, 4, 6, 8, 50, 60, 70, 80});
    CHECK(decoded.weights->find("a.weight")->rows->shape() == std::vector<uint64_t>{4, 2});
    CHECK(decoded.weights->weights().size() == 2);
    CHECK(decoded.found.describe() == "bitsandbytes NF4, blocks of 4; 1 of 2 tensors");
    std::vector<float> some(2);
    decoded.weights->find("a.weight")->rows->read_columns(1, 1, 1, 2, some.data());
    CHECK(some == std::vector<float>{60, 70});
}

TEST_CASE("bitsandbytes: double quantization, and rounding to the dtype of the state") {
    std::vector<Tensor> tensors = four_bit_weight(R"(,"nested_blocksize":2,"nested_offset":0.5)");
    std::vector<float> code(256);
    for (size_t i = 0; i < 256; ++i) code[i] = float(i) / 4;
    tensors[1] = {"a.weight.absmax", "U8", {2}, "\x04\x08"};
    tensors.push_back({"a.weight.nested_absmax", "F32", {1}, f32_bytes({3})});
    tensors.push_back({"a.weight.nested_quant_map", "F32", {256}, f32_bytes(code)});
    // absmax: 4 / 4 · 3 + 0.5 and 8 / 4 · 3 + 0.5
    const Decoded decoded(tensors);
    CHECK(decoded.values("a.weight") == std::vector<float>{3.5, 7, 10.5, 14, 32.5, 39, 45.5, 52});
    CHECK(decoded.found.form == "bitsandbytes NF4, double quantization, blocks of 4");

    tensors = four_bit_weight();
    const size_t at = tensors[3].data.find("float32");
    tensors[3].data.replace(at, 7, "float16");
    tensors[1].data = f32_bytes({1.0001f, 1.0001f});
    CHECK(Decoded(tensors).values("a.weight")[0] == 1.0f);  // 1.0001 is no float16
}

TEST_CASE("bitsandbytes: int8 rows and their scales") {
    const Decoded decoded({{"a.weight", "I8", {2, 2}, std::string("\x7f\x81\x01\x02")},
                           {"a.SCB", "F32", {2}, f32_bytes({3, 127})},
                           {"a.weight_format", "U8", {}, std::string(1, '\0')}});
    const std::vector<float> values = decoded.values("a.weight");
    CHECK(values[0] == 127.0f * 3.0f * 7.874015718698502e-3f);
    CHECK(values[1] == -127.0f * 3.0f * 7.874015718698502e-3f);
    CHECK(std::fabs(values[3] - 2) < 1e-6f);
}

TEST_CASE("Parts that are missing or do not fit are all listed") {
    std::vector<Tensor> tensors = four_bit_weight();
    tensors.erase(tensors.begin() + 1);
    CHECK_THAT(error_of(tensors), ContainsSubstring("a.weight.absmax is missing"));
    tensors = four_bit_weight();
    tensors[1] = {"a.weight.absmax", "F32", {1}, f32_bytes({2})};
    tensors.push_back({"b.SCB", "F32", {1}, f32_bytes({1})});
    CHECK_THAT(error_of(tensors), ContainsSubstring("2 quantized weights") &&
                                      ContainsSubstring("b.weight is missing") &&
                                      ContainsSubstring("a.weight.absmax has 1 elements"));
    for (const char* shape : {"[2,5]", "[]", "[4294967296,4294967296]", "[-2,4]", "[0,4]", "[\"2\",4]"}) {
        tensors = four_bit_weight();
        std::string& state = tensors[3].data;
        state.replace(state.find("[2,4]"), 5, shape);
        tensors[3].shape = {state.size()};
        CHECK_THAT(error_of(tensors), ContainsSubstring("4-bit codes"));
    }
    for (const char* state :
         {"", "[]", "{}", R"({"quant_type":"nf5"})", R"({"quant_type":"nf4","shape":[2,4]})"}) {
        tensors = four_bit_weight();
        tensors[3].data = state;
        tensors[3].shape = {tensors[3].data.size()};
        CHECK_THAT(error_of(tensors), ContainsSubstring("1 quantized weight"));
    }
}

TEST_CASE("GPTQ: codes packed along inputs, zeros along outputs, any group for each input") {
    // 32 inputs, 16 outputs of 2 bits, 2 groups: qweight (2, 16), qzeros (2, 1).
    const auto tensors = [](uint32_t last_group) {
        std::vector<uint32_t> groups(32);
        for (uint32_t i = 0; i < 32; ++i) groups[i] = i % 2;
        groups[31] = last_group;
        std::vector<float> scales(32);
        for (size_t i = 0; i < 32; ++i) scales[i] = i < 16 ? 1 : 10;
        return std::vector<Tensor>{
            {"a.qweight", "I32", {2, 16}, i32_bytes(std::vector<uint32_t>(32, 0b11100100))},  // 0 1 2 3 0 0 …
            {"a.qzeros", "I32", {2, 1}, i32_bytes({0, 0b01})},
            {"a.scales", "F16", {2, 16}, f16_bytes(scales)},
            {"a.g_idx", "I32", {32}, i32_bytes(groups)}};
    };
    // The first format stores zeros less one: they are 1, but 2 for output 0 of group 1.
    const Decoded decoded(tensors(1), R"({"quant_method":"gptq","bits":2})");
    const std::vector<float> values = decoded.values("a.weight");
    CHECK(std::vector<float>(values.begin(), values.begin() + 6) ==
          std::vector<float>{-1, -10, 1, 10, -1, -20});
    CHECK(std::vector<float>(values.begin() + 32, values.begin() + 36) == std::vector<float>{-1, 0, 1, 20});
    CHECK(decoded.found.form == "GPTQ 2-bit, groups of 16, activation order");
    const Decoded second(tensors(1), R"({"quant_method":"gptq","checkpoint_format":"gptq_v2"})");
    CHECK(second.values("a.weight")[1] == 0);
    CHECK(second.values("a.weight")[32 + 1] == 10);
    // Stored zeros of 3, 0, 0 … are 0, 1, 1 for AutoGPTQ; GPTQModel carries: 0, 2, 1.
    auto wrapped = tensors(1);
    wrapped[1].data = i32_bytes({3, 3});
    const std::vector<float> within = Decoded(wrapped).values("a.weight");
    CHECK(std::vector<float>{within[0], within[32], within[64]} == std::vector<float>{0, -1, -1});
    const std::vector<float> carried =
        Decoded(wrapped, R"({"quant_method":"gptq","meta":{"quantizer":["gptqmodel:1.4.2"]}})")
            .values("a.weight");
    CHECK(std::vector<float>{carried[0], carried[32], carried[64]} == std::vector<float>{0, -2, -1});
    for (const uint32_t group : {2u, 0xffffffffu}) {
        const Decoded wrong(tensors(group));
        std::vector<float> row(32);
        CHECK_THROWS_WITH(wrong.weights->find("a.weight")->rows->read(0, 1, row.data()),
                          ContainsSubstring("a.g_idx: input 31"));
    }
    CHECK_THAT(error_of(tensors(1), R"({"quant_method":"gptq","checkpoint_format":"marlin"})"),
               ContainsSubstring("\"marlin\""));
    auto odd = tensors(1);
    odd[1] = {"a.qzeros", "I32", {1, 1}, i32_bytes({0})};
    CHECK_THAT(error_of(odd), ContainsSubstring("a.qzeros has the shape [1, 1]"));
    odd[1] = {"a.qzeros", "I32", {2, 3}, i32_bytes({0, 0, 0, 0, 0, 0})};
    CHECK_THAT(error_of(odd), ContainsSubstring("has 6 bits"));
}

TEST_CASE("FP8: every byte of E4M3 and E5M2, and blocks that the matrix does not fill") {
    std::string bytes(256, '\0');
    for (size_t i = 0; i < 256; ++i) bytes[i] = char(i);
    const Decoded plain({{"a", "F8_E4M3", {16, 16}, bytes}, {"b", "F8_E5M2", {16, 16}, bytes}});
    const std::vector<float> a = plain.values("a"), b = plain.values("b");
    CHECK(a[0x38] == 1);
    CHECK(a[0x7e] == 448);
    CHECK(a[0x81] == -0x1p-9f);
    CHECK(a[0x08] == 0x1p-6f);
    CHECK(std::isnan(a[0x7f]));
    CHECK(b[0x3c] == 1);
    CHECK(b[0x7b] == 57344);
    CHECK(b[0x01] == 0x1p-16f);
    CHECK(std::isinf(b[0xfc]));

    // 3 × 5 in blocks of 2 × 4, all ones: each value is its block's scale.
    const Decoded blocks({{"a.weight", "F8_E4M3", {3, 5}, std::string(15, '\x38')},
                          {"a.weight_scale_inv", "F32", {2, 2}, f32_bytes({1, 2, 3, 4})},
                          {"a.input_scale", "F32", {}, f32_bytes({9})}},
                         R"({"quant_method":"fp8","weight_block_size":[2,4]})");
    CHECK(blocks.values("a.weight") == std::vector<float>{1, 1, 1, 1, 2, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4});
    CHECK(blocks.weights->weights().size() == 1);
    CHECK(blocks.found.describe() == "FP8 E4M3, blocks of 2 × 4; 1 of 1 tensors");
    CHECK_THAT(error_of({{"a.weight", "F8_E4M3", {3, 5}, std::string(15, '\x38')},
                         {"a.weight_scale", "F32", {2, 2}, f32_bytes({1, 2, 3, 4})}}),
               ContainsSubstring("does not divide"));
}

TEST_CASE("MXFP4: decoded, and repacked for GGUF without a change") {
    std::string blocks(2 * 3 * 2 * 16, '\0'), scales(2 * 3 * 2, '\0');  // 2 experts of 3 rows of 64
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = char(i * 37);
    for (size_t i = 0; i < scales.size(); ++i) scales[i] = char(120 + i);
    const Decoded decoded({{"e.down_proj_blocks", "U8", {2, 3, 2, 16}, blocks},
                           {"e.down_proj_scales", "U8", {2, 3, 2}, scales}});
    const RowsPtr transposed = decoded.weights->find("e.down_proj")->rows;  // as unquantized: (2, 64, 3)
    CHECK(transposed->shape() == std::vector<uint64_t>{3, 64, 2});
    const RowsPtr rows = converters::transpose(transposed);
    REQUIRE(rows->holds(TensorType::MXFP4));
    std::vector<std::byte> copied(2 * 3 * 2 * 17);
    rows->copy_blocks(TensorType::MXFP4, 0, 6, 0, 64, copied.data());
    std::vector<float> from_blocks(2 * 3 * 64);
    decode_row(TensorType::MXFP4, copied.data(), from_blocks.data(), from_blocks.size());
    CHECK(read_all(*rows) == from_blocks);
    // Byte 1 of the second block of row 0 is 17 · 37 = 0x275: elements 34 and 35 are codes 5 and 7, times
    // 2^(121 - 127).
    CHECK(from_blocks[34] == 3.0f / 64);
    CHECK(from_blocks[35] == 6.0f / 64);
    CHECK_THAT(error_of({{"e_blocks", "U8", {2, 3, 2, 16}, blocks}}),
               ContainsSubstring("e_scales is missing"));
}

TEST_CASE("Forms that are not decoded are refused by name, others left alone") {
    const std::vector<Tensor> codes{{"a.codes", "I16", {2, 2}, std::string(8, '\1')}};
    CHECK_THAT(error_of(codes, R"({"quant_method":"aqlm"})"),
               ContainsSubstring("AQLM") && ContainsSubstring("a.codes of I16"));
    CHECK_THAT(error_of(codes, R"({"quant_method":"HQQ"})"), ContainsSubstring("HQQ"));
    CHECK_THAT(error_of(codes, R"({"quant_method":"brandnew"})"), ContainsSubstring("brandnew"));
    CHECK_THAT(error_of(codes), ContainsSubstring("form that is not known"));
    const Decoded plain({random_tensor("a.weight", {2, 2})}, R"({"quant_method":"bitsandbytes"})");
    CHECK(plain.found.describe().empty());
}
