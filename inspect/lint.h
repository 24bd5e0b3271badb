#pragma once
// What is wrong or odd about a file that could be parsed.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf_model.h"

namespace ingot::inspect {

/// Error: the model does not work, or not as it was meant. Warning: some readers refuse it, or it is probably
/// a mistake. Note: worth knowing.
enum class Severity { Note, Warning, Error };
std::string_view name(Severity severity);  // "note", "warning", "error"

struct Finding {
    Severity severity{};
    std::string_view code;  // stable, see README: "missing-key"
    std::string subject;    // a key, a tensor or a file
    std::string message;
};

/// Everything that headers alone can tell: keys, tokenizer, chat template, tensor list, layout of the data.
/// Cost: linear in the headers and, for padding, a few bytes of every tensor.
std::vector<Finding> lint(const GgufModel& model);

/// Why a Jinja template cannot be parsed: delimiters, strings, brackets and the nesting of its blocks. Empty
/// when nothing is wrong with these; names and filters are not looked at.
std::string template_problem(std::string_view text);

}  // namespace ingot::inspect
