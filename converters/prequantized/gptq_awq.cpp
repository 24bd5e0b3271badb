// GPTQ and AWQ: integers packed so that a row of the weight is a column of what is stored.
//
//     y[o][i] = scales[g][o] · (q[i][o] - z[g][o])       rounded to the dtype of the scales
//
// with g the group of input i: g_idx[i] where GPTQ ordered inputs by activation, else i / group size. The
// difference is exact, so rounding happens once, as in torch's half-precision product.
//
// GPTQ packs along inputs: qweight (in · bits / 32, out), each column a stream of bits, low ones first; zeros
// along outputs: qzeros (groups, out · bits / 32). Its first format stores z - 1; "gptq_v2" stores z.
// AWQ packs eight outputs a word, in the order 0 2 4 6 1 3 5 7: qweight (in, out / 8), qzeros (groups, out /
// 8).
#include <algorithm>

#include "converters/prequantized/parts.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

enum class Packing : uint8_t { Gptq, Awq };

struct Columns {
    Packing packing{};
    uint32_t bits = 0;
    int32_t zero_offset = 0;   // added to what is stored
    bool wrap_zeros = false;   // z + 1 stays within `bits`
    uint32_t word_offset = 0;  // or: added to each word of zeros, with carries from one to the next
    uint64_t n_inputs = 0, n_outputs = 0, n_groups = 0, group_size = 0;
    const SourceTensor *codes = nullptr, *zeros = nullptr, *scales = nullptr;
    const SourceTensor* groups = nullptr;  // g_idx, or null
};

class ColumnRows final : public TensorRows {
  public:
    ColumnRows(std::string name, std::string encoding, const Columns& columns)
        : TensorRows(std::move(name), std::move(encoding), {columns.n_inputs, columns.n_outputs}),
          c_(columns),
          scales_(*columns.scales) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        read_columns(first_row, n_rows, 0, c_.n_inputs, values);
    }

    /// Rows are outputs, columns are inputs.
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        // Of every group, for these outputs: (n_groups, n_rows). A group has several inputs, so this is less
        // than the values.
        std::vector<float> scales(c_.n_groups * n_rows);
        std::vector<int32_t> zeros(c_.n_groups * n_rows);
        for (uint64_t group = 0; group < c_.n_groups; ++group) {
            for (uint64_t row = 0; row < n_rows; ++row) {
                scales[group * n_rows + row] = scales_.at(group * c_.n_outputs + first_row + row);
                zeros[group * n_rows + row] = zero(group, first_row + row);
            }
        }
        const auto value = [&](uint64_t group, uint64_t row, uint32_t code) {
            const float level = float(int32_t(code) - zeros[group * n_rows + row]);
            return rounded(scales[group * n_rows + row] * level, scales_.precision());
        };
        // GPTQ's codes of 2, 4 and 8 bits don't straddle words: each word is read once for the inputs in it.
        const bool whole = c_.packing == Packing::Gptq && 32 % c_.bits == 0;
        const uint64_t word_inputs = whole ? 32 / c_.bits : 1;
        for (uint64_t j = 0; j < n_columns;) {
            const uint64_t input = first_column + j, place = input % word_inputs;
            const uint64_t n = std::min(n_columns - j, word_inputs - place);
            uint64_t groups[16];
            for (uint64_t k = 0; k < n; ++k) groups[k] = group_of(input + k);
            for (uint64_t row = 0; row < n_rows; ++row) {
                float* out = values + row * n_columns + j;
                if (!whole) {
                    *out = value(groups[0], row, code(input, first_row + row));
                    continue;
                }
                const uint64_t at = input / word_inputs * c_.n_outputs + first_row + row;
                uint32_t word = element_at<uint32_t>(*c_.codes, at) >> (place * c_.bits);
                for (uint64_t k = 0; k < n; ++k, word >>= c_.bits) {
                    out[k] = value(groups[k], row, word & ((1u << c_.bits) - 1));
                }
            }
            j += n;
        }
    }

    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        // Every row needs all packed words from end to end; they are named with the last.
        if (first_row + n_rows < this->n_rows()) return;
        for (const SourceTensor* part : {c_.codes, c_.zeros, c_.scales}) {
            extents.push_back({part, 0, part->data.size()});
        }
    }

  private:
    /// Output 8k + j of AWQ's word k.
    static uint32_t awq_nibble(uint32_t word, uint64_t output) {
        constexpr uint32_t kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
        return (word >> (4 * kNibble[output % 8])) & 0xf;
    }

    uint32_t code(uint64_t input, uint64_t output) const {
        if (c_.packing == Packing::Awq) {
            return awq_nibble(element_at<uint32_t>(*c_.codes, input * (c_.n_outputs / 8) + output / 8),
                              output);
        }
        return bits_of_stream(input * c_.bits, c_.bits, [&](uint64_t word) {
            return element_at<uint32_t>(*c_.codes, word * c_.n_outputs + output);
        });
    }
    int32_t zero(uint64_t group, uint64_t output) const {
        if (c_.packing == Packing::Awq) {
            return int32_t(
                awq_nibble(element_at<uint32_t>(*c_.zeros, group * (c_.n_outputs / 8) + output / 8), output));
        }
        const uint64_t row_words = c_.n_outputs * c_.bits / 32;
        const int32_t stored = int32_t(bits_of_stream(output * c_.bits, c_.bits, [&](uint64_t word) {
            return element_at<uint32_t>(*c_.zeros, group * row_words + word) + c_.word_offset;
        }));
        const int32_t zero = stored + c_.zero_offset;
        return c_.wrap_zeros ? zero & ((1 << c_.bits) - 1) : zero;
    }
    uint64_t group_of(uint64_t input) const {
        if (!c_.groups) return input / c_.group_size;
        const uint64_t group = element_at<uint32_t>(*c_.groups, input);
        if (group >= c_.n_groups)
            fail("{}: input {} is in group {}, but there are {}", printable(c_.groups->name), input, group,
                 c_.n_groups);
        return group;
    }

    const Columns c_;
    const FloatView scales_;
};

void expect_matrix(const SourceTensor& tensor, std::string_view element, uint64_t columns, uint64_t rows) {
    const bool as_expected = (element.empty() || element_name(tensor) == element) &&
                             tensor.shape.size() == 2 && tensor.shape[0] == columns &&
                             tensor.shape[1] == rows;
    if (as_expected) return;
    fail("{} has the shape [{}] of {}, expected [{}, {}]{}{}", printable(tensor.name),
         fmt::join(tensor.shape.rbegin(), tensor.shape.rend(), ", "), element_name(tensor), rows, columns,
         element.empty() ? "" : " of ", element);
}

/// Where z - 1 was below zero, the libraries part ways: GPTQModel borrows from the word's next zero and gives
/// it back (but for 3 bits, whose fields straddle words), AutoGPTQ adds one within the width (but for 3
/// bits).
bool made_by_gptqmodel(const Parts& parts) {
    const Json* meta = parts.quantization() ? parts.quantization()->find("meta") : nullptr;
    const Json* makers = meta ? meta->find("quantizer") : nullptr;
    if (!makers) return false;
    return std::ranges::any_of(makers->elements(), [](const Json& maker) {
        return maker.kind() == Json::Kind::String && maker.as_string().starts_with("gptqmodel");
    });
}

void decode_columns(Parts& parts, const SourceTensor& codes, const std::string& module) {
    Columns c;
    c.codes = &parts.require(codes.name);
    c.scales = &parts.require(module + ".scales");
    c.zeros = &parts.require(module + ".qzeros");
    for (const SourceTensor* tensor : {c.codes, c.scales, c.zeros}) {
        if (tensor->shape.size() != 2 || tensor->n_elements() == 0)
            fail("{} is no matrix", printable(tensor->name));
    }
    c.n_outputs = c.scales->shape[0];
    c.n_groups = c.scales->shape[1];
    const bool awq = c.codes->shape[0] != c.n_outputs;
    if (awq) {
        c.packing = Packing::Awq;
        c.bits = 4;
        c.n_inputs = c.codes->shape[1];
        if (c.n_outputs % 8 != 0) fail("{} has {} outputs, no multiple of 8", module, c.n_outputs);
        expect_matrix(*c.codes, "I32", c.n_outputs / 8, c.n_inputs);
        expect_matrix(*c.zeros, "I32", c.n_outputs / 8, c.n_groups);
    } else {
        // The zeros of one group have `bits` for each output; all else follows.
        c.bits = uint32_t(c.zeros->shape[0] * 32 / c.n_outputs);
        if (c.bits != 2 && c.bits != 3 && c.bits != 4 && c.bits != 8)
            fail("{} has {} bits for each output, expected 2, 3, 4 or 8", printable(c.zeros->name), c.bits);
        c.n_inputs = c.codes->shape[1] * 32 / c.bits;
        if (c.n_inputs * c.bits != c.codes->shape[1] * 32)
            fail("{} has {} words, no whole number of inputs of {} bits", printable(codes.name),
                 c.codes->shape[1], c.bits);
        expect_matrix(*c.codes, "I32", c.n_outputs, c.n_inputs * c.bits / 32);
        expect_matrix(*c.zeros, "I32", c.n_outputs * c.bits / 32, c.n_groups);
        if (c.n_outputs * c.bits % 32 != 0) fail("{} has outputs that fill no whole words", module);
        const Json* quantization = parts.quantization();
        const auto format = quantization ? quantization->get_string("checkpoint_format") : std::nullopt;
        if (format.value_or("gptq") != "gptq_v2") {
            const bool carries = made_by_gptqmodel(parts) && c.bits != 3;
            if (carries) {
                c.word_offset = UINT32_MAX / ((1u << c.bits) - 1);  // a one for each zero of the word
            } else {
                c.zero_offset = 1;
                c.wrap_zeros = c.bits != 3 || made_by_gptqmodel(parts);
            }
        }
        c.groups = parts.find(module + ".g_idx");
        if (c.groups && (element_name(*c.groups) != "I32" || c.groups->n_elements() != c.n_inputs))
            fail("{} has {} elements of {}, expected {} of I32", printable(c.groups->name),
                 c.groups->n_elements(), element_name(*c.groups), c.n_inputs);
    }
    if (c.n_groups > c.n_inputs || (!c.groups && c.n_inputs % c.n_groups != 0))
        fail("{} has {} groups for {} inputs", printable(c.scales->name), c.n_groups, c.n_inputs);
    c.group_size = c.n_inputs / c.n_groups;

    bool ordered = false;  // by activation
    for (uint64_t i = 0; c.groups && i < c.n_inputs && !ordered; ++i) {
        ordered = element_at<uint32_t>(*c.groups, i) != i / c.group_size;
    }
    const std::string form = fmt::format("{} {}-bit, groups of {}{}", awq ? "AWQ" : "GPTQ", c.bits,
                                         c.group_size, ordered ? ", activation order" : "");
    const std::string weight = module + ".weight";
    parts.decoded(form, weight,
                  std::make_shared<ColumnRows>(weight, fmt::format("{}{}", awq ? "AWQ" : "GPTQ", c.bits), c),
                  {c.codes, c.scales, c.zeros, parts.find(module + ".g_idx")});
}

}  // namespace

void decode_gptq_and_awq(Parts& parts) {
    const Json* quantization = parts.quantization();
    if (quantization && (parts.method() == "gptq" || parts.method() == "awq")) {
        const char* key = parts.method() == "awq" ? "version" : "checkpoint_format";
        std::string format = quantization->get_string(key).value_or("gptq");
        std::ranges::transform(format, format.begin(),
                               [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
        constexpr std::string_view kRead[] = {"gptq", "gptq_v2", "gemm", "exllama", "ipex"};
        if (std::ranges::find(kRead, format) == std::end(kRead)) {
            fail(
                "{}: {} weights in the layout \"{}\", which is made for one kind of GPU and not decoded; "
                "convert "
                "the original checkpoint, or a version of it in the usual layout ({})",
                quantization->where(), parts.method() == "awq" ? "AWQ" : "GPTQ", printable(format),
                parts.method() == "awq" ? "gemm" : "gptq");
        }
    }
    for (const SourceTensor& tensor : parts.tensors()) {
        const std::string module = without_suffix(tensor.name, ".qweight");
        if (!module.empty()) parts.attempt([&] { decode_columns(parts, tensor, module); });
    }
}

}  // namespace ingot::converters
