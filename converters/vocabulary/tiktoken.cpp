#include "converters/vocabulary/tiktoken.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <unordered_map>

#include "converters/vocabulary/base64.h"
#include "converters/vocabulary/json_document.h"
#include "converters/vocabulary/oniguruma.h"
#include "converters/vocabulary/tokenizer_steps.h"
#include "format/byte_alphabet.h"
#include "format/error.h"
#include "format/mapped_file.h"
#include "format/pre_rules.h"

namespace ingot::converters {
namespace {

constexpr size_t kMaxTokenBytes = 1024;  // every way to cut a token in two is tried

/// Byte strings in rank order; a token's id is its rank.
using Ranks = std::vector<std::pair<std::string, uint32_t>>;

std::string in_alphabet(std::string_view bytes) {
    std::string text;
    append_in_alphabet(text, bytes);
    return text;
}

/// Calls use(line, its number) for every line that is not empty.
template <typename Use>
void for_each_line(std::string_view text, const Use& use) {
    for (size_t number = 1; !text.empty(); ++number) {
        const size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (!line.empty()) use(line, number);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

/// The description of a ranked list: two neighbours become one token whenever their joined bytes are one, the
/// lowest rank first. As merges: for each token every pair of tokens that makes it.
TokenizerJson from_ranks(const Ranks& ranks, const std::string& file) {
    TokenizerJson result;
    result.model_type = "BPE";
    result.ignore_merges = true;  // a piece that is in the list is that token
    result.is_byte_level = true;
    result.decoders = {"byte_level"};
    std::unordered_map<std::string_view, uint32_t> rank_of;
    std::vector<const Ranks::value_type*> in_order;
    for (const auto& entry : ranks) {
        const auto& [bytes, rank] = entry;
        if (bytes.empty() || bytes.size() > kMaxTokenBytes)
            fail("{}: token {} has {} bytes, expected 1 to {}", file, rank, bytes.size(), kMaxTokenBytes);
        const auto [earlier, is_new] = rank_of.emplace(bytes, rank);
        if (!is_new)
            fail("{}: tokens {} and {} have the same bytes; the file is damaged", file, earlier->second,
                 rank);
        result.vocabulary.emplace_back(in_alphabet(bytes), rank);
        in_order.push_back(&entry);
    }
    std::sort(in_order.begin(), in_order.end(), [](auto* a, auto* b) { return a->second < b->second; });
    const auto twice = std::adjacent_find(in_order.begin(), in_order.end(),
                                          [](auto* a, auto* b) { return a->second == b->second; });
    if (twice != in_order.end())
        fail("{}: two tokens have the rank {}; the file is damaged", file, (*twice)->second);
    std::vector<std::pair<std::pair<uint32_t, uint32_t>, size_t>> ways;  // ranks of both halves, where to cut
    for (const auto* entry : in_order) {
        const std::string_view bytes = entry->first;
        ways.clear();
        for (size_t cut = 1; cut < bytes.size(); ++cut) {
            const auto left = rank_of.find(bytes.substr(0, cut)), right = rank_of.find(bytes.substr(cut));
            if (left != rank_of.end() && right != rank_of.end())
                ways.push_back({{left->second, right->second}, cut});
        }
        std::sort(ways.begin(), ways.end());
        for (const auto& [halves, cut] : ways)
            result.merges.emplace_back(in_alphabet(bytes.substr(0, cut)), in_alphabet(bytes.substr(cut)));
    }
    return result;
}

/// Lines "BASE64 RANK".
TokenizerJson read_tiktoken(const std::string& file) {
    const VocabularyFile opened(file);
    Ranks ranks;
    for_each_line(opened.text(), [&](std::string_view line, size_t number) {
        const size_t space = line.find(' ');
        uint32_t rank = 0;
        const auto bytes = decode_base64(line.substr(0, space));
        bool has_rank = space != std::string_view::npos;
        if (has_rank) {
            const char* end = line.data() + line.size();
            const auto parsed = std::from_chars(line.data() + space + 1, end, rank);
            has_rank = parsed.ec == std::errc() && parsed.ptr == end && rank < INT32_MAX;
        }
        if (!bytes || !has_rank) {
            fail("{}: line {} is '{}', expected base64 and a whole number below {}; the file is damaged",
                 file, number, line.substr(0, 64), INT32_MAX);
        }
        ranks.emplace_back(std::string(bytes->begin(), bytes->end()), rank);
    });
    return from_ranks(ranks, file);
}

/// tekken.json: {"config": {"pattern": …, "default_vocab_size": N, "default_num_special_tokens": M}, "vocab":
/// [{"rank": 0, "token_bytes": BASE64}, …], "special_tokens": [{"rank": 0, "token_str": "<s>"}, …]}. Ids are
/// ranks behind the special tokens.
TokenizerJson read_tekken(const std::string& file) {
    const JsonDocument document(VocabularyFile(file).text(), file);
    const dom::element root = document.root();
    const auto config = member(root, "config");
    const auto pattern = config ? pcre2_pattern(text_of(*config, "pattern")) : std::nullopt;
    if (!pattern || pattern->empty())
        fail(
            "{}: has no config.pattern that can be read, the rule by which text is split; the file is "
            "damaged",
            file);
    const uint64_t n_tokens = number_of(*config, "default_vocab_size").value_or(0);
    const uint64_t n_special = number_of(*config, "default_num_special_tokens").value_or(0);
    if (n_special >= n_tokens || n_tokens > INT32_MAX)
        fail("{}: config names {} tokens, {} of them special; the file is damaged", file, n_tokens,
             n_special);
    Ranks ranks;
    for_each(root, "vocab", [&](dom::element token) {
        const uint64_t rank = ranks.size();
        if (rank >= n_tokens - n_special) return;  // the list is longer than the model's vocabulary
        const auto bytes = decode_base64(text_of(token, "token_bytes"));
        if (!bytes || bytes->empty() || number_of(token, "rank") != rank)
            fail("{}: vocab[{}] has no token_bytes, or another rank; the file is damaged", file, rank);
        ranks.emplace_back(std::string(bytes->begin(), bytes->end()), uint32_t(rank + n_special));
    });
    if (ranks.size() != n_tokens - n_special) {
        fail("{}: vocab lists {} tokens, config asks for {} besides {} special ones; the file is truncated",
             file, ranks.size(), n_tokens - n_special, n_special);
    }
    TokenizerJson result = from_ranks(ranks, file);
    result.pre_tokenizers = {split_step("isolated", canonical_pattern(*pattern))};
    std::vector<std::string> specials(n_special);
    for_each(root, "special_tokens", [&](dom::element token) {
        const uint64_t rank = number_of(token, "rank").value_or(n_special);
        if (rank < n_special) specials[rank] = text_of(token, "token_str");
    });
    const char* const kUsual[] = {"<unk>", "<s>", "</s>"};
    for (uint32_t id = 0; id < n_special; ++id) {
        std::string& text = specials[id];
        if (text.empty()) text = id < 3 ? kUsual[id] : fmt::format("<SPECIAL_{}>", id);
        result.added_tokens.push_back({id, text, true});
    }
    return result;
}

/// GPT-2's: vocab.json is {"token": id, …}, merges.txt a line "left right" for each merge.
TokenizerJson read_vocab_and_merges(const TokenizerFiles& files, const std::string& file) {
    const JsonDocument document(VocabularyFile(file).text(), file);
    dom::object tokens;
    if (document.root().get(tokens)) fail("{}: is not an object of tokens and ids", file);
    TokenizerJson result;
    for (const auto& [text, value] : tokens)
        result.vocabulary.emplace_back(std::string(text), read_token_id(value, text, file));
    const std::string merges_file = files.path("merges.txt");
    const VocabularyFile merges(merges_file);
    for_each_line(merges.text(), [&](std::string_view line, size_t number) {
        if (number == 1 && line.starts_with("#version")) return;
        const size_t space = line.find(' ', 1);
        if (space == std::string_view::npos || space + 1 == line.size())
            fail("{}: line {} is no pair of texts, \"left right\"; the file is damaged", merges_file, number);
        result.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
    });
    result.model_type = "BPE";
    result.is_byte_level = true;
    result.decoders = {"byte_level"};
    return result;
}

/// The class that loads the tokenizer in Python, or the model's type: "Qwen2Tokenizer", "llama".
std::string configured(const TokenizerFiles& files, const char* key) {
    const std::optional<Json>& file =
        key == std::string_view("model_type") ? files.config : files.tokenizer_config;
    return file ? file->get_string(key).value_or("") : "";
}

/// These forms do not say how text is split: it is in the code that comes with the model. By the names of
/// files and families, the rule (format/pre_rules.h) that the code has.
void set_known_rule(const TokenizerFiles& files, const std::string& file, TokenizerJson& result) {
    struct Known {
        std::string_view name, rule;
        bool nfc = false;
    };
    constexpr Known kKnown[] = {
        {"qwen.tiktoken", "qwen2", true},
        {"Qwen2Tokenizer", "qwen2", true},
        {"QWenTokenizer", "qwen2", true},
        {"o200k_base.tiktoken", "gpt-4o"},
        {"o200k_harmony.tiktoken", "gpt-4o"},
        {"cl100k_base.tiktoken", "smaug-bpe"},
        {"gpt2.tiktoken", "gpt-2"},
        {"r50k_base.tiktoken", "gpt-2"},
        {"p50k_base.tiktoken", "gpt-2"},
        {"ChatGLM4Tokenizer", "glm4"},
        {"TikTokenTokenizer", "kimi-k2"},
        {"kimi_k2", "kimi-k2"},
        {"deepseek_v3", "kimi-k2"},  // tiktoken.model beside this type: Kimi
        {"llama", "llama-bpe"},
        {"mllama", "llama-bpe"},
        {"llama4", "gpt-4o"},
        {"GPT2Tokenizer", "gpt-2"},
        {"GPT2TokenizerFast", "gpt-2"},
        {"CodeGenTokenizer", "gpt-2"},
        {"RobertaTokenizer", "gpt-2"},
        {"BartTokenizer", "gpt-2"},
        {"gpt2", "gpt-2"},
        {"opt", "gpt-2"},
        {"gpt_neo", "gpt-2"},
        {"gptj", "gpt-2"},
        {"roberta", "gpt-2"},
        {"phi", "gpt-2"},
        {"qwen", "qwen2", true},
        {"qwen2", "qwen2", true},
    };
    const std::string names[] = {std::filesystem::path(file).filename().string(),
                                 configured(files, "tokenizer_class"), configured(files, "model_type")};
    for (const std::string& name : names) {
        for (const Known& known : kKnown) {
            if (name != known.name) continue;
            if (known.nfc) result.normalizers = {"nfc"};
            for (const std::string_view pattern : find_pre_rule(known.rule)->patterns)
                result.pre_tokenizers.push_back(split_step("isolated", pattern));
            return;
        }
    }
    fail(
        "{}: does not say how it splits text, and the rule of '{}' (tokenizer_class) and '{}' (model_type) "
        "is not "
        "known here; put the checkpoint's tokenizer.json beside it",
        file, names[1], names[2]);
}

}  // namespace

bool is_tiktoken(std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                                std::min<size_t>(bytes.size(), 256));
    const size_t space = text.find(' ');
    return space != std::string_view::npos && space > 0 && space + 1 < text.size() &&
           text[space + 1] >= '0' && text[space + 1] <= '9' &&
           decode_base64(text.substr(0, space)).has_value();
}

std::optional<TokenizerJson> read_other_forms(const TokenizerFiles& files, std::string& file) {
    std::optional<TokenizerJson> result;
    std::vector<std::string> candidates{"tokenizer.model", "tiktoken.model"};
    for (const auto& entry : std::filesystem::directory_iterator(files.folder)) {
        if (entry.path().extension() == ".tiktoken") candidates.push_back(entry.path().filename().string());
    }
    std::sort(candidates.begin() + 2, candidates.end());
    for (const std::string& name : candidates) {
        if (!files.has(name.c_str()) || !is_tiktoken(MappedFile(files.path(name.c_str())).bytes())) continue;
        file = files.path(name.c_str());
        result = read_tiktoken(file);
        set_known_rule(files, file, *result);
        return result;
    }
    if (files.has("tekken.json")) {
        file = files.path("tekken.json");
        return read_tekken(file);
    }
    if (files.has("vocab.json") && files.has("merges.txt")) {
        file = files.path("vocab.json");
        result = read_vocab_and_merges(files, file);
        set_known_rule(files, file, *result);
        if (files.tokenizer_config && files.tokenizer_config->get_bool("add_prefix_space").value_or(false)) {
            result->adds_space_prefix = true;
            result->pre_tokenizers.insert(result->pre_tokenizers.begin(), "prefix_space");
        }
    }
    return result;
}

}  // namespace ingot::converters
