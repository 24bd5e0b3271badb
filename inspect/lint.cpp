#include "inspect/lint.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <unordered_map>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "inspect/selection.h"
#include "inspect/summary.h"
#include "inspect/value_text.h"

namespace ingot::inspect {

namespace {

constexpr size_t kMaxPortableName = 63;  // bytes; llama.cpp ends names with a NUL in 64

class Linter {
  public:
    explicit Linter(const GgufModel& model) : model_(model), header_(model.header()) {}

    std::vector<Finding> run() {
        const Value* type = header_.find("general.type");
        const bool is_model = !type || type->type() != ValueType::String || type->as_string() == "model";
        // A later shard that is looked at alone has no keys but those of the split.
        const Value* shard = header_.find("split.no");
        const bool is_first = model_.files().size() > 1 || !shard || !is_count(*shard);
        if (!header_.tensors().empty() && is_model && is_first) check_keys();
        check_checksum_keys();
        check_tokenizer();
        check_templates();
        check_tensors();
        for (const GgufFile& file : model_.files()) check_layout(file);
        return std::move(findings_);
    }

  private:
    template <typename... Args>
    void add(Severity severity, std::string_view code, std::string_view subject,
             fmt::format_string<Args...> format, Args&&... args) {
        findings_.push_back(
            {severity, code, std::string(subject), fmt::format(format, std::forward<Args>(args)...)});
    }

    // --- Keys ----------------------------------------------------------------------------------------------

    void check_keys() {
        const Value* architecture = header_.find("general.architecture");
        if (!architecture || architecture->type() != ValueType::String) {
            return add(Severity::Warning, "missing-key", "general.architecture",
                       "is not there, or no string; no program knows how to run this model");
        }
        const std::string prefix(architecture->as_string());
        for (const char* key : {".block_count", ".context_length", ".embedding_length"}) {
            const Value* value = header_.find(prefix + key);
            if (!value) {
                add(Severity::Error, "missing-key", prefix + key, "is not there");
            } else if (!is_count(*value)) {
                add(Severity::Error, "key-type", prefix + key, "is {} {}; expected a number above 0",
                    type_text(*value), escaped(value_text(*value), 40));
            }
        }
        check_blocks(prefix + ".block_count");
        check_file_type();
    }

    static bool is_integer(const Value& value) {
        return value.type() != ValueType::Float32 && value.type() != ValueType::Float64 &&
               value.type() != ValueType::Bool && value.type() != ValueType::String &&
               value.type() != ValueType::Array;
    }
    static bool is_count(const Value& value) { return is_integer(value) && value.as_float() > 0; }

    /// A shard that is looked at alone has some of the blocks only.
    bool is_whole() const {
        const Value* n_shards = header_.find("split.count");
        return model_.files().size() > 1 || !n_shards || !is_count(*n_shards) || n_shards->as_uint() == 1;
    }

    void check_blocks(const std::string& key) {
        const Value* value = header_.find(key);
        if (!value || !is_count(*value)) return;
        std::set<uint64_t> blocks;
        for (const TensorInfo& tensor : header_.tensors())
            if (const auto block = block_of(tensor.name)) blocks.insert(*block);
        if (blocks.empty()) return;
        const uint64_t expected = value->as_uint();
        if (*blocks.rbegin() >= expected) {
            add(Severity::Error, "block-count", key, "is {}, but there are tensors of block {}", expected,
                *blocks.rbegin());
        } else if (is_whole() && blocks.size() < expected) {
            uint64_t missing = 0;
            while (blocks.contains(missing)) ++missing;
            add(Severity::Error, "block-count", key, "is {}, but there are no tensors of block {}", expected,
                missing);
        }
    }

    /// The type that most matrices have, by bytes, beside the one that general.file_type names.
    void check_file_type() {
        const Value* value = header_.find("general.file_type");
        if (!value || !is_count(*value) || !is_whole()) return;
        const std::string_view mix = file_type_name(value->as_uint());
        if (mix.empty()) {
            return add(Severity::Warning, "file-type", "general.file_type",
                       "is {}, a number without a meaning", value->as_uint());
        }
        // "Q4_K_M" -> "Q4_K"; mixes without a type of their name (IQ3_XS, IQ2_M …) say nothing.
        std::string_view base = mix;
        if (!parse_tensor_type(base) && base.size() > 2) base.remove_suffix(2);
        const auto type = parse_tensor_type(base);
        if (!type) return;
        const auto tensors = select(header_, {});
        if (!std::ranges::any_of(tensors, [&](const TensorInfo* tensor) { return tensor->type == *type; })) {
            add(Severity::Warning, "file-type", "general.file_type",
                "is {} ({}), but no tensor is {}; most bytes are {}", value->as_uint(), mix,
                ingot::name(*type), ingot::name(shares_by_type(tensors).front().type));
        }
    }

    void check_checksum_keys() {
        if (header_.tensors().empty()) return;
        for (const GgufFile& file : model_.files()) {
            if (file.header().tensors().empty() || file.header().find(keys::kChecksums)) continue;
            add(Severity::Note, "no-checksums", file.path().filename().string(),
                "the bytes themselves cannot be checked; `ingot convert` and `ingot quantize` write "
                "checksums");
        }
    }

    // --- Tokenizer -----------------------------------------------------------------------------------------

    void check_tokenizer() {
        const Value* tokens = header_.find("tokenizer.ggml.tokens");
        if (!tokens) {
            if (header_.find("tokenizer.ggml.model") && !header_.tensors().empty())
                add(Severity::Error, "missing-key", "tokenizer.ggml.tokens", "is not there");
            return;
        }
        if (tokens->type() != ValueType::Array || tokens->element_type() != ValueType::String) {
            return add(Severity::Error, "key-type", "tokenizer.ggml.tokens",
                       "is {}; expected array of string", type_text(*tokens));
        }
        const uint64_t n_tokens = tokens->count();
        for (const char* key : {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}) {
            const Value* value = header_.find(key);
            if (value && (value->type() != ValueType::Array || value->count() != n_tokens)) {
                add(Severity::Error, "vocabulary-length", key, "has {} elements for {} tokens",
                    value->type() == ValueType::Array ? value->count() : 1, n_tokens);
            }
        }
        for (const KeyValue& entry : header_.metadata()) {
            if (!entry.key.starts_with("tokenizer.ggml.") || !entry.key.ends_with("_token_id")) continue;
            if (!is_integer(entry.value)) {
                add(Severity::Error, "key-type", entry.key, "is {}; expected an integer",
                    type_text(entry.value));
            } else if (entry.value.as_float() < 0 || entry.value.as_float() >= double(n_tokens)) {
                add(Severity::Error, "special-token", entry.key, "is {}, but there are {} tokens",
                    value_text(entry.value), n_tokens);
            }
        }
        check_duplicate_tokens(*tokens);
        const TensorInfo* embedding = header_.find_tensor("token_embd.weight");
        if (embedding && embedding->n_rows() < n_tokens) {
            add(Severity::Error, "vocabulary-length", embedding->name,
                "has rows for {} tokens, but the vocabulary has {}", embedding->n_rows(), n_tokens);
        } else if (embedding && embedding->n_rows() > n_tokens) {
            add(Severity::Warning, "vocabulary-length", embedding->name,
                "has rows for {} tokens, but the vocabulary has only {}", embedding->n_rows(), n_tokens);
        }
    }

    void check_duplicate_tokens(const Value& tokens) {
        std::unordered_map<std::string_view, uint64_t> ids;
        ids.reserve(tokens.count());
        uint64_t id = 0, n_duplicates = 0;
        std::string first;
        for (const Value token : tokens.elements()) {
            const auto [place, is_new] = ids.emplace(token.as_string(), id);
            if (!is_new && n_duplicates++ == 0) {
                first = fmt::format("tokens {} and {} are both \"{}\"", place->second, id,
                                    escaped(token.as_string(), 40));
            }
            ++id;
        }
        if (n_duplicates == 0) return;
        add(Severity::Warning, "duplicate-token", "tokenizer.ggml.tokens", "{}{}", first,
            n_duplicates > 1 ? fmt::format("; {} duplicates in all", n_duplicates) : "");
    }

    void check_templates() {
        for (const KeyValue& entry : header_.metadata()) {
            if (!entry.key.starts_with("tokenizer.chat_template") || entry.value.type() != ValueType::String)
                continue;
            if (const std::string problem = template_problem(entry.value.as_string()); !problem.empty())
                add(Severity::Error, "chat-template", entry.key, "{}", problem);
        }
    }

    // --- Tensors -------------------------------------------------------------------------------------------

    void check_tensors() {
        for (const TensorInfo& tensor : header_.tensors()) {
            if (tensor.name.size() > kMaxPortableName) {
                add(Severity::Warning, "long-name", tensor.name,
                    "its name has {} bytes; llama.cpp reads at most {}", tensor.name.size(),
                    kMaxPortableName);
            }
            if (tensor.n_elements == 0)
                add(Severity::Warning, "empty-tensor", tensor.name, "has no elements");
            if (!info(tensor.type).decodable) {
                add(Severity::Warning, "undecodable-type", tensor.name,
                    "{} cannot be decoded by this version", ingot::name(tensor.type));
            }
        }
    }

    /// llama.cpp and the gguf package want tensors in the order of the list, without gaps but padding.
    void check_layout(const GgufFile& file) {
        const GgufHeader& header = file.header();
        const std::string subject = file.path().filename().string();
        const uint64_t alignment = header.alignment();
        const auto align = [&](uint64_t offset) { return (offset + alignment - 1) / alignment * alignment; };
        uint64_t expected = header.data_offset();
        const auto& tensors = header.tensors();
        bool in_order = true;
        for (const TensorInfo& tensor : tensors) {
            if (tensor.offset != expected && in_order) {
                in_order = false;
                add(Severity::Warning, "layout", tensor.name,
                    "lies at byte {}, not at byte {} behind the tensor before it; llama.cpp refuses such "
                    "files",
                    grouped(tensor.offset), grouped(expected));
            }
            expected = align(tensor.offset + tensor.size_bytes);
        }
        uint64_t end = header.data_offset();
        for (const TensorInfo& tensor : tensors) end = std::max(end, tensor.offset + tensor.size_bytes);
        const uint64_t size_bytes = file.bytes().size();
        if (!tensors.empty() && size_bytes > align(end)) {
            add(Severity::Warning, "trailing-bytes", subject, "{} bytes follow the last tensor's padding",
                grouped(size_bytes - align(end)));
        } else if (!tensors.empty() && size_bytes < align(end)) {
            add(Severity::Note, "short-padding", subject,
                "ends {} bytes before the last tensor's padding does; old versions of llama.cpp refuse that",
                align(end) - size_bytes);
        }
        if (in_order) check_padding(file, subject);
    }

    void check_padding(const GgufFile& file, const std::string& subject) {
        const uint64_t alignment = file.header().alignment();
        for (const TensorInfo& tensor : file.header().tensors()) {
            const uint64_t begin = tensor.offset + tensor.size_bytes;
            const uint64_t end =
                std::min<uint64_t>((begin + alignment - 1) / alignment * alignment, file.bytes().size());
            if (std::ranges::all_of(file.bytes().subspan(begin, end - begin),
                                    [](std::byte byte) { return byte == std::byte{0}; }))
                continue;
            return add(Severity::Note, "padding", subject, "padding behind tensor {} is not all zeros",
                       escaped(tensor.name));
        }
    }

    const GgufModel& model_;
    const GgufHeader& header_;
    std::vector<Finding> findings_;
};

}  // namespace

std::string_view name(Severity severity) {
    constexpr std::array<std::string_view, 3> kNames = {"note", "warning", "error"};
    return kNames[size_t(severity)];
}

std::vector<Finding> lint(const GgufModel& model) {
    return Linter(model).run();
}

}  // namespace ingot::inspect
