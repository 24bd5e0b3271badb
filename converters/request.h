#pragma once
// What a user asks a conversion to do.
#include <cstdint>
#include <string>
#include <vector>

#include "converters/quantize/type_rules.h"
#include "converters/sources/lora.h"

namespace ingot::converters {

struct ConvertRequest {
    std::string source;     // a checkpoint's folder, a file of llama2.c, or a GGUF file
    std::string tokenizer;  // --tokenizer: a file or folder in place of the checkpoint's own; or empty
    const Recipe* recipe = nullptr;
    TypeRules rules;          // what the user wants otherwise than the recipe
    std::string recipe_note;  // stored with the rules: where they come from
    std::string mix_name;     // takes the recipe's place in names, where a target chose the types; or empty
    std::string family;                   // --as: takes the place of what config.json says; empty: it decides
    std::vector<AdapterChoice> adapters;  // merged in this order
    std::vector<std::string> importance_files;  // importance matrices, to be added up
    std::string metadata_file;      // JSON whose members are set in, or taken from, the metadata; or empty
    bool vocab_only = false;        // everything but the tensors
    bool allow_requantize = false;  // a GGUF whose weights are quantized already
    uint64_t max_file_bytes = 0;    // above zero: shards of at most this size, where tensors allow it
};

}  // namespace ingot::converters
