#include "converters/export/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "converters/architectures/family.h"
#include "converters/sources/json.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/json_writer.h"

namespace ingot::converters {

namespace {

using Members = std::vector<std::pair<std::string, std::string>>;  // key, text of the value

/// The members of an object as they are written, so that every number stays as it was. The text was parsed
/// before, and is valid.
Members members_of(std::string_view text) {
    Members members;
    const auto skip = [&](size_t at) { return text.find_first_not_of(" \t\r\n", at); };
    const auto string_end = [&](size_t at) {  // behind the closing quote of the string that begins at `at`
        for (++at; text[at] != '"'; ++at) at += text[at] == '\\';
        return at + 1;
    };
    size_t at = skip(text.find('{') + 1);
    while (text.at(at) == '"') {
        const size_t key_end = string_end(at);
        const std::string key(text.substr(at + 1, key_end - at - 2));
        const size_t begin = skip(text.find(':', key_end) + 1);
        size_t end = begin;
        for (int depth = 0;;) {
            const char c = text.at(end);
            if (depth == 0 && (c == ',' || c == '}' || c == ']')) break;
            depth += c == '{' || c == '[';
            depth -= c == '}' || c == ']';
            end = c == '"' ? string_end(end) : end + 1;
        }
        const size_t last = text.find_last_not_of(" \t\r\n", end - 1);
        members.emplace_back(key, text.substr(begin, last + 1 - begin));
        if (text[end] == '}') break;
        at = skip(end + 1);
    }
    return members;
}

void set(Members& members, const std::string& key, const std::string& value) {
    const auto found = std::ranges::find(members, key, &Members::value_type::first);
    if (found == members.end()) {
        members.emplace_back(key, value);
    } else {
        found->second = value;
    }
}

std::string text_of(const Members& members) {
    std::string text = "{";
    for (const auto& [key, value] : members)
        text += fmt::format("{}\n  \"{}\": {}", text.size() > 1 ? "," : "", key, value);
    return text + "\n}\n";
}

std::string dtype_name(TensorType type) {
    return type == TensorType::F16    ? "\"float16\""
           : type == TensorType::BF16 ? "\"bfloat16\""
                                      : "\"float32\"";
}

std::string quoted(std::string_view text) {
    return JsonWriter().value(text).text();
}

/// A config.json from the hyperparameters of a file that was made elsewhere. What the reader of config.json
/// takes for granted is left out.
class ConfigFromKeys {
  public:
    ConfigFromKeys(const GgufHeader& header, const Family& family)
        : header_(header), family_(family), prefix_(std::string(family.architecture) + ".") {}

    Members run() {
        set(members_, "architectures", fmt::format("[{}]", quoted(family_.classes.front())));
        set(members_, "model_type",
            quoted(family_.model_types.empty() ? family_.architecture : family_.model_types.front()));
        number("num_hidden_layers", "block_count");
        number("hidden_size", "embedding_length");
        number("intermediate_size", "feed_forward_length");
        number("num_attention_heads", "attention.head_count");
        number("num_key_value_heads", "attention.head_count_kv");
        number("head_dim", "attention.key_length");
        number("rope_theta", "rope.freq_base");
        number("sliding_window", "attention.sliding_window");
        for (const NumberRule& rule : family_.numbers)
            number(rule.config_key.substr(0, rule.config_key.find('|')), rule.suffix);
        const TensorInfo* embedding = header_.find_tensor("token_embd.weight");
        if (embedding) set(members_, "vocab_size", fmt::format("{}", embedding->shape[1]));
        set(members_, "tie_word_embeddings", header_.find_tensor("output.weight") ? "false" : "true");
        const bool biased = header_.find_tensor("blk.0.attn_q.bias") != nullptr;
        if (family_.name == "Llama") set(members_, "attention_bias", biased ? "true" : "false");
        for (const char* token : {"bos", "eos"}) {
            if (const auto id = header_.get_uint(fmt::format("tokenizer.ggml.{}_token_id", token)))
                set(members_, fmt::format("{}_token_id", token), fmt::format("{}", *id));
        }
        rope_scaling();
        return std::move(members_);
    }

  private:
    void number(std::string_view config_key, std::string_view suffix) {
        const Value* value = header_.find(prefix_ + std::string(suffix));
        if (!value || value->type() == ValueType::Array || value->type() == ValueType::String) return;
        if (value->type() == ValueType::Bool)
            return set(members_, std::string(config_key), value->as_bool() ? "true" : "false");
        const bool real = value->type() == ValueType::Float32 || value->type() == ValueType::Float64;
        set(members_, std::string(config_key),
            real ? JsonWriter().value(float(value->as_float())).text() : fmt::format("{}", value->as_int()));
    }

    void rope_scaling() {
        const auto kind = header_.get_string(prefix_ + "rope.scaling.type");
        if (header_.find_tensor("rope_freqs.weight")) {
            fail(
                "its rotary frequencies are stretched as Llama 3's, whose parameters GGUF does not hold; "
                "give the "
                "model's config.json with --config");
        }
        if (!kind || *kind == "none") return;
        const auto factor = header_.get_float(prefix_ + "rope.scaling.factor");
        const auto original = header_.get_uint(prefix_ + "rope.scaling.original_context_length");
        std::string scaling = fmt::format("{{\"rope_type\": {}", quoted(*kind));
        if (factor) scaling += fmt::format(", \"factor\": {}", JsonWriter().value(float(*factor)).text());
        if (original) scaling += fmt::format(", \"original_max_position_embeddings\": {}", *original);
        set(members_, "rope_scaling", scaling + "}");
    }

    const GgufHeader& header_;
    const Family& family_;
    const std::string prefix_;
    Members members_;
};

std::string with_type(Members members, TensorType type) {
    std::erase_if(members, [](const auto& member) {
        return member.first == "quantization_config" || member.first == "compression_config";
    });
    // Its newer name where the configuration has that; the older one is understood everywhere.
    const bool newer = std::ranges::find(members, "dtype", &Members::value_type::first) != members.end();
    set(members, newer ? "dtype" : "torch_dtype", dtype_name(type));
    return text_of(members);
}

}  // namespace

std::string exported_config(const std::string& text, const std::string& name, TensorType type) {
    const Json config = Json::parse(text, name);
    Members members = members_of(text);
    const Json* text_config = config.get_object("text_config");
    const Family* family = find_family(config);
    if (text_config && family) {
        // Only the text model is in the file: what is written is that model, not the one around it.
        const auto inner = std::ranges::find(members, "text_config", &Members::value_type::first);
        members = members_of(inner->second);
        set(members, "architectures", fmt::format("[{}]", quoted(family->classes.front())));
    }
    return with_type(std::move(members), type);
}

std::string exported_config(const GgufHeader& header, TensorType type) {
    if (const auto text = header.get_string(keys::kSourceConfig))
        return exported_config(std::string(*text), std::string(keys::kSourceConfig), type);
    const std::string_view architecture = header.require_string("general.architecture");
    const Family* family = find_family_by_name(architecture);
    if (!family) fail("no family of checkpoints is known for the architecture {}", printable(architecture));
    return with_type(ConfigFromKeys(header, *family).run(), type);
}

std::string exported_generation_config(const GgufHeader& header) {
    JsonWriter json;
    json.begin_object();
    for (const char* token : {"bos", "pad"}) {
        const char* key = token[0] == 'b' ? "bos" : "padding";
        if (const auto id = header.get_uint(fmt::format("tokenizer.ggml.{}_token_id", key)))
            json.member(fmt::format("{}_token_id", token), *id);
    }
    std::vector<uint64_t> ends;
    if (const auto id = header.get_uint("tokenizer.ggml.eos_token_id")) ends.push_back(*id);
    for (const int64_t id : header.ints(keys::kTokenizerEndOfGeneration)) {
        if (std::ranges::find(ends, uint64_t(id)) == ends.end()) ends.push_back(uint64_t(id));
    }
    if (ends.size() == 1) json.member("eos_token_id", ends[0]);
    if (ends.size() > 1) {
        json.key("eos_token_id").begin_array(JsonWriter::kOneLine);
        for (const uint64_t id : ends) json.value(id);
        json.end_array();
    }
    bool samples = false;
    const auto copy_float = [&](const char* key, const char* name) {
        if (const auto value = header.get_float(std::string("general.sampling.") + key)) {
            json.member(name, float(*value));
            samples = true;
        }
    };
    copy_float("temp", "temperature");
    copy_float("top_p", "top_p");
    copy_float("min_p", "min_p");
    copy_float("penalty_repeat", "repetition_penalty");
    if (const auto top_k = header.get_uint("general.sampling.top_k")) {
        json.member("top_k", *top_k);
        samples = true;
    }
    if (samples) json.member("do_sample", true);
    return json.end_object().text() + "\n";
}

}  // namespace ingot::converters
