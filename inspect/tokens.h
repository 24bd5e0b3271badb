#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace ingot::inspect {

/// One token of a file's vocabulary, as the file states it. The text is a view into the header's bytes.
struct TokenRow {
    uint64_t id = 0;
    std::string_view text;
    std::optional<double> score;
    std::string_view kind;  // "normal", "control" …; empty where the file does not say, or says nonsense
};

/// Empty when the file has no vocabulary. Scores and types of another number than tokens count as absent.
/// Cost: linear in the vocabulary.
std::vector<TokenRow> tokens_of(const GgufHeader& header);

}  // namespace ingot::inspect
