// bitsandbytes: 4-bit codes in blocks (NF4, FP4), and int8 rows of LLM.int8().
//
// 4 bits: X.weight has two codes a byte, the first element in the high bits, over the matrix as one long row.
//     y[i] = code[q[i]] · absmax[i / blocksize]       in float32, rounded to the dtype of the quant_state
// With double quantization absmax is itself 8-bit codes:
//     absmax[j] = nested_code[q[j]] · nested_absmax[j / nested_blocksize] + nested_offset       in float32
// which is what dequantize_4bit() computes. Int8: y = (q · SCB[row]) · (1/127), in float32, as
// int8_vectorwise_dequant().
#include "converters/prequantized/parts.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

/// What absmax is made of: plain floats, or codes of a nested quantization.
struct BlockScales {
    const SourceTensor* absmax = nullptr;
    const SourceTensor *nested_code = nullptr, *nested_absmax = nullptr;  // null: plain
    uint64_t nested_block = 0;                                            // elements
    float nested_offset = 0;

    float at(uint64_t block) const {
        if (!nested_code) return element_at<float>(*absmax, block);
        const float scaled = element_at<float>(*nested_code, element_at<uint8_t>(*absmax, block)) *
                             element_at<float>(*nested_absmax, block / nested_block);
        return scaled + nested_offset;
    }
};

class FourBitRows final : public CodedRows {
  public:
    FourBitRows(std::string name, std::string encoding, std::vector<uint64_t> shape,
                std::vector<const SourceTensor*> parts, const BlockScales& scales, uint64_t block,
                const SourceTensor& code, Precision precision)
        : CodedRows(std::move(name), std::move(encoding), std::move(shape), std::move(parts)),
          scales_(scales),
          block_(block),
          precision_(precision) {
        for (uint64_t i = 0; i < 16; ++i) code_[i] = element_at<float>(code, i);
    }

  private:
    void decode(uint64_t row, uint64_t first_column, uint64_t n_columns, float* values) const override {
        uint64_t at = row * row_elements() + first_column;
        for (const uint64_t end = at + n_columns; at < end;) {
            const float scale = scales_.at(at / block_);
            const uint64_t block_end = std::min(end, (at / block_ + 1) * block_);
            for (; at < block_end; ++at) {
                const uint32_t pair = element_at<uint8_t>(codes(), at / 2);
                *values++ = rounded(code_[at % 2 == 0 ? pair >> 4 : pair & 0xf] * scale, precision_);
            }
        }
    }

    const BlockScales scales_;
    const uint64_t block_;  // elements
    const Precision precision_;
    float code_[16];
};

class Int8Rows final : public CodedRows {
  public:
    Int8Rows(const SourceTensor& weight, const SourceTensor& scales)
        : CodedRows(weight.name, "int8", weight.shape, {&weight, &scales}) {}

  private:
    void decode(uint64_t row, uint64_t first_column, uint64_t n_columns, float* values) const override {
        constexpr float kOver127 = 7.874015718698502e-3f;
        const float scale = element_at<float>(*parts()[1], row);
        const uint64_t first = row * row_elements() + first_column;
        for (uint64_t i = 0; i < n_columns; ++i) {
            values[i] = float(element_at<int8_t>(codes(), first + i)) * scale * kOver127;
        }
    }
};

void expect_elements(const SourceTensor& tensor, std::string_view element, uint64_t n) {
    if (element_name(tensor) == element && tensor.n_elements() == n) return;
    fail("{} has {} elements of type {}, expected {} of {}", printable(tensor.name), tensor.n_elements(),
         element_name(tensor), n, element);
}

uint64_t require_uint(const Json& state, const char* key) {
    const auto value = state.get_uint(key);
    if (!value || *value == 0) fail("{}: no \"{}\" above 0", state.where(), key);
    return *value;
}

void decode_four_bits(Parts& parts, const SourceTensor& state_tensor, const std::string& name) {
    const std::string_view text(reinterpret_cast<const char*>(state_tensor.data.data()),
                                state_tensor.data.size());
    const Json state = Json::parse(text, state_tensor.name);
    const std::string type = state.get_string("quant_type").value_or("?");
    if (type != "nf4" && type != "fp4") {
        fail("{}: the quant_type \"{}\" is not known; expected nf4 or fp4", state.where(), printable(type));
    }
    std::vector<uint64_t> shape;
    uint64_t n_elements = 1;
    if (const Json* dimensions = state.find("shape")) {
        for (const Json& dimension : dimensions->elements()) {
            shape.insert(shape.begin(), dimension.whole_number().value_or(0));
            if (__builtin_mul_overflow(n_elements, shape.front(), &n_elements)) n_elements = 0;
        }
    }
    const SourceTensor& weight = parts.require(name);
    if (shape.empty() || n_elements == 0 || n_elements / 2 + n_elements % 2 != weight.data.size()) {
        fail("{} has {} bytes of 4-bit codes, but its quant_state says the shape [{}]", printable(name),
             weight.data.size(), fmt::join(shape.rbegin(), shape.rend(), ", "));
    }
    const uint64_t block = require_uint(state, "blocksize");
    const uint64_t n_blocks = (n_elements - 1) / block + 1;
    const SourceTensor& code = parts.require(name + ".quant_map");
    expect_elements(code, "F32", 16);

    BlockScales scales;
    scales.absmax = &parts.require(name + ".absmax");
    const bool nested = state.find("nested_blocksize") != nullptr;
    expect_elements(*scales.absmax, nested ? "U8" : "F32", n_blocks);
    if (nested) {
        scales.nested_block = require_uint(state, "nested_blocksize");
        scales.nested_code = &parts.require(name + ".nested_quant_map");
        scales.nested_absmax = &parts.require(name + ".nested_absmax");
        expect_elements(*scales.nested_code, "F32", 256);
        expect_elements(*scales.nested_absmax, "F32", (n_blocks - 1) / scales.nested_block + 1);
        const auto offset = state.get_number("nested_offset");
        if (!offset) fail("{}: \"nested_offset\" is missing", state.where());
        scales.nested_offset = float(*offset);
    }
    const std::string encoding = type == "nf4" ? "NF4" : "FP4";
    const std::string form = fmt::format("bitsandbytes {}{}, blocks of {}", encoding,
                                         nested ? ", double quantization" : "", block);
    std::vector<const SourceTensor*> sources{&weight, scales.absmax};
    if (nested) sources.push_back(scales.nested_absmax);
    auto rows = std::make_shared<FourBitRows>(name, encoding, shape, std::move(sources), scales, block, code,
                                              precision_named(state.get_string("dtype").value_or("float32")));
    parts.decoded(form, name, std::move(rows),
                  {&weight, &state_tensor, &code, scales.absmax, scales.nested_code, scales.nested_absmax});
}

void decode_int8(Parts& parts, const SourceTensor& scales, const std::string& module) {
    const SourceTensor& weight = parts.require(module + ".weight");
    if (element_name(weight) != "I8" || weight.shape.size() != 2) {
        fail("{} has {} dimensions of {}, expected a matrix of I8", printable(weight.name),
             weight.shape.size(), element_name(weight));
    }
    expect_elements(scales, "F32", weight.n_rows());
    const SourceTensor* format = parts.find(module + ".weight_format");
    if (format && (format->data.size() != 1 || format->data[0] != std::byte{0})) {
        fail(
            "{} is stored in tiles for one kind of GPU, not in rows; load it with bitsandbytes and save it "
            "again",
            printable(weight.name));
    }
    parts.decoded("bitsandbytes int8", weight.name, std::make_shared<Int8Rows>(weight, scales),
                  {&weight, &scales, format});
}

}  // namespace

void decode_bitsandbytes(Parts& parts) {
    for (const SourceTensor& tensor : parts.tensors()) {
        constexpr std::string_view kState = ".quant_state.bitsandbytes__";
        if (const size_t at = tensor.name.rfind(kState); at != std::string::npos) {
            parts.attempt([&] { decode_four_bits(parts, tensor, tensor.name.substr(0, at)); });
        } else if (const std::string module = without_suffix(tensor.name, ".SCB"); !module.empty()) {
            parts.attempt([&] { decode_int8(parts, tensor, module); });
        }
    }
}

}  // namespace ingot::converters
