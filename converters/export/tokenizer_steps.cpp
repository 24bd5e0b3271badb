#include "converters/export/tokenizer_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <span>

#include "converters/vocabulary/base64.h"
#include "converters/vocabulary/oniguruma.h"
#include "converters/vocabulary/tokenizer_steps.h"
#include "format/error.h"
#include "format/json_writer.h"
#include "format/pre_rules.h"

namespace ingot::converters {

namespace {

using Steps = std::span<const std::string>;

/// Objects of one list, or null when there are none.
class StepList {
  public:
    JsonWriter& add(std::string_view type) {
        return list_.emplace_back().begin_object(JsonWriter::kOneLine).member("type", type);
    }
    /// The object itself, or {"type": "Sequence", key: [...]} of several.
    std::string text(std::string_view key) {
        if (list_.empty()) return "null";
        std::vector<std::string> texts;
        for (JsonWriter& step : list_) texts.push_back(step.end_object().text());
        if (texts.size() == 1) return texts.front();
        return fmt::format("{{\"type\": \"Sequence\", \"{}\": [{}]}}", key, fmt::join(texts, ", "));
    }

  private:
    std::vector<JsonWriter> list_;
};

[[noreturn]] void not_written(std::string_view step) {
    fail("its step \"{}\" has no form in tokenizer.json", printable(step));
}

void write_pattern(JsonWriter& json, std::string_view pcre2) {
    json.key("pattern").begin_object(JsonWriter::kOneLine);
    json.member("Regex", oniguruma_pattern(pcre2)).end_object();
}

void add_replace(StepList& list, std::string_view pattern, std::string_view content) {
    JsonWriter& json = list.add("Replace");
    write_pattern(json, pattern);
    json.member("content", content);
}

void add_byte_level(StepList& list, bool add_prefix_space, bool use_regex) {
    list.add("ByteLevel")
        .member("add_prefix_space", add_prefix_space)
        .member("trim_offsets", true)
        .member("use_regex", use_regex);
}

// --- Normalizers -------------------------------------------------------------------------------------------

/// Steps of BERT's normalizer at the front of `steps`, as one object; how many they are. None unless there is
/// one that only BERT's has.
size_t add_bert_normalizer(Steps steps, StepList& list) {
    size_t n = 0;
    const auto take = [&](std::string_view step) {
        const bool found = n < steps.size() && steps[n] == step;
        n += found;
        return found;
    };
    const bool clean = take("clean_text");
    const bool han = take("space_han");
    const bool strip = n + 1 < steps.size() && steps[n] == "nfd" && steps[n + 1] == "strip_nonspacing_marks";
    if (strip) n += 2;
    if (!clean && !han && !strip) return 0;
    const bool lowercase = take("lowercase");
    list.add("BertNormalizer")
        .member("clean_text", clean)
        .member("handle_chinese_chars", han)
        .member("strip_accents", strip)
        .member("lowercase", lowercase);
    return n;
}

void add_normalizer(const TokenizerKeys& tokenizer, std::string_view step, StepList& list) {
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
    const auto parts = parts_of_step(step, 2);
    if (const auto plain = kPlain.find(step); plain != kPlain.end()) {
        list.add(plain->second);
    } else if (parts[0] == "prepend" && parts.size() > 1) {
        list.add("Prepend").member("prepend", parts_of_step(step, 1)[1]);
    } else if (parts[0] == "replace" && parts.size() == 3) {
        add_replace(list, parts[1], parts[2]);
    } else if (parts[0] == "strip" && parts.size() == 2) {
        list.add("Strip").member("strip_left", parts[1] != "right").member("strip_right", parts[1] != "left");
    } else if (step == "charsmap") {
        list.add("Precompiled").member("precompiled_charsmap", encode_base64(tokenizer.charsmap));
    } else {
        not_written(step);
    }
}

// --- Pre-tokenizers ----------------------------------------------------------------------------------------

/// Writes the steps one after the other; some objects of tokenizer.json are two steps.
class PreTokenizers {
  public:
    /// `ends_in_bytes`: the model works on bytes, into which the last step turns the text.
    PreTokenizers(Steps steps, bool ends_in_bytes) : steps_(steps), ends_in_bytes_(ends_in_bytes) {}

    std::string run() {
        while (at_ < steps_.size()) add_next();
        if (ends_in_bytes_ && !has_bytes_) add_byte_level(list_, false, false);
        return list_.text("pretokenizers");
    }

  private:
    bool take(std::string_view step) {
        const bool found = at_ < steps_.size() && steps_[at_] == step;
        at_ += found;
        return found;
    }

    void add_next() {
        static const std::string kGpt2Split = split_step("isolated", kGpt2Pattern);
        const std::string& step = steps_[at_++];
        const auto parts = parts_of_step(step, 2);
        if (step == "prefix_space") {
            // Only the object that turns text into bytes adds a space.
            const bool use_regex = take(kGpt2Split);
            if (at_ < steps_.size() && steps_[at_] != "byte_level") not_written(steps_[at_]);
            take("byte_level");
            add_bytes(true, use_regex);
        } else if (step == kGpt2Split &&
                   (take("byte_level") || (at_ == steps_.size() && ends_in_bytes_ && !has_bytes_))) {
            add_bytes(false, true);
        } else if (step == "byte_level") {
            add_bytes(false, false);
        } else if (step == "split\tremoved\t\\s+") {
            list_.add(take("punctuation\tisolated") ? "BertPreTokenizer" : "WhitespaceSplit");
        } else if (parts[0] == "split" && parts.size() == 3) {
            add_split(parts[1], parts[2]);
        } else if (parts[0] == "punctuation" && parts.size() == 2) {
            list_.add("Punctuation").member("behavior", behavior(parts[1]));
        } else if (parts[0] == "metaspace" && parts.size() == 3) {
            JsonWriter& json = list_.add("Metaspace");
            json.member("replacement", parts[2]).member("prepend_scheme", parts[1]);
            json.member("split", take(split_step("with_next", quoted_pattern(parts[2]))));
        } else if (parts[0] == "fixed_length" && parts.size() == 2) {
            uint64_t length = 0;
            std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), length);
            list_.add("FixedLength").member("length", length);
        } else {
            not_written(step);
        }
    }

    void add_bytes(bool add_prefix_space, bool use_regex) {
        add_byte_level(list_, add_prefix_space, use_regex);
        has_bytes_ = true;
    }

    void add_split(std::string_view name, std::string_view pattern) {
        const bool inverts = name.starts_with("not_");
        JsonWriter& json = list_.add("Split");
        write_pattern(json, pattern);
        json.member("behavior", behavior(inverts ? name.substr(4) : name)).member("invert", inverts);
    }

    static std::string_view behavior(std::string_view name) {
        static const std::map<std::string_view, std::string_view> kBehaviors = {
            {"isolated", "Isolated"},        {"removed", "Removed"},
            {"contiguous", "Contiguous"},    {"with_previous", "MergedWithPrevious"},
            {"with_next", "MergedWithNext"},
        };
        const auto known = kBehaviors.find(name);
        if (known == kBehaviors.end()) not_written(name);
        return known->second;
    }

    Steps steps_;
    bool ends_in_bytes_;
    size_t at_ = 0;
    bool has_bytes_ = false;  // some step has turned text into bytes
    StepList list_;
};

}  // namespace

std::string normalizer_json(const TokenizerKeys& tokenizer) {
    StepList list;
    const Steps steps = tokenizer.normalizers;
    for (size_t at = 0; at < steps.size();) {
        if (const size_t n = add_bert_normalizer(steps.subspan(at), list)) {
            at += n;
        } else {
            add_normalizer(tokenizer, steps[at++], list);
        }
    }
    return list.text("normalizers");
}

std::string pre_tokenizer_json(const TokenizerKeys& tokenizer) {
    const bool are_bytes =
        std::ranges::find(tokenizer.normalizers, "byte_level") != tokenizer.normalizers.end();
    return PreTokenizers(tokenizer.pre_tokenizers, tokenizer.has_option("byte_level") && !are_bytes).run();
}

std::string decoder_json(const TokenizerKeys& tokenizer) {
    StepList list;
    for (const std::string& step : tokenizer.decoders) {
        const auto parts = parts_of_step(step, 2);
        if (step == "byte_level") {
            add_byte_level(list, true, true);
        } else if (step == "byte_fallback") {
            list.add("ByteFallback");
            list.add("Fuse");
        } else if (parts[0] == "replace" && parts.size() == 3) {
            add_replace(list, parts[1], parts[2]);
        } else if (parts[0] == "metaspace" && parts.size() == 3) {
            list.add("Metaspace")
                .member("replacement", parts[2])
                .member("prepend_scheme", parts[1])
                .member("split", true);
        } else if (step == "strip\tleft") {
            list.add("Strip").member("content", " ").member("start", 1).member("stop", 0);
        } else if (parts[0] == "suffix" && parts.size() == 2) {
            list.add("BPEDecoder").member("suffix", parts[1]);
        } else if (parts[0] == "word_piece" && parts.size() == 2) {
            list.add("WordPiece").member("prefix", parts[1]).member("cleanup", false);
        } else if (step != "separate") {  // what the library does without a decoder
            not_written(step);
        }
    }
    return list.text("decoders");
}

}  // namespace ingot::converters
