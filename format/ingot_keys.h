#pragma once
// The metadata keys that Ingot adds to a file (SPEC.md, section 3). Other readers ignore them.
#include <string_view>

namespace ingot::keys {

/// string: the version of Ingot that wrote the file.
inline constexpr std::string_view kVersion = "ingot.version";
/// array of string: XXH3-128 of each tensor's bytes without padding, in the order of the tensor list.
inline constexpr std::string_view kChecksums = "ingot.checksum.xxh3_128";
/// string: what the tensors were read from, "safetensors" or "gguf".
inline constexpr std::string_view kSourceFormat = "ingot.source.format";
/// array of string: the source's files, without folders.
inline constexpr std::string_view kSourceFiles = "ingot.source.files";
/// array of uint64: bytes of each of these files.
inline constexpr std::string_view kSourceSizes = "ingot.source.sizes";
/// string: XXH3-128 of the bytes of config.json; absent when there was none.
inline constexpr std::string_view kSourceConfigChecksum = "ingot.source.config_xxh3_128";
/// string: the recipe's name, "Q4_K_M".
inline constexpr std::string_view kRecipe = "ingot.recipe";
/// string: the rule by which the checkpoint's own tokenizer splits text before merging (PCRE2 syntax).
inline constexpr std::string_view kTokenizerPreRegex = "ingot.tokenizer.pre_regex";

/// What kChecksums holds while the data is still being written: as long as a checksum, and never one.
inline constexpr std::string_view kPendingChecksum = "00000000000000000000000000000000";

}  // namespace ingot::keys
