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
/// string: the text of config.json, from which `ingot export` makes a checkpoint again.
inline constexpr std::string_view kSourceConfig = "ingot.source.config";
/// string: the recipe's name, "Q4_K_M".
inline constexpr std::string_view kRecipe = "ingot.recipe";
/// string: JSON, what the user changed of that recipe; absent when it was nothing. SPEC.md, section 3.
inline constexpr std::string_view kRecipeText = "ingot.recipe.json";
/// array of string: XXH3-128 of the bytes of each importance matrix that the weights were quantized with.
inline constexpr std::string_view kImportanceChecksums = "ingot.imatrix.xxh3_128";
/// The checkpoint's own tokenizer, step by step; SPEC.md, section 3, says what each step does.
/// string: what turns pieces of text into tokens: "bpe", "sentencepiece_bpe", "unigram", "word_piece",
/// "word_level". Where it is absent, the tokenizer.ggml.* keys say it all.
inline constexpr std::string_view kTokenizerModel = "ingot.tokenizer.model";
/// array of string: the model's particulars, "NAME" or "NAME=VALUE".
inline constexpr std::string_view kTokenizerOptions = "ingot.tokenizer.options";
/// array of string: steps that rewrite the text, that cut it into pieces, and that make text of tokens.
inline constexpr std::string_view kTokenizerNormalizers = "ingot.tokenizer.normalizers";
inline constexpr std::string_view kTokenizerPreTokenizers = "ingot.tokenizer.pre_tokenizers";
inline constexpr std::string_view kTokenizerDecoders = "ingot.tokenizer.decoders";
/// array of string: tokens that are looked for in the text before all else, "ID FLAGS TEXT".
inline constexpr std::string_view kTokenizerAdded = "ingot.tokenizer.added_tokens";
/// array of uint32: ids that stand before a text and behind it.
inline constexpr std::string_view kTokenizerBefore = "ingot.tokenizer.before";
inline constexpr std::string_view kTokenizerAfter = "ingot.tokenizer.after";
/// array of uint32: pairs of ids, in rank order, where tokenizer.ggml.merges is not there to say it.
inline constexpr std::string_view kTokenizerMergeIds = "ingot.tokenizer.merge_ids";
/// array of float64: tokenizer.ggml.scores, where float32 does not hold them.
inline constexpr std::string_view kTokenizerScores = "ingot.tokenizer.scores";
/// arrays of string: texts, and the ids that the converting version gave them (decimal, spaces between).
inline constexpr std::string_view kTokenizerTestTexts = "ingot.tokenizer.test_texts";
inline constexpr std::string_view kTokenizerTestIds = "ingot.tokenizer.test_ids";
/// Files of version 0.1 have these three instead. array of string: patterns that split the text; bool: a
/// piece that is a token as a whole is that token; string: "NFC", "NFD", "NFKC" or "NFKD".
inline constexpr std::string_view kTokenizerPreRegex = "ingot.tokenizer.pre_regex";
inline constexpr std::string_view kTokenizerIgnoreMerges = "ingot.tokenizer.ignore_merges";
inline constexpr std::string_view kTokenizerNormalizer = "ingot.tokenizer.normalizer";
/// array of uint32: ids that end generation besides EOS, from generation_config.json.
inline constexpr std::string_view kTokenizerEndOfGeneration = "ingot.tokenizer.end_of_generation";

/// Of a file that `ingot perplexity --save-reference` wrote (SPEC.md, section 6). string: names of the files
/// of the model and the text; uint32: tokens of the vocabulary, of a chunk; the token that begins every
/// chunk.
inline constexpr std::string_view kReferenceModel = "ingot.reference.model";
inline constexpr std::string_view kReferenceText = "ingot.reference.text";
inline constexpr std::string_view kReferenceVocabulary = "ingot.reference.vocabulary";
inline constexpr std::string_view kReferenceContext = "ingot.reference.context";
inline constexpr std::string_view kReferenceBos = "ingot.reference.bos";

/// string: "gptq" where matrices were quantized with error feedback; absent otherwise.
inline constexpr std::string_view kMethod = "ingot.quantize.method";
/// string: what the feedback was measured on: the text's file without folders, its XXH3-128, the chunks.
inline constexpr std::string_view kCalibration = "ingot.quantize.calibration";

/// string: spaces, which mean nothing. A header that grows takes them, so that the data can stay where it is.
inline constexpr std::string_view kSpare = "ingot.spare";
/// Spaces that a new file has.
inline constexpr size_t kSpareBytes = 4096;

/// What kChecksums holds while the data is still being written: as long as a checksum, and never one.
inline constexpr std::string_view kPendingChecksum = "00000000000000000000000000000000";

}  // namespace ingot::keys
