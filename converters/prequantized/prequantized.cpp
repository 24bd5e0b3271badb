#include "converters/prequantized/prequantized.h"

#include <algorithm>

#include "converters/prequantized/parts.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

/// Forms that are known by name and not decoded.
struct Method {
    std::string_view method, name;
};
constexpr Method kNotDecoded[] = {
    {"aqlm", "AQLM"},
    {"hqq", "HQQ"},
    {"eetq", "EETQ"},
    {"quanto", "quanto"},
    {"spqr", "SpQR"},
    {"vptq", "VPTQ"},
    {"higgs", "HIGGS"},
    {"bitnet", "BitNet"},
    {"torchao", "torchao"},
    {"quark", "Quark"},
    {"exl2", "EXL2"},
    {"exl3", "EXL3"},
    {"fp_quant", "FP-Quant"},
    {"sinq", "SINQ"},
    {"auto-round", "AutoRound"},
    {"intel/auto-round", "AutoRound"},
    {"nvfp4", "NVFP4"},
    {"marlin", "Marlin"},
    {"bitblas", "BitBLAS"},
    {"qqq", "QQQ"},
};

/// A tensor that only quantized checkpoints have: integers of a matrix, or 8-bit floats.
bool is_code(const SourceTensor& tensor) {
    constexpr std::string_view kCodes[] = {"U8",  "I8",      "U16",     "I16", "U32",
                                           "I32", "F8_E4M3", "F8_E5M2", "F4"};
    return tensor.n_elements() > 1 && std::ranges::find(kCodes, element_name(tensor)) != std::end(kCodes);
}

/// Of the activations' quantization at run time, and of layouts: nothing that a weight needs.
bool is_of_activations(std::string_view name) {
    constexpr std::string_view kSuffixes[] = {
        ".input_scale",      ".input_zero_point",  ".input_global_scale",
        ".output_scale",     ".output_zero_point", ".k_scale",
        ".v_scale",          ".q_scale",           ".prob_scale",
        ".activation_scale", ".input_scale_ub",    ".workspace"};
    return std::ranges::any_of(kSuffixes, [&](std::string_view suffix) { return name.ends_with(suffix); });
}

[[noreturn]] void refuse(const Parts& parts, const SourceTensor& tensor) {
    std::string name = printable(parts.method());
    for (const Method& row : kNotDecoded) {
        if (row.method == parts.method()) name = row.name;
    }
    constexpr const char* kAdvice =
        "convert the original checkpoint, or have that library dequantize it and save the result";
    if (name.empty())
        fail("the checkpoint is quantized in a form that is not known (tensor {} of {}); {}",
             printable(tensor.name), element_name(tensor), kAdvice);
    fail("the checkpoint is quantized with {} (tensor {} of {}), which is not decoded; {}", name,
         printable(tensor.name), element_name(tensor), kAdvice);
}

}  // namespace

std::string Prequantized::describe() const {
    if (form.empty()) return "";
    return fmt::format("{}; {} of {} tensors", form, n_decoded, n_weights);
}

Prequantized decode_prequantized(const Json& config, const Checkpoint& checkpoint, WeightSet& weights) {
    Parts parts(config, checkpoint, weights);
    decode_bitsandbytes(parts);
    decode_gptq_and_awq(parts);
    decode_mxfp4(parts);
    decode_scaled(parts);
    if (parts.quantization()) {
        for (const SourceTensor& tensor : checkpoint.tensors()) {
            if (is_of_activations(tensor.name)) parts.drop(tensor);
        }
    }
    Prequantized result = parts.finish();
    if (result.n_decoded == 0 && parts.quantization()) {
        for (const SourceTensor& tensor : checkpoint.tensors()) {
            if (is_code(tensor)) refuse(parts, tensor);
        }
    }
    return result;
}

}  // namespace ingot::converters
