#include "inspect/tokens.h"

namespace ingot::inspect {

namespace {

/// An array of `count` elements for which `fits(element type)` holds, or null.
template <typename Fits>
const Value* array_of(const GgufHeader& header, std::string_view key, uint64_t count, const Fits& fits) {
    const Value* value = header.find(key);
    if (!value || value->type() != ValueType::Array || !fits(value->element_type())) return nullptr;
    return value->count() == count ? value : nullptr;
}

/// By tokenizer.ggml.token_type.
std::string_view kind_name(int64_t number) {
    constexpr std::string_view kNames[] = {"",       "normal", "unknown", "control", "user-defined",
                                           "unused", "byte"};
    return number > 0 && number < int64_t(std::size(kNames)) ? kNames[number] : "";
}

}  // namespace

std::vector<TokenRow> tokens_of(const GgufHeader& header) {
    std::vector<TokenRow> rows;
    const Value* texts = header.find("tokenizer.ggml.tokens");
    if (!texts || texts->type() != ValueType::Array || texts->element_type() != ValueType::String)
        return rows;
    rows.reserve(texts->count());
    for (const Value text : texts->elements()) rows.push_back({rows.size(), text.as_string(), {}, {}});

    const auto is_float = [](ValueType type) {
        return type == ValueType::Float32 || type == ValueType::Float64;
    };
    const auto is_int = [](ValueType type) { return type == ValueType::Int32 || type == ValueType::Int64; };
    if (const Value* scores = array_of(header, "tokenizer.ggml.scores", rows.size(), is_float)) {
        size_t i = 0;
        for (const Value score : scores->elements()) rows[i++].score = score.as_float();
    }
    if (const Value* kinds = array_of(header, "tokenizer.ggml.token_type", rows.size(), is_int)) {
        size_t i = 0;
        for (const Value kind : kinds->elements()) rows[i++].kind = kind_name(kind.as_int());
    }
    return rows;
}

}  // namespace ingot::inspect
