#include "converters/vocabulary/special_tokens.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <unordered_map>

#include "format/error.h"
#include "format/mapped_file.h"

namespace ingot::converters {
namespace {

constexpr uint64_t kMaxTemplateBytes = 16 << 20;

std::optional<Json> read_if_there(const TokenizerFiles& files, const char* name) {
    if (!files.has(name)) return {};
    return Json::read_file(files.path(name));
}

std::string read_text(const std::string& path) {
    const MappedFile file{path};
    const auto bytes = file.bytes();
    if (bytes.size() > kMaxTemplateBytes) {
        fail("{}: {} bytes is too large for a chat template (at most {})", path, bytes.size(),
             kMaxTemplateBytes);
    }
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The kinds of special tokens in the order in which their keys are written.
struct Kind {
    const char* name;  // bos: "bos_token" in tokenizer_config.json, "bos_token_id" in config.json
    std::optional<uint32_t> Vocabulary::*id;
};
constexpr std::array kKinds = {
    Kind{"bos", &Vocabulary::bos},       Kind{"eos", &Vocabulary::eos},     Kind{"unk", &Vocabulary::unknown},
    Kind{"sep", &Vocabulary::separator}, Kind{"pad", &Vocabulary::padding}, Kind{"mask", &Vocabulary::mask},
};

/// The texts of special tokens, as tokenizer_config.json names them and the post-processor's template
/// corrects them.
struct SpecialTexts {
    std::string bos, eos, eot, unk, sep, pad, cls, mask;

    explicit SpecialTexts(const std::optional<Json>& config) {
        if (!config) return;
        bos = token_text(*config, "bos_token");
        eos = token_text(*config, "eos_token");
        unk = token_text(*config, "unk_token");
        sep = token_text(*config, "sep_token");
        pad = token_text(*config, "pad_token");
        cls = token_text(*config, "cls_token");
        mask = token_text(*config, "mask_token");
        if (bos.empty()) bos = cls;
        if (eos.empty()) eos = sep;
    }
    const std::string& of(std::string_view kind) const {
        if (kind == "bos") return bos;
        if (kind == "eos") return eos;
        if (kind == "unk") return unk;
        if (kind == "sep") return sep;
        if (kind == "pad") return pad;
        return mask;
    }
};

/// Whether the post-processor puts a BOS in front and an EOS behind.
void read_post_processor(const TokenizerJson& tokenizer, SpecialTexts& texts, Vocabulary& vocabulary) {
    if (tokenizer.has_byte_level_processor) {
        vocabulary.add_bos = false;
        vocabulary.add_eos = false;
    }
    if (!tokenizer.has_template || tokenizer.single.size() < 2) return;
    const std::string& first = tokenizer.single.front();
    if (!first.empty()) {
        if (texts.bos.empty()) texts.bos = first;
        vocabulary.add_bos = first == texts.bos || first == texts.cls;
    }
    const std::string& last = tokenizer.single.back();
    if (!last.empty()) {
        if (texts.eos.empty()) texts.eos = last;
        if (last !=
            texts.eos) {  // what the configuration calls EOS ends a turn, the template's token ends a text
            texts.eot = texts.eos;
            texts.eos = last;
        }
        vocabulary.add_eos = true;
    }
    // A [SEP] B: a separator between two texts.
    const TokenizerJson::Template& pair = tokenizer.pair;
    const size_t begin = !first.empty() && !pair.empty() && pair.front() == first ? 1 : 0;
    const size_t end = pair.size() - (!last.empty() && pair.size() > begin && pair.back() == last ? 1 : 0);
    if (end >= begin + 3 && pair[begin].empty() && pair[end - 1].empty()) {
        const std::string& middle = pair[begin + 1];
        const bool separates = !middle.empty() && (middle == texts.sep || middle == texts.eos);
        vocabulary.add_separator =
            (separates && last.empty()) || (end == begin + 4 && pair[begin + 2] == texts.eos);
    }
}

void read_chat_templates(const TokenizerFiles& files, Vocabulary& vocabulary) {
    const Json* entry = files.tokenizer_config ? files.tokenizer_config->find("chat_template") : nullptr;
    if (entry != nullptr && entry->kind() == Json::Kind::String) {
        vocabulary.chat_template = entry->as_string();
    } else if (entry != nullptr && entry->kind() == Json::Kind::Array) {
        for (const Json& each : entry->elements()) {
            std::string name = each.get_string("name").value_or("");
            const std::string source = each.get_string("template").value_or("");
            const auto plain = [](char c) {
                return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
            };
            std::replace_if(
                name.begin(), name.end(), [&](char c) { return !plain(c); }, '_');
            if (name.empty() || source.empty()) continue;
            if (name == "default") {
                vocabulary.chat_template = source;
            } else {
                vocabulary.named_chat_templates.emplace_back(name, source);
            }
        }
    } else if (files.has("chat_template.jinja")) {
        vocabulary.chat_template = read_text(files.path("chat_template.jinja"));
    } else if (files.has("chat_template.json")) {
        vocabulary.chat_template =
            Json::read_file(files.path("chat_template.json")).get_string("chat_template").value_or("");
    }
}

}  // namespace

TokenizerFiles::TokenizerFiles(const std::string& folder_) : folder(folder_) {
    config = read_if_there(*this, "config.json");
    tokenizer_config = read_if_there(*this, "tokenizer_config.json");
    special_tokens_map = read_if_there(*this, "special_tokens_map.json");
    generation_config = read_if_there(*this, "generation_config.json");
    added_tokens = read_if_there(*this, "added_tokens.json");
}

bool TokenizerFiles::has(const char* name) const {
    return std::filesystem::exists(path(name));
}

std::string token_text(const Json& object, std::string_view key) {
    const Json* entry = object.find(key);
    if (entry == nullptr) return {};
    if (entry->kind() == Json::Kind::String) return entry->as_string();
    return entry->get_string("content").value_or("");
}

bool looks_special(std::string_view text) {
    if (text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]") return true;
    if (text.starts_with("<|") && text.ends_with("|>")) return true;
    if (text.starts_with("<\uff5c") && text.ends_with("\uff5c>")) return true;  // ｜: DeepSeek's bar
    return text.starts_with("<unused") && text.ends_with(">");
}

void read_special_tokens(const TokenizerFiles& files, const TokenizerJson* tokenizer,
                         Vocabulary& vocabulary) {
    SpecialTexts texts(files.tokenizer_config);
    if (tokenizer != nullptr) read_post_processor(*tokenizer, texts, vocabulary);
    if (files.tokenizer_config) {
        const Json& config = *files.tokenizer_config;
        if (!vocabulary.add_bos) vocabulary.add_bos = config.get_bool("add_bos_token");
        if (!vocabulary.add_eos) vocabulary.add_eos = config.get_bool("add_eos_token");
        if (!vocabulary.add_separator) vocabulary.add_separator = config.get_bool("add_sep_token");
    }

    std::unordered_map<std::string_view, uint32_t> ids;
    for (size_t id = 0; id < vocabulary.tokens.size(); ++id) ids.emplace(vocabulary.tokens[id], uint32_t(id));
    const auto id_of = [&](const std::string& text) -> std::optional<uint32_t> {
        const auto found = ids.find(text);
        return text.empty() || found == ids.end() ? std::nullopt : std::optional(found->second);
    };
    // An id of config.json, which multimodal checkpoints nest. Negative numbers and lists name no single
    // token.
    const auto configured = [&](const std::string& key) -> std::optional<uint32_t> {
        if (!files.config) return {};
        const Json* entry = files.config->find(key);
        const Json* text_config = files.config->get_object("text_config");
        if (entry == nullptr && text_config != nullptr) entry = text_config->find(key);
        const auto id = entry ? entry->whole_number() : std::nullopt;
        if (!id) return {};
        if (*id < vocabulary.tokens.size()) return uint32_t(*id);
        vocabulary.warnings.push_back(fmt::format("{}: {} is {}, but there are {} tokens; it is left out",
                                                  files.path("config.json"), key, *id,
                                                  vocabulary.tokens.size()));
        return {};
    };
    for (const Kind& kind : kKinds) {
        std::optional<uint32_t>& id = vocabulary.*kind.id;
        if (tokenizer != nullptr) id = id_of(texts.of(kind.name));
        if (!id) id = configured(std::string(kind.name) + "_token_id");
    }
    if (tokenizer != nullptr) vocabulary.eot = id_of(texts.eot);

    // Beyond llama.cpp: a checkpoint that names its tokens only in the other files.
    const auto otherwise = [&](std::optional<uint32_t>& id, const char* key) {
        for (const auto* file : {&files.tokenizer_config, &files.special_tokens_map}) {
            if (!id && *file) id = id_of(token_text(**file, key));
        }
    };
    if (vocabulary.model == "gpt2") {  // "llama" has defaults: 1, 2 and 0
        otherwise(vocabulary.bos, "bos_token");
        otherwise(vocabulary.eos, "eos_token");
    }
    for (const auto* file : {&files.generation_config, &files.config}) {
        const Json* entry = *file ? (*file)->find("eos_token_id") : nullptr;
        if (entry == nullptr) continue;
        std::vector<std::optional<uint64_t>> listed{entry->whole_number()};
        for (const Json& element : entry->elements()) listed.push_back(element.whole_number());
        for (const auto& id : listed) {
            if (!id || *id >= vocabulary.tokens.size()) continue;
            if (!vocabulary.eos) vocabulary.eos = uint32_t(*id);
            std::vector<uint32_t>& ends = vocabulary.end_of_generation;
            if (std::find(ends.begin(), ends.end(), *id) == ends.end()) ends.push_back(uint32_t(*id));
        }
    }
    // The list is worth writing only where it says more than the EOS token.
    std::vector<uint32_t>& ends = vocabulary.end_of_generation;
    if (ends.size() == 1 && vocabulary.eos == ends.front()) ends.clear();
    read_chat_templates(files, vocabulary);
}

}  // namespace ingot::converters
