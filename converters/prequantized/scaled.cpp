// FP8 weights and integers, stored row by row, with scales for tensors, rows, groups or blocks:
//
//     y = (q - z) · scale       q: E4M3, E5M2, int8, or integers packed into words (compressed-tensors)
//
// compressed-tensors computes in the dtype of the scales; the difference is exact there, so the product is
// rounded to it, once. DeepSeek's FP8, fbgemm's and modelopt's are multiplied in float32 and rounded to the
// model's dtype, as DeepSeek's weight_dequant and transformers do.
#include <array>

#include "converters/prequantized/parts.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

enum class Code : uint8_t { E4M3, E5M2, Int8, Packed };

/// 1 sign, 4 exponent, 3 fraction bits, no infinity.
float e4m3_to_float(uint32_t byte) {
    const uint32_t exponent = (byte >> 3) & 0xf, fraction = byte & 7, sign = (byte & 0x80) << 24;
    if ((byte & 0x7f) == 0x7f) return float_of(0x7fc00000 | sign);
    if (exponent == 0) return float_of(bits_of(float(fraction) * 0x1p-9f) | sign);
    return float_of(sign | ((exponent + 120) << 23) | (fraction << 20));
}

const std::array<float, 256>& e4m3_table() {
    static const std::array<float, 256> table = [] {
        std::array<float, 256> values{};
        for (uint32_t byte = 0; byte < 256; ++byte) values[byte] = e4m3_to_float(byte);
        return values;
    }();
    return table;
}

/// Which scale is whose. Scales are (matrices, scale rows, scale columns).
struct Grid {
    uint64_t matrix_rows = 0;  // rows of one matrix
    uint64_t block_rows = 0, block_columns = 0;
    uint64_t scale_rows = 0, scale_columns = 0;

    uint64_t index(uint64_t row, uint64_t scale_column) const {
        const uint64_t scale_row = row / matrix_rows * scale_rows + row % matrix_rows / block_rows;
        return scale_row * scale_columns + scale_column;
    }
    std::string describe() const {
        if (scale_columns > 1 && block_rows == 1) return fmt::format("groups of {}", block_columns);
        if (scale_rows * scale_columns == 1) return "one scale per tensor";
        if (block_rows == 1) return "one scale per row";
        return fmt::format("blocks of {} × {}", block_rows, block_columns);
    }
};

struct Scaled {
    Code code{};
    uint32_t bits = 8;
    uint64_t row_words = 0;  // Packed
    Precision precision{};
    Grid grid;
    const SourceTensor *codes = nullptr, *scales = nullptr;
    const SourceTensor* zeros = nullptr;   // or null
    const SourceTensor* groups = nullptr;  // weight_g_idx, or null: the scale column of each input
};

class ScaledRows final : public CodedRows {
  public:
    ScaledRows(std::string name, std::string encoding, std::vector<uint64_t> shape, const Scaled& scaled)
        : CodedRows(std::move(name), std::move(encoding), std::move(shape), parts_of(scaled)),
          s_(scaled),
          scales_(*scaled.scales) {}

  private:
    static std::vector<const SourceTensor*> parts_of(const Scaled& scaled) {
        std::vector<const SourceTensor*> parts{scaled.codes, scaled.scales};
        if (scaled.zeros) parts.push_back(scaled.zeros);
        return parts;
    }

    void decode(uint64_t row, uint64_t first_column, uint64_t n_columns, float* values) const override {
        const uint64_t end = first_column + n_columns;
        for (uint64_t column = first_column; column < end;) {
            const uint64_t group = group_of(column);
            const uint64_t group_end =
                s_.groups ? column + 1
                          : std::min(end, (column / s_.grid.block_columns + 1) * s_.grid.block_columns);
            const float scale = scales_.at(s_.grid.index(row, group));
            const float zero = float(zero_of(row, group));
            for (; column < group_end; ++column) {
                *values++ = rounded((level(row, column) - zero) * scale, s_.precision);
            }
        }
    }

    float level(uint64_t row, uint64_t column) const {
        const uint64_t at = row * row_elements() + column;
        switch (s_.code) {
            case Code::E4M3:
                return e4m3_table()[element_at<uint8_t>(codes(), at)];
            case Code::E5M2:
                return half_to_float(uint16_t(element_at<uint8_t>(codes(), at) << 8));
            case Code::Int8:
                return float(element_at<int8_t>(codes(), at));
            case Code::Packed:
                break;
        }
        const uint32_t q = bits_of_stream(column * s_.bits, s_.bits, [&](uint64_t word) {
            return element_at<uint32_t>(codes(), row * s_.row_words + word);
        });
        return float(int32_t(q) - (1 << (s_.bits - 1)));
    }

    int32_t zero_of(uint64_t row, uint64_t group) const {
        if (!s_.zeros) return 0;
        if (s_.code != Code::Packed) return element_at<int8_t>(*s_.zeros, s_.grid.index(row, group));
        // Packed along the rows, in each matrix.
        const uint64_t n_words = (s_.grid.matrix_rows * s_.bits + 31) / 32,
                       matrix = row / s_.grid.matrix_rows;
        const uint32_t q = bits_of_stream(row % s_.grid.matrix_rows * s_.bits, s_.bits, [&](uint64_t word) {
            return element_at<uint32_t>(*s_.zeros, (matrix * n_words + word) * s_.grid.scale_columns + group);
        });
        return int32_t(q) - (1 << (s_.bits - 1));
    }

    uint64_t group_of(uint64_t column) const {
        if (!s_.groups) return column / s_.grid.block_columns;
        const uint64_t group = element_at<uint32_t>(*s_.groups, column);
        if (group >= s_.grid.scale_columns)
            fail("{}: input {} is in group {}, but there are {}", printable(s_.groups->name), column, group,
                 s_.grid.scale_columns);
        return group;
    }

    const Scaled s_;
    const FloatView scales_;
};

std::string shown(const std::vector<uint64_t>& shape) {
    return fmt::format("[{}]", fmt::join(shape.rbegin(), shape.rend(), ", "));
}

/// weight_block_size, or block_structure of a group of compressed-tensors: rows, columns.
std::vector<uint64_t> block_sizes(const Parts& parts) {
    std::vector<uint64_t> sizes;
    const auto read = [&](const Json* list) {
        if (!list || !sizes.empty()) return;
        for (const Json& size : list->elements()) sizes.push_back(size.whole_number().value_or(0));
    };
    if (!parts.quantization()) return {};
    read(parts.quantization()->find("weight_block_size"));
    if (const Json* groups = parts.quantization()->get_object("config_groups")) {
        for (const auto& [name, group] : groups->members()) {
            const Json* weights = group.kind() == Json::Kind::Object ? group.get_object("weights") : nullptr;
            if (weights) read(weights->find("block_structure"));
        }
    }
    if (sizes.size() != 2 || sizes[0] == 0 || sizes[1] == 0) return {};
    return sizes;
}

/// How `scales` lie over a weight of this shape. `scales` may leave out dimensions of one.
Grid grid_over(const Parts& parts, const std::vector<uint64_t>& shape, const SourceTensor& scales) {
    const uint64_t columns = shape[0], rows = shape[1];
    uint64_t n_matrices = 1;
    for (size_t i = 2; i < shape.size(); ++i) n_matrices *= shape[i];
    const auto ceiling = [](uint64_t n, uint64_t size) { return (n - 1) / size + 1; };
    Grid grid{rows, rows, columns, 1, 1};
    const uint64_t n = scales.n_elements();
    if (n == 1 && n_matrices == 1) return grid;
    if (n == rows * n_matrices &&
        (scales.shape.size() < 2 || scales.shape[0] == 1 || scales.shape[0] == rows)) {
        grid.block_rows = 1;
        grid.scale_rows = rows;
        return grid;
    }
    if (n == n_matrices && n_matrices > 1) return grid;
    if (scales.shape.size() >= 2 && n == scales.shape[0] * scales.shape[1] * n_matrices) {
        grid.scale_columns = scales.shape[0];
        grid.scale_rows = scales.shape[1];
        const std::vector<uint64_t> sizes = block_sizes(parts);
        const bool as_configured = sizes.size() == 2 && ceiling(rows, sizes[0]) == grid.scale_rows &&
                                   ceiling(columns, sizes[1]) == grid.scale_columns;
        if (as_configured) {
            grid.block_rows = sizes[0];
            grid.block_columns = sizes[1];
            return grid;
        }
        if (grid.scale_rows > 0 && grid.scale_columns > 0 && rows % grid.scale_rows == 0 &&
            columns % grid.scale_columns == 0) {
            grid.block_rows = rows / grid.scale_rows;
            grid.block_columns = columns / grid.scale_columns;
            return grid;
        }
    }
    fail("{} has the shape {}, which does not divide a weight of {}", printable(scales.name),
         shown(scales.shape), shown(shape));
}

void require_matrix(const SourceTensor& tensor, const std::vector<uint64_t>& shape) {
    bool empty = false;
    for (const uint64_t dimension : shape) empty |= dimension == 0;
    if (shape.size() < 2 || empty)
        fail("{} has the shape {}, expected a matrix", printable(tensor.name), shown(shape));
}

bool is_compressed_tensors(const Parts& parts) {
    return parts.method() == "compressed-tensors" || parts.method() == "sparseml";
}

/// Weights of one byte an element: X.weight with X.weight_scale or X.weight_scale_inv.
void decode_bytes(Parts& parts, const SourceTensor& weight, Code code, const SourceTensor& scales) {
    parts.require(weight.name);
    require_matrix(weight, weight.shape);
    Scaled scaled{code, 8, 0, {}, grid_over(parts, weight.shape, scales), &weight, &scales, nullptr, nullptr};
    scaled.precision = is_compressed_tensors(parts) ? FloatView(scales).precision() : parts.model_precision();
    if (const SourceTensor* zeros = parts.find(weight.name + "_zero_point"); zeros && code == Code::Int8) {
        if (element_name(*zeros) != "I8" || zeros->n_elements() != scales.n_elements())
            fail("{} has {} elements of {}, expected one of I8 for each scale", printable(zeros->name),
                 zeros->n_elements(), element_name(*zeros));
        scaled.zeros = zeros;
    }
    const char* encoding = code == Code::E4M3 ? "FP8 E4M3" : code == Code::E5M2 ? "FP8 E5M2" : "int8";
    const std::string form =
        fmt::format("{}{}, {}", is_compressed_tensors(parts) ? "compressed-tensors " : "", encoding,
                    scaled.grid.describe());
    parts.decoded(form, weight.name,
                  std::make_shared<ScaledRows>(weight.name, encoding, weight.shape, scaled),
                  {&weight, &scales, parts.find(weight.name + "_zero_point")});
}

/// The width of compressed-tensors' packed integers: that of the config whose rows take as many words.
uint32_t packed_bits(const Parts& parts, const SourceTensor& packed, uint64_t columns) {
    std::vector<uint64_t> widths;
    if (parts.quantization()) {
        if (const Json* groups = parts.quantization()->get_object("config_groups")) {
            for (const auto& [name, group] : groups->members()) {
                const Json* weights =
                    group.kind() == Json::Kind::Object ? group.get_object("weights") : nullptr;
                if (weights) widths.push_back(weights->get_uint("num_bits").value_or(0));
            }
        }
    }
    if (widths.empty()) widths = {4, 8, 2, 3, 5, 6, 7};
    for (const uint64_t bits : widths) {
        if (bits >= 2 && bits <= 8 && (columns * bits + 31) / 32 == packed.shape[0]) return uint32_t(bits);
    }
    fail("{} has rows of {} words for {} inputs, which is no width that config.json names ({} bits)",
         printable(packed.name), packed.shape[0], columns, fmt::join(widths, ", "));
}

void decode_packed(Parts& parts, const std::string& name) {
    const SourceTensor& packed = parts.require(name + "_packed");
    const SourceTensor& scales = parts.require(name + "_scale");
    const SourceTensor& dimensions = parts.require(name + "_shape");
    std::vector<uint64_t> shape;  // GGUF order
    for (uint64_t i = dimensions.n_elements(); i-- > 0 && shape.size() < 4;) {
        const std::string_view element = element_name(dimensions);
        if (element != "I64" && element != "I32")
            fail("{} has elements of {}", printable(dimensions.name), element);
        const int64_t dimension = element == "I64" ? element_at<int64_t>(dimensions, i)
                                                   : int64_t(element_at<int32_t>(dimensions, i));
        shape.push_back(dimension < 0 || dimension > INT32_MAX ? 0 : uint64_t(dimension));
    }
    require_matrix(dimensions, shape);
    const std::vector<uint64_t> outer(shape.begin() + 1, shape.end());
    if (element_name(packed) != "I32" || packed.shape.size() != shape.size() ||
        !std::equal(outer.begin(), outer.end(), packed.shape.begin() + 1)) {
        fail("{} has the shape {} of {}, expected words (I32) for a weight of {}", printable(packed.name),
             shown(packed.shape), element_name(packed), shown(shape));
    }
    Scaled scaled{Code::Packed,
                  packed_bits(parts, packed, shape[0]),
                  packed.shape[0],
                  FloatView(scales).precision(),
                  grid_over(parts, shape, scales),
                  &packed,
                  &scales,
                  nullptr,
                  nullptr};
    const Grid& grid = scaled.grid;
    if (const SourceTensor* zeros = parts.find(name + "_zero_point")) {
        uint64_t n_words = (grid.matrix_rows * scaled.bits + 31) / 32 * grid.scale_columns;
        for (size_t i = 2; i < shape.size(); ++i) n_words *= shape[i];
        if (element_name(*zeros) != "I32" || zeros->n_elements() != n_words || grid.block_rows != 1)
            fail("{} has {} elements of {}, expected {} words (I32)", printable(zeros->name),
                 zeros->n_elements(), element_name(*zeros), n_words);
        scaled.zeros = zeros;
    }
    if (const SourceTensor* groups = parts.find(name + "_g_idx")) {
        if (element_name(*groups) != "I32" || groups->n_elements() != shape[0])
            fail("{} has {} elements of {}, expected {} of I32", printable(groups->name),
                 groups->n_elements(), element_name(*groups), shape[0]);
        scaled.groups = groups;
    }
    const std::string encoding = fmt::format("int{}", scaled.bits);
    const std::string form =
        fmt::format("compressed-tensors {}, {}{}{}", encoding, grid.describe(),
                    scaled.zeros ? ", zero points" : "", scaled.groups ? ", activation order" : "");
    parts.decoded(form, name, std::make_shared<ScaledRows>(name, encoding, shape, scaled),
                  {&packed, &scales, &dimensions, scaled.zeros, scaled.groups});
}

/// FP8 that no scale belongs to.
class Float8Rows final : public CodedRows {
  public:
    Float8Rows(const SourceTensor& tensor, bool e4m3)
        : CodedRows(tensor.name, e4m3 ? "FP8 E4M3" : "FP8 E5M2", tensor.shape, {&tensor}), e4m3_(e4m3) {}

  private:
    void decode(uint64_t row, uint64_t first_column, uint64_t n_columns, float* values) const override {
        for (uint64_t i = 0; i < n_columns; ++i) {
            const uint8_t byte = element_at<uint8_t>(codes(), row * row_elements() + first_column + i);
            values[i] = e4m3_ ? e4m3_table()[byte] : half_to_float(uint16_t(byte << 8));
        }
    }
    const bool e4m3_;
};

}  // namespace

void decode_scaled(Parts& parts) {
    for (const SourceTensor& tensor : parts.tensors()) {
        const std::string_view element = element_name(tensor);
        const std::string name = without_suffix(tensor.name, "_packed");
        if (!name.empty() && element == "I32") {
            parts.attempt([&] { decode_packed(parts, name); });
            continue;
        }
        const bool e4m3 = element == "F8_E4M3", e5m2 = element == "F8_E5M2";
        if (!e4m3 && !e5m2 && element != "I8") continue;
        const SourceTensor* scales = parts.find(tensor.name + "_scale_inv");
        if (!scales) scales = parts.find(tensor.name + "_scale");
        if (scales) {
            const Code code = e4m3 ? Code::E4M3 : e5m2 ? Code::E5M2 : Code::Int8;
            parts.attempt([&] { decode_bytes(parts, tensor, code, *scales); });
        } else if ((e4m3 || e5m2) && tensor.strides.empty() && tensor.n_elements() > 0 &&
                   !tensor.name.ends_with("_scale")) {
            parts.decoded(e4m3 ? "FP8 E4M3 without scales" : "FP8 E5M2 without scales", tensor.name,
                          std::make_shared<Float8Rows>(tensor, e4m3), {&tensor});
        }
    }
}

}  // namespace ingot::converters
