#include "converters/export_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

#include "converters/vocabulary/vocabulary.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/json_writer.h"
#include "format/pre_rules.h"

namespace ingot::converters {

namespace {

constexpr std::string_view kSpaceMark = "\u2581";

/// What the keys say, as far as it is needed here.
struct Tokenizer {
    std::string model;      // tokenizer.ggml.model
    std::string own_model;  // ingot.tokenizer.model; empty in files made elsewhere
    std::vector<std::string_view> tokens, merges, options, normalizers, pre_tokenizers, decoders, added;
    std::vector<float> scores;
    std::vector<int64_t> types, before, after, merge_ids;
    std::optional<uint64_t> bos, eos, unknown, padding;
    bool add_bos = false, add_eos = false, add_space_prefix = true;

    explicit Tokenizer(const GgufHeader& header)
        : model(header.get_string("tokenizer.ggml.model").value_or("")),
          own_model(header.get_string(keys::kTokenizerModel).value_or("")),
          tokens(header.strings("tokenizer.ggml.tokens")),
          merges(header.strings("tokenizer.ggml.merges")),
          options(header.strings(keys::kTokenizerOptions)),
          normalizers(header.strings(keys::kTokenizerNormalizers)),
          pre_tokenizers(header.strings(keys::kTokenizerPreTokenizers)),
          decoders(header.strings(keys::kTokenizerDecoders)),
          added(header.strings(keys::kTokenizerAdded)),
          scores(header.floats("tokenizer.ggml.scores")),
          types(header.ints("tokenizer.ggml.token_type")),
          before(header.ints(keys::kTokenizerBefore)),
          after(header.ints(keys::kTokenizerAfter)),
          merge_ids(header.ints(keys::kTokenizerMergeIds)),
          bos(header.get_uint("tokenizer.ggml.bos_token_id")),
          eos(header.get_uint("tokenizer.ggml.eos_token_id")),
          unknown(header.get_uint("tokenizer.ggml.unknown_token_id")),
          padding(header.get_uint("tokenizer.ggml.padding_token_id")),
          add_bos(header.get_bool("tokenizer.ggml.add_bos_token").value_or(model == "llama")),
          add_eos(header.get_bool("tokenizer.ggml.add_eos_token").value_or(false)),
          add_space_prefix(header.get_bool("tokenizer.ggml.add_space_prefix").value_or(true)) {
        if (tokens.empty()) fail("the file has no tokenizer.ggml.tokens");
        types.resize(tokens.size(), int64_t(TokenType::Normal));
        const auto first_unknown = std::ranges::find(types, int64_t(TokenType::Unknown));
        if (!unknown && first_unknown != types.end()) unknown = uint64_t(first_unknown - types.begin());
    }

    bool has_option(std::string_view name) const { return std::ranges::find(options, name) != options.end(); }
    bool is(size_t id, TokenType type) const { return types[id] == int64_t(type); }
    std::optional<std::string_view> text(std::optional<uint64_t> id) const {
        if (!id || *id >= tokens.size()) return {};
        return tokens[*id];
    }
};

// --- tokenizer.model ---------------------------------------------------------------------------------------

/// A message of Google's protocol buffers: see vocabulary/protobuf.h.
class ProtobufWriter {
  public:
    void integer(uint32_t number, uint64_t value) {
        varint(number << 3);
        varint(value);
    }
    void real(uint32_t number, float value) {
        varint(number << 3 | 5);
        const auto bits = std::bit_cast<uint32_t>(value);
        for (int i = 0; i < 4; ++i) bytes_ += char(bits >> (8 * i));
    }
    void text(uint32_t number, std::string_view value) {
        varint(number << 3 | 2);
        varint(value.size());
        bytes_ += value;
    }
    const std::string& bytes() const { return bytes_; }

  private:
    void varint(uint64_t value) {
        for (; value >= 0x80; value >>= 7) bytes_ += char((value & 0x7f) | 0x80);
        bytes_ += char(value);
    }
    std::string bytes_;
};

/// Numbers of the fields in sentencepiece_model.proto.
std::string sentencepiece_model(const Tokenizer& tokenizer, const GgufHeader& header) {
    constexpr uint32_t kPieces = 1, kTrainer = 2, kNormalizer = 3;
    constexpr uint64_t kUnigram = 1, kBpe = 2;
    if (tokenizer.scores.size() < tokenizer.tokens.size()) fail("the file has no scores for its tokens");
    ProtobufWriter model;
    bool byte_fallback = false;
    // Tokens that fill the vocabulary up to the embedding's size are no pieces.
    size_t n_pieces = tokenizer.tokens.size();
    while (n_pieces > 0 && tokenizer.is(n_pieces - 1, TokenType::Unused) &&
           tokenizer.tokens[n_pieces - 1] == fmt::format("[PAD{}]", n_pieces - 1)) {
        --n_pieces;
    }
    for (size_t id = 0; id < n_pieces; ++id) {
        ProtobufWriter piece;
        std::string text(tokenizer.tokens[id]);
        if (tokenizer.is(id, TokenType::UserDefined)) {  // spaces are marked inside the model only
            for (size_t at = 0; (at = text.find(' ', at)) != std::string::npos;)
                text.replace(at, 1, kSpaceMark);
        }
        piece.text(1, text);
        piece.real(2, tokenizer.scores[id]);
        if (!tokenizer.is(id, TokenType::Normal)) piece.integer(3, uint64_t(tokenizer.types[id]));
        model.text(kPieces, piece.bytes());
        byte_fallback = byte_fallback || tokenizer.is(id, TokenType::Byte);
    }
    ProtobufWriter trainer;
    trainer.integer(3, tokenizer.model == "t5" ? kUnigram : kBpe);
    trainer.integer(4, n_pieces);
    if (byte_fallback) trainer.integer(35, 1);
    const auto id = [&](uint32_t number, std::optional<uint64_t> token) {  // int32: -1 has ten bytes
        trainer.integer(number, token ? *token : ~uint64_t(0));
    };
    id(40, tokenizer.unknown ? tokenizer.unknown : std::optional<uint64_t>(0));
    id(41, tokenizer.bos);
    id(42, tokenizer.eos);
    id(43, tokenizer.padding);
    model.text(kTrainer, trainer.bytes());

    ProtobufWriter normalizer;
    const Value* charsmap = header.find("tokenizer.ggml.precompiled_charsmap");
    normalizer.text(1, charsmap ? "user_defined" : "identity");
    if (charsmap) {
        const auto bytes = charsmap->encoded();
        normalizer.text(2, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    normalizer.integer(3, tokenizer.add_space_prefix);
    normalizer.integer(4, header.get_bool("tokenizer.ggml.remove_extra_whitespaces").value_or(false));
    normalizer.integer(5, 1);
    model.text(kNormalizer, normalizer.bytes());
    return model.bytes();
}

// --- tokenizer.json ----------------------------------------------------------------------------------------

/// "split", "isolated", "\p{N}": a step in the notation of SPEC.md, section 3.
std::vector<std::string_view> arguments_of(std::string_view step, size_t n_arguments) {
    std::vector<std::string_view> parts;
    while (parts.size() < n_arguments) {
        const size_t tab = step.find('\t');
        parts.push_back(step.substr(0, tab));
        if (tab == std::string_view::npos) break;
        step.remove_prefix(tab + 1);
    }
    if (parts.size() == n_arguments) parts.push_back(step);
    return parts;
}

[[noreturn]] void not_written(std::string_view step) {
    fail("its step \"{}\" has no form in tokenizer.json", printable(step));
}

/// Objects of one list, or null when there are none.
class Steps {
  public:
    JsonWriter& add(std::string_view type) {
        return list_.emplace_back().begin_object(JsonWriter::kOneLine).member("type", type);
    }
    /// {"type": "Sequence", key: [...]}
    std::string sequence(std::string_view key) {
        if (list_.empty()) return "null";
        std::string text;
        for (JsonWriter& step : list_) text += (text.empty() ? "" : ", ") + step.end_object().text();
        return fmt::format("{{\"type\": \"Sequence\", \"{}\": [{}]}}", key, text);
    }

  private:
    std::vector<JsonWriter> list_;
};

void write_pattern(JsonWriter& json, std::string_view pattern) {
    json.key("pattern").begin_object(JsonWriter::kOneLine).member("Regex", pattern).end_object();
}

std::string normalizer_json(const Tokenizer& tokenizer) {
    static const std::map<std::string_view, std::string_view> kPlain = {
        {"nfc", "NFC"},
        {"nfd", "NFD"},
        {"nfkc", "NFKC"},
        {"nfkd", "NFKD"},
        {"nmt", "Nmt"},
        {"lowercase", "Lowercase"},
        {"strip_marks", "StripAccents"},
        {"byte_level", "ByteLevel"},
    };
    Steps steps;
    for (const std::string_view step : tokenizer.normalizers) {
        const auto parts = arguments_of(step, 2);
        if (const auto plain = kPlain.find(step); plain != kPlain.end()) {
            steps.add(plain->second);
        } else if (parts[0] == "prepend") {
            steps.add("Prepend").member("prepend", step.substr(8));
        } else if (parts[0] == "replace" && parts.size() == 3) {
            JsonWriter& json = steps.add("Replace");
            write_pattern(json, parts[1]);
            json.member("content", parts[2]);
        } else if (parts[0] == "strip") {
            steps.add("Strip")
                .member("strip_left", parts[1] != "right")
                .member("strip_right", parts[1] != "left");
        } else {
            not_written(step);
        }
    }
    return steps.sequence("normalizers");
}

void add_split(Steps& steps, std::string_view behavior, std::string_view pattern) {
    static const std::map<std::string_view, std::string_view> kBehaviors = {
        {"isolated", "Isolated"},        {"removed", "Removed"},
        {"contiguous", "Contiguous"},    {"with_previous", "MergedWithPrevious"},
        {"with_next", "MergedWithNext"},
    };
    const bool inverts = behavior.starts_with("not_");
    const auto known = kBehaviors.find(inverts ? behavior.substr(4) : behavior);
    if (known == kBehaviors.end()) not_written(behavior);
    JsonWriter& json = steps.add("Split");
    write_pattern(json, pattern);
    json.member("behavior", known->second).member("invert", inverts);
}

std::string pre_tokenizer_json(const Tokenizer& tokenizer, const GgufHeader& header) {
    Steps steps;
    bool add_prefix_space = false;
    const auto add_byte_level = [&] {
        steps.add("ByteLevel")
            .member("add_prefix_space", add_prefix_space)
            .member("trim_offsets", true)
            .member("use_regex", false);
    };
    if (tokenizer.own_model.empty()) {  // made elsewhere, or by version 0.1
        std::vector<std::string_view> patterns = header.strings(keys::kTokenizerPreRegex);
        if (patterns.empty()) {
            const auto name = header.get_string("tokenizer.ggml.pre").value_or("default");
            const PreRule* rule = find_pre_rule(name);
            if (!rule) fail("its rule for splitting text, {}, is not known", printable(name));
            patterns = rule->patterns;
        }
        for (const std::string_view pattern : patterns) add_split(steps, "isolated", pattern);
        add_byte_level();
        return steps.sequence("pretokenizers");
    }
    for (const std::string_view step : tokenizer.pre_tokenizers) {
        const auto parts = arguments_of(step, 2);
        if (parts[0] == "split" && parts.size() == 3) {
            add_split(steps, parts[1], parts[2]);
        } else if (parts[0] == "prefix_space") {
            add_prefix_space = true;
            // Only the step that turns text into bytes can add the space; splits come after it.
            steps.add("ByteLevel")
                .member("add_prefix_space", true)
                .member("trim_offsets", true)
                .member("use_regex", true);
            return steps.sequence("pretokenizers");
        } else if (parts[0] == "metaspace" && parts.size() == 3) {
            steps.add("Metaspace")
                .member("replacement", parts[2])
                .member("prepend_scheme", parts[1])
                .member("split", false);
        } else if (step != "byte_level") {
            not_written(step);
        }
    }
    if (tokenizer.has_option("byte_level")) add_byte_level();
    return steps.sequence("pretokenizers");
}

std::string decoder_json(const Tokenizer& tokenizer) {
    Steps steps;
    if (tokenizer.own_model.empty()) {
        steps.add("ByteLevel")
            .member("add_prefix_space", true)
            .member("trim_offsets", true)
            .member("use_regex", true);
        return steps.sequence("decoders");
    }
    for (const std::string_view step : tokenizer.decoders) {
        const auto parts = arguments_of(step, 2);
        if (step == "byte_level") {
            steps.add("ByteLevel")
                .member("add_prefix_space", true)
                .member("trim_offsets", true)
                .member("use_regex", true);
        } else if (step == "byte_fallback") {
            steps.add("ByteFallback");
            steps.add("Fuse");
        } else if (parts[0] == "replace" && parts.size() == 3) {
            JsonWriter& json = steps.add("Replace");
            write_pattern(json, parts[1]);
            json.member("content", parts[2]);
        } else if (parts[0] == "metaspace" && parts.size() == 3) {
            steps.add("Metaspace")
                .member("replacement", parts[2])
                .member("prepend_scheme", parts[1])
                .member("split", true);
        } else if (step == "strip\tleft") {
            steps.add("Strip").member("content", " ").member("start", 1).member("stop", 0);
        } else {
            not_written(step);
        }
    }
    return steps.sequence("decoders");
}

/// Ids that stand before and behind a text.
std::string post_processor_json(const Tokenizer& tokenizer) {
    std::vector<int64_t> before = tokenizer.before, after = tokenizer.after;
    if (tokenizer.own_model.empty()) {
        if (tokenizer.add_bos && tokenizer.bos) before = {int64_t(*tokenizer.bos)};
        if (tokenizer.add_eos && tokenizer.eos) after = {int64_t(*tokenizer.eos)};
    }
    if (before.empty() && after.empty()) return "null";
    JsonWriter json;
    json.begin_object(JsonWriter::kOneLine).member("type", "TemplateProcessing");
    const auto special = [&](int64_t id, int segment) {
        json.begin_object(JsonWriter::kOneLine).key("SpecialToken").begin_object(JsonWriter::kOneLine);
        json.member("id", tokenizer.tokens.at(size_t(id)))
            .member("type_id", segment)
            .end_object()
            .end_object();
    };
    const auto part = [&](const char* name, int segment) {
        for (const int64_t id : before) special(id, segment);
        json.begin_object(JsonWriter::kOneLine).key("Sequence").begin_object(JsonWriter::kOneLine);
        json.member("id", name).member("type_id", segment).end_object().end_object();
        for (const int64_t id : after) special(id, segment);
    };
    json.key("single").begin_array(JsonWriter::kOneLine);
    part("A", 0);
    json.end_array().key("pair").begin_array(JsonWriter::kOneLine);
    part("A", 0);
    part("B", 1);
    json.end_array().key("special_tokens").begin_object(JsonWriter::kOneLine);
    std::vector<int64_t> all = before;
    for (const int64_t id : after) {
        if (std::ranges::find(all, id) == all.end()) all.push_back(id);
    }
    for (const int64_t id : all) {
        const std::string_view text = tokenizer.tokens.at(size_t(id));
        json.key(text).begin_object(JsonWriter::kOneLine).member("id", text);
        json.key("ids").begin_array(JsonWriter::kOneLine).value(id).end_array();
        json.key("tokens").begin_array(JsonWriter::kOneLine).value(text).end_array().end_object();
    }
    return json.end_object().end_object().text();
}

std::string added_tokens_json(const Tokenizer& tokenizer, std::vector<bool>& outside_model) {
    JsonWriter json;
    json.begin_array(JsonWriter::kOneLine);
    const auto write = [&](uint64_t id, std::string_view text, std::string_view flags) {
        const auto has = [&](char flag) { return flags.find(flag) != std::string_view::npos; };
        json.begin_object(JsonWriter::kOneLine).member("id", id).member("content", text);
        json.member("single_word", has('w')).member("lstrip", has('l')).member("rstrip", has('r'));
        json.member("normalized", has('n')).member("special", has('s')).end_object();
        if (!has('m')) outside_model.at(id) = true;
    };
    if (tokenizer.own_model.empty()) {
        for (size_t id = 0; id < tokenizer.tokens.size(); ++id) {
            if (tokenizer.is(id, TokenType::Control) || tokenizer.is(id, TokenType::UserDefined))
                write(id, tokenizer.tokens[id], tokenizer.is(id, TokenType::Control) ? "s" : "");
        }
    }
    for (const std::string_view entry : tokenizer.added) {
        uint64_t id = 0;
        const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), id);
        const size_t flags = std::min(entry.size(), size_t(end - entry.data()) + 1);
        const size_t text = std::min(entry.size(), entry.find(' ', flags)) + 1;
        if (error != std::errc() || id >= tokenizer.tokens.size() || text > entry.size())
            fail("{} holds '{}'; the file is damaged", keys::kTokenizerAdded, printable(entry));
        write(id, entry.substr(text), entry.substr(flags, text - 1 - flags));
    }
    return json.end_array().text();
}

std::string bpe_json(const Tokenizer& tokenizer, const GgufHeader& header,
                     const std::vector<bool>& outside_model) {
    JsonWriter json;
    json.begin_object().member("type", "BPE").key("dropout").null();
    if (const auto unknown = tokenizer.text(tokenizer.unknown);
        unknown && !tokenizer.has_option("drop_unknown") && !tokenizer.own_model.empty()) {
        json.member("unk_token", *unknown);
    } else {
        json.key("unk_token").null();
    }
    json.key("continuing_subword_prefix").null().key("end_of_word_suffix").null();
    json.member("fuse_unk", tokenizer.has_option("fuse_unk"));
    json.member("byte_fallback", tokenizer.has_option("byte_fallback"));
    bool ignore_merges = tokenizer.has_option("ignore_merges");
    if (tokenizer.own_model.empty()) {
        const PreRule* rule = find_pre_rule(header.get_string("tokenizer.ggml.pre").value_or(""));
        ignore_merges = header.get_bool(keys::kTokenizerIgnoreMerges).value_or(rule && rule->ignore_merges);
    }
    json.member("ignore_merges", ignore_merges);
    json.key("vocab").begin_object();
    for (size_t id = 0; id < tokenizer.tokens.size(); ++id) {
        if (tokenizer.is(id, TokenType::Unused) || outside_model[id]) continue;
        json.member(tokenizer.tokens[id], id);
    }
    json.end_object().key("merges").begin_array();
    const auto merge = [&](std::string_view left, std::string_view right) {
        json.begin_array(JsonWriter::kOneLine).value(left).value(right).end_array();
    };
    for (const std::string_view text : tokenizer.merges) {
        const size_t space = text.find(' ', 1);
        if (space == std::string_view::npos)
            fail("tokenizer.ggml.merges holds '{}', no pair", printable(text));
        merge(text.substr(0, space), text.substr(space + 1));
    }
    if (tokenizer.merges.empty()) {
        for (size_t i = 0; i + 1 < tokenizer.merge_ids.size(); i += 2) {
            merge(tokenizer.tokens.at(size_t(tokenizer.merge_ids[i])),
                  tokenizer.tokens.at(size_t(tokenizer.merge_ids[i + 1])));
        }
    }
    return json.end_array().end_object().text();
}

std::string tokenizer_json(const Tokenizer& tokenizer, const GgufHeader& header) {
    for (const std::string_view option : tokenizer.options) {
        if (option.starts_with("prefix=") || option.starts_with("suffix=")) not_written(option);
    }
    std::vector<bool> outside_model(tokenizer.tokens.size());
    std::string text = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null";
    const auto add = [&](const char* key, const std::string& value) {
        text += fmt::format(",\n  \"{}\": {}", key, value);
    };
    add("added_tokens", added_tokens_json(tokenizer, outside_model));
    add("normalizer", normalizer_json(tokenizer));
    add("pre_tokenizer", pre_tokenizer_json(tokenizer, header));
    add("post_processor", post_processor_json(tokenizer));
    add("decoder", decoder_json(tokenizer));
    add("model", bpe_json(tokenizer, header, outside_model));
    return text + "\n}\n";
}

// --- tokenizer_config.json ---------------------------------------------------------------------------------

std::string tokenizer_config(const Tokenizer& tokenizer, bool is_sentencepiece) {
    JsonWriter json;
    json.begin_object();
    json.member("tokenizer_class", !is_sentencepiece            ? "PreTrainedTokenizerFast"
                                   : tokenizer.model == "llama" ? "LlamaTokenizer"
                                                                : "T5Tokenizer");
    if (is_sentencepiece && tokenizer.model == "llama") {
        json.member("add_bos_token", tokenizer.add_bos).member("add_eos_token", tokenizer.add_eos);
        json.member("add_prefix_space", tokenizer.add_space_prefix).member("legacy", false);
    }
    json.member("clean_up_tokenization_spaces", false);
    const auto token = [&](const char* key, std::optional<uint64_t> id) {
        if (const auto text = tokenizer.text(id)) json.member(key, *text);
    };
    token("bos_token", tokenizer.bos);
    token("eos_token", tokenizer.eos);
    token("pad_token", tokenizer.padding);
    token("unk_token", tokenizer.unknown);
    return json.end_object().text() + "\n";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> exported_tokenizer(const GgufHeader& header,
                                                                    Findings& findings) {
    std::vector<std::pair<std::string, std::string>> files;
    try {
        const Tokenizer tokenizer(header);
        const bool scored =
            tokenizer.own_model == "sentencepiece_bpe" ||
            (tokenizer.own_model == "unigram" && tokenizer.has_option("float32")) ||
            (tokenizer.own_model.empty() && (tokenizer.model == "llama" || tokenizer.model == "t5"));
        const bool listed =
            tokenizer.own_model == "bpe" || (tokenizer.own_model.empty() && tokenizer.model == "gpt2");
        if (scored) {
            files.emplace_back("tokenizer.model", sentencepiece_model(tokenizer, header));
        } else if (listed) {
            files.emplace_back("tokenizer.json", tokenizer_json(tokenizer, header));
        } else {
            fail("tokenizers of the kind \"{}\" are not written yet",
                 printable(tokenizer.own_model.empty() ? tokenizer.model : tokenizer.own_model));
        }
        files.emplace_back("tokenizer_config.json", tokenizer_config(tokenizer, scored));
        if (const auto chat = header.get_string("tokenizer.chat_template"))
            files.emplace_back("chat_template.jinja", std::string(*chat));
    } catch (const Error& error) {
        findings.warn("tokenizer", fmt::format("the tokenizer is left out: {}", error.what()),
                      "copy the tokenizer's files from the original checkpoint");
        files.clear();
    }
    return files;
}

}  // namespace ingot::converters
