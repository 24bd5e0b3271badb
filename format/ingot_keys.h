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
/// array of string: the rules by which the checkpoint's own tokenizer splits text before merging (PCRE2
/// syntax). Matches and the text between them become pieces; each rule splits the pieces of the one before.
inline constexpr std::string_view kTokenizerPreRegex = "ingot.tokenizer.pre_regex";
/// bool: a piece that is a token as a whole is that token, whatever the merges say.
inline constexpr std::string_view kTokenizerIgnoreMerges = "ingot.tokenizer.ignore_merges";
/// string: the Unicode normalization form that the checkpoint's tokenizer applies first: "NFC", "NFD",
/// "NFKC", "NFKD".
inline constexpr std::string_view kTokenizerNormalizer = "ingot.tokenizer.normalizer";
/// array of uint32: ids that end generation besides EOS, from generation_config.json.
inline constexpr std::string_view kTokenizerEndOfGeneration = "ingot.tokenizer.end_of_generation";

/// What kChecksums holds while the data is still being written: as long as a checksum, and never one.
inline constexpr std::string_view kPendingChecksum = "00000000000000000000000000000000";

}  // namespace ingot::keys
