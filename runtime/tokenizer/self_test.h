#pragma once
// Texts and their ids, stored in the file when it is converted: whoever reads it later can see whether its
// tokenizer is still the one that the file was made with.
#include <cstddef>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "format/metadata.h"

namespace ingot::runtime {

/// Encodes some texts with the tokenizer that `metadata` describes and adds both (ingot.tokenizer.test_*).
/// Throws Error when the metadata makes no tokenizer.
void add_tokenizer_self_test(Metadata& metadata);

struct TokenizerSelfTest {
    struct Mismatch {
        std::string text, expected, found;  // ids as decimals
    };
    size_t n_texts = 0;  // 0: the file has no self-test
    std::vector<Mismatch> mismatches;
};

/// Encodes the file's texts again. Throws Error when the file's tokenizer cannot be read.
TokenizerSelfTest run_tokenizer_self_test(const GgufHeader& header);

}  // namespace ingot::runtime
