#pragma once
// What the decoders of pre-quantized forms share: the checkpoint's tensors by name, and an account of which
// of them became part of a weight.
#include <cstring>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "converters/prequantized/prequantized.h"
#include "format/half.h"

namespace ingot::converters {

/// The element type that a library computes a weight in: results are rounded to it.
enum class Precision : uint8_t { F32, F16, BF16 };
inline float rounded(float value, Precision precision) {
    if (precision == Precision::F16) return half_to_float(float_to_half(value));
    if (precision == Precision::BF16) return bf16_to_float(float_to_bf16(value));
    return value;
}
/// "float16", "torch.bfloat16" …; F32 for any other.
Precision precision_named(std::string_view dtype);

template <typename T>  // little-endian, any alignment
T element_at(const SourceTensor& tensor, uint64_t index) {
    T value;
    std::memcpy(&value, tensor.data.data() + index * sizeof(T), sizeof(T));
    return value;
}

/// Bits bit … bit + bits - 1 of a dense stream of 32-bit words, low bits first; word(i) reads one.
template <typename Word>
uint32_t bits_of_stream(uint64_t bit, uint32_t bits, const Word& word) {
    uint64_t window = word(bit / 32);
    if (bit % 32 + bits > 32) window |= uint64_t(word(bit / 32 + 1)) << 32;
    return uint32_t(window >> (bit % 32)) & ((1u << bits) - 1);
}

/// "F16", "U8", "F8_E4M3": the element type, whether Ingot has one for it or not.
std::string_view element_name(const SourceTensor& tensor);

/// A tensor of F32, F16, BF16 or E8M0 as floats. Cheap to copy; reads when asked.
class FloatView {
  public:
    FloatView() = default;
    /// Throws Error when the tensor has other elements.
    explicit FloatView(const SourceTensor& tensor);
    float at(uint64_t index) const;
    Precision precision() const { return precision_; }  // of its own elements

  private:
    const SourceTensor* tensor_ = nullptr;
    Precision precision_ = Precision::F32;
    bool powers_of_two_ = false;  // bytes: exponents biased by 127
};

/// The base of rows whose codes are stored row by row, so that a row can be decoded from any column on.
class CodedRows : public TensorRows {
  public:
    void read(uint64_t first_row, uint64_t n_rows, float* values) const final;
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const final;
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override;

  protected:
    /// `parts` are the codes, then what else they need.
    CodedRows(std::string name, std::string encoding, std::vector<uint64_t> shape,
              std::vector<const SourceTensor*> parts)
        : TensorRows(std::move(name), std::move(encoding), std::move(shape)), parts_(std::move(parts)) {}
    virtual void decode(uint64_t row, uint64_t first_column, uint64_t n_columns, float* values) const = 0;
    const SourceTensor& codes() const { return *parts_[0]; }
    const std::vector<const SourceTensor*>& parts() const { return parts_; }

  private:
    const std::vector<const SourceTensor*> parts_;
};

class Parts {
  public:
    Parts(const Json& config, const Checkpoint& checkpoint, WeightSet& weights);

    const Json& config() const { return config_; }              // config.json
    const Json* quantization() const { return quantization_; }  // its quantization_config, or null
    const std::string& method() const { return method_; }       // quant_method in lower case, or ""
    /// The dtype that config.json gives the model.
    Precision model_precision() const;

    const std::vector<SourceTensor>& tensors() const { return checkpoint_.tensors(); }
    const SourceTensor* find(const std::string& name) const;
    /// The tensor of that name; throws Error when it is absent or not contiguous.
    const SourceTensor& require(const std::string& name) const;

    /// Runs `decode` for one weight: an Error becomes one of the problems that finish() lists.
    template <typename Decode>
    void attempt(const Decode& decode) try {
        decode();
    } catch (const std::exception& error) {
        problems_.push_back(error.what());
    }
    /// `rows` stand for these parts from now on, under the name `weight`.
    void decoded(const std::string& form, const std::string& weight, RowsPtr rows,
                 std::initializer_list<const SourceTensor*> parts);
    /// A tensor that no weight needs.
    void drop(const SourceTensor& tensor) { consumed_.insert(tensor.name); }
    void warn(std::string warning) { warnings_.push_back(std::move(warning)); }

    Prequantized finish();

  private:
    const Json& config_;
    const Json* quantization_ = nullptr;
    std::string method_;
    const Checkpoint& checkpoint_;
    WeightSet& weights_;
    std::unordered_map<std::string_view, const SourceTensor*> by_name_;
    std::map<std::string, size_t> forms_;  // what it is -> weights
    std::vector<std::pair<std::string, RowsPtr>> decoded_;
    std::unordered_set<std::string> consumed_;
    std::vector<std::string> problems_, warnings_;
};

/// "X.weight" for "X.weight.absmax" and ".absmax"; empty when the name ends otherwise.
std::string without_suffix(std::string_view name, std::string_view suffix);

// One for each form. They take the tensors that they know and leave the others alone.
void decode_bitsandbytes(Parts& parts);
void decode_gptq_and_awq(Parts& parts);
void decode_scaled(Parts& parts);  // FP8 and int8 with scales, packed integers of compressed-tensors
void decode_mxfp4(Parts& parts);

}  // namespace ingot::converters
