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

bool Tokenizer::is_end_of_generation(Token token) const {
    return std::binary_search(end_of_generation_.begin(), end_of_generation_.end(), token);
}

}  // namespace ingot::runtime
