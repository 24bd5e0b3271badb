#include "runtime/tokenizer/tokenizer.h"

#include <algorithm>

#include "format/error.h"
#include "runtime/tokenizer/pipeline.h"

namespace ingot::runtime {

std::unique_ptr<Tokenizer> Tokenizer::from_header(const GgufHeader& header) {
    const auto model = header.get_string("tokenizer.ggml.model");
    if (!model) {
        fail(
            "tokenizer.ggml.model is missing: the file has no tokenizer; use token ids, or convert the model "
            "again "
            "with its tokenizer files beside it");
    }
    return std::make_unique<Pipeline>(header);
}

std::string Tokenizer::decode(const std::vector<Token>& tokens, bool special) const {
    std::string text;
    bool drop_space = add_space_prefix;
    for (const Token token : tokens) {
        const std::string bytes = token_bytes(token, special);
        text.append(bytes, drop_space && bytes.starts_with(' ') ? 1 : 0);
        drop_space = space_follows(token);
    }
    return text;
}

bool Tokenizer::is_end_of_generation(Token token) const {
    return std::binary_search(end_of_generation_.begin(), end_of_generation_.end(), token);
}

}  // namespace ingot::runtime
