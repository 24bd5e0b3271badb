#include "format/decode.h"

#include <cstring>

#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/mxfp4.h"
#include "format/blocks/nvfp4.h"
#include "format/blocks/q1_0.h"
#include "format/blocks/q2_0.h"
#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "format/blocks/q8_0.h"
#include "format/blocks/tq1_0.h"
#include "format/blocks/tq2_0.h"
#include "format/error.h"
#include "format/half.h"

namespace ingot {
namespace {

// Block structs have alignment 1, so any address will do.
template <typename Block>
void blocks(const void* source, float* destination, uint64_t n_elements) {
    const Block* first = static_cast<const Block*>(source);
    const uint64_t n_blocks = n_elements / Block::kElements;
    for (uint64_t i = 0; i < n_blocks; ++i) decode(first[i], destination + i * Block::kElements);
}

template <typename T>
T load(const std::byte* address) {
    T value;
    std::memcpy(&value, address, sizeof(T));
    return value;
}

// Integers and F64: round to nearest, ties to even.
template <typename T>
void numbers(const void* source, float* destination, uint64_t n_elements) {
    const std::byte* bytes = static_cast<const std::byte*>(source);
    for (uint64_t i = 0; i < n_elements; ++i) destination[i] = float(load<T>(bytes + i * sizeof(T)));
}

template <float (*to_float)(uint16_t)>
[[gnu::always_inline]] inline void convert_halves(const void* source, float* destination,
                                                  uint64_t n_elements) {
    const std::byte* bytes = static_cast<const std::byte*>(source);
    for (uint64_t i = 0; i < n_elements; ++i) destination[i] = to_float(load<uint16_t>(bytes + i * 2));
}

// Halves are what most is decoded from: the same loop for wider registers.
template <float (*to_float)(uint16_t)>
void halves_baseline(const void* source, float* destination, uint64_t n_elements) {
    convert_halves<to_float>(source, destination, n_elements);
}
#if defined(__x86_64__)
template <float (*to_float)(uint16_t)>
[[gnu::target("avx2")]] void halves_avx2(const void* source, float* destination, uint64_t n_elements) {
    convert_halves<to_float>(source, destination, n_elements);
}
template <float (*to_float)(uint16_t)>
[[gnu::target("avx512f,avx512bw,avx512vl")]] void halves_avx512(const void* source, float* destination,
                                                                uint64_t n_elements) {
    convert_halves<to_float>(source, destination, n_elements);
}
template <float (*to_float)(uint16_t)>
auto* best_halves() {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return halves_avx512<to_float>;
    return __builtin_cpu_supports("avx2") ? halves_avx2<to_float> : halves_baseline<to_float>;
}
#else
template <float (*to_float)(uint16_t)>
auto* best_halves() {
    return halves_baseline<to_float>;
}
#endif

template <float (*to_float)(uint16_t)>
void halves(const void* source, float* destination, uint64_t n_elements) {
    static auto* const best = best_halves<to_float>();
    best(source, destination, n_elements);
}

void floats(const void* source, float* destination, uint64_t n_elements) {
    if (n_elements != 0) std::memcpy(destination, source, n_elements * sizeof(float));
}

struct Decoder {
    TensorType type;
    void (*decode)(const void* source, float* destination, uint64_t n_elements);
};
constexpr Decoder kDecoders[] = {
    {TensorType::F32, floats},
    {TensorType::F16, halves<half_to_float>},
    {TensorType::BF16, halves<bf16_to_float>},
    {TensorType::F64, numbers<double>},
    {TensorType::I8, numbers<int8_t>},
    {TensorType::I16, numbers<int16_t>},
    {TensorType::I32, numbers<int32_t>},
    {TensorType::I64, numbers<int64_t>},
    {TensorType::Q4_0, blocks<BlockQ4_0>},
    {TensorType::Q4_1, blocks<BlockQ4_1>},
    {TensorType::Q5_0, blocks<BlockQ5_0>},
    {TensorType::Q5_1, blocks<BlockQ5_1>},
    {TensorType::Q8_0, blocks<BlockQ8_0>},
    {TensorType::Q2_K, blocks<BlockQ2_K>},
    {TensorType::Q3_K, blocks<BlockQ3_K>},
    {TensorType::Q4_K, blocks<BlockQ4_K>},
    {TensorType::Q5_K, blocks<BlockQ5_K>},
    {TensorType::Q6_K, blocks<BlockQ6_K>},
    {TensorType::IQ4_NL, blocks<BlockIQ4_NL>},
    {TensorType::IQ4_XS, blocks<BlockIQ4_XS>},
    {TensorType::TQ1_0, blocks<BlockTQ1_0>},
    {TensorType::TQ2_0, blocks<BlockTQ2_0>},
    {TensorType::MXFP4, blocks<BlockMXFP4>},
    {TensorType::NVFP4, blocks<BlockNVFP4>},
    {TensorType::Q1_0, blocks<BlockQ1_0>},
    {TensorType::Q2_0, blocks<BlockQ2_0>},
};

}  // namespace

void decode_row(TensorType type, const void* source, float* destination, uint64_t n_elements) {
    const TensorTypeInfo& layout = info(type);
    if (n_elements % layout.block_elements != 0) {
        fail("cannot decode {} elements of {}: it is stored in whole blocks of {} elements", n_elements,
             layout.name, layout.block_elements);
    }
    for (const Decoder& decoder : kDecoders) {
        if (decoder.type == type) return decoder.decode(source, destination, n_elements);
    }
    fail(
        "cannot decode {}: its size is known but not how to read its values; requantize the original model "
        "to one of the types that SPEC.md section 4 lists as decodable",
        layout.name);
}

}  // namespace ingot
