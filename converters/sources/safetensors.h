#pragma once
// One safetensors file: 8 bytes little-endian length of the header, the header (JSON), the tensors' bytes.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "converters/sources/checkpoint.h"

namespace ingot::converters {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // as the format's own reader

/// The tensors of a whole file in memory, in the order of their bytes; `data` are views into `file`.
/// Every byte after the header belongs to exactly one tensor, as the format demands. Throws Error otherwise;
/// messages start with `name`. Time is linear in the header (times a logarithm), memory a small multiple of
/// it.
std::vector<SourceTensor> parse_safetensors(std::span<const std::byte> file, const std::string& name);

}  // namespace ingot::converters
