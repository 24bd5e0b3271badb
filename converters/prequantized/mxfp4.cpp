// MXFP4: 4-bit floats in blocks of 32 with a power of two as their scale.
//
// GPT-OSS stores its experts' matrices as X_blocks (experts, rows, blocks, 16) and X_scales (experts, rows,
// blocks), both bytes; compressed-tensors as X.weight_packed (rows, columns / 2) and X.weight_scale (rows,
// columns / 32). Byte j of a block has element 2j in its low bits and 2j + 1 in its high bits; GGUF's has j
// and j + 16.
//
//     y = ±{0, ½, 1, 1½, 2, 3, 4, 6} · 2^(scale - 127)       exact in float32
#include "format/blocks/mxfp4.h"
#include "converters/prequantized/parts.h"
#include "converters/rows/transforms.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

constexpr uint64_t kBlock = BlockMXFP4::kElements;
constexpr uint64_t kBlockBytes = kBlock / 2;

class MicroscaledRows final : public CodedRows {
  public:
    MicroscaledRows(std::string name, std::vector<uint64_t> shape, const SourceTensor& blocks,
                    const SourceTensor& scales)
        : CodedRows(std::move(name), "MXFP4", std::move(shape), {&blocks, &scales}), scales_(scales) {}

    bool holds(TensorType type) const override { return type == TensorType::MXFP4; }
    void copy_blocks(TensorType, uint64_t first_row, uint64_t n_rows, uint64_t first_column,
                     uint64_t n_columns, std::byte* blocks) const override {
        for (uint64_t row = first_row; row < first_row + n_rows; ++row) {
            const uint64_t first = (row * row_elements() + first_column) / kBlock;
            for (uint64_t i = first; i < first + n_columns / kBlock; ++i, blocks += sizeof(BlockMXFP4)) {
                BlockMXFP4 block{element_at<uint8_t>(*parts()[1], i), {}};
                for (uint64_t j = 0; j < kBlockBytes; ++j) {
                    block.floats[j] = uint8_t(code(i, j) | code(i, j + kBlockBytes) << 4);
                }
                std::memcpy(blocks, &block, sizeof(block));
            }
        }
    }

  private:
    void decode(uint64_t row, uint64_t first_column, uint64_t n_columns, float* values) const override {
        constexpr float kValues[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                       -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
        const uint64_t first = row * row_elements() + first_column;
        for (uint64_t at = first; at < first + n_columns; ++at) {
            *values++ = kValues[code(at / kBlock, at % kBlock)] * scales_.at(at / kBlock);
        }
    }
    uint32_t code(uint64_t block, uint64_t element) const {
        const uint32_t pair = element_at<uint8_t>(codes(), block * kBlockBytes + element / 2);
        return element % 2 == 0 ? pair & 0xf : pair >> 4;
    }

    const FloatView scales_;
};

void expect_bytes(const SourceTensor& tensor, uint64_t n) {
    const bool bytes = element_name(tensor) == "U8" || element_name(tensor) == "F8_E8M0";
    if (bytes && tensor.n_elements() == n) return;
    fail("{} has {} elements of type {}, expected {} of U8", printable(tensor.name), tensor.n_elements(),
         element_name(tensor), n);
}

void decode_experts(Parts& parts, const SourceTensor& blocks, const std::string& name) {
    parts.require(blocks.name);
    const SourceTensor& scales = parts.require(name + "_scales");
    if (blocks.shape.size() != 4 || blocks.shape[0] != kBlockBytes || blocks.n_elements() == 0) {
        fail("{} has the shape [{}], expected experts × rows × blocks × {} bytes", printable(blocks.name),
             fmt::join(blocks.shape.rbegin(), blocks.shape.rend(), ", "), kBlockBytes);
    }
    expect_bytes(blocks, blocks.n_elements());
    expect_bytes(scales, blocks.n_elements() / kBlockBytes);
    const std::vector<uint64_t> shape{blocks.shape[1] * kBlock, blocks.shape[2], blocks.shape[3]};
    RowsPtr rows = std::make_shared<MicroscaledRows>(name, shape, blocks, scales);
    // Unquantized, GPT-OSS has these matrices transposed: inputs × outputs.
    parts.decoded("MXFP4, blocks of 32", name, transpose(std::move(rows)), {&blocks, &scales});
}

void decode_packed_matrix(Parts& parts, const SourceTensor& packed, const std::string& name) {
    parts.require(packed.name);
    const SourceTensor& scales = parts.require(name + "_scale");
    if (packed.shape.size() < 2 || packed.n_elements() == 0 || packed.shape[0] % kBlockBytes != 0)
        fail("{} has rows of {} bytes, no multiple of {}", printable(packed.name), packed.row_elements(),
             kBlockBytes);
    expect_bytes(scales, packed.n_elements() / kBlockBytes);
    std::vector<uint64_t> shape = packed.shape;
    shape[0] *= 2;
    parts.decoded("compressed-tensors MXFP4, blocks of 32", name,
                  std::make_shared<MicroscaledRows>(name, std::move(shape), packed, scales),
                  {&packed, &scales});
}

}  // namespace

void decode_mxfp4(Parts& parts) {
    for (const SourceTensor& tensor : parts.tensors()) {
        if (element_name(tensor) != "U8") continue;
        if (const std::string name = without_suffix(tensor.name, "_blocks"); !name.empty()) {
            parts.attempt([&] { decode_experts(parts, tensor, name); });
        } else if (const std::string weight = without_suffix(tensor.name, "_packed"); !weight.empty()) {
            if (parts.find(weight + "_global_scale")) {
                parts.attempt([&] {
                    fail("{} is NVFP4, which is not decoded; convert the original checkpoint",
                         printable(tensor.name));
                });
            } else {
                parts.attempt([&] { decode_packed_matrix(parts, tensor, weight); });
            }
        }
    }
}

}  // namespace ingot::converters
