#include "runtime/session.h"

#include <algorithm>
#include <vector>

#include "format/checksum.h"
#include "format/error.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "format/output_file.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kType = "ingot.session";  // of general.type
// Keys: the version of the layout; XXH3-128 of the model; whether positions are rotated as in contexts beyond
// the original.
constexpr std::string_view kSessionVersion = "ingot.session.version";
constexpr std::string_view kSessionModel = "ingot.session.model_xxh3_128";
constexpr std::string_view kSessionLongContext = "ingot.session.long_context";
constexpr uint32_t kVersion = 1;         // of the layout
constexpr size_t kIdentityBytes = 4096;  // of each tensor

// Whether positions of this pass are rotated as in contexts beyond the original: other keys than in short
// ones.
bool has_long_context(const ForwardPass& forward) {
    return forward.model().weights().rope_long.frequencies != nullptr &&
           forward.n_context() > forward.model().hyperparameters().rope.original_context;
}

uint64_t bytes_of(const KvCache::Content& content) {
    return row_bytes(content.type, content.row_elements) * content.n_rows;
}

GgufLayout layout_of(ForwardPass& forward, std::span<const Token> tokens) {
    const Hyperparameters& model = forward.model().hyperparameters();
    std::vector<TensorPlan> tensors{{"tokens", TensorType::I32, {tokens.size()}},
                                    {"logits", TensorType::F32, {uint64_t(model.n_vocab)}}};
    for (const KvCache::Content& content : forward.cache().contents(int64_t(tokens.size()))) {
        tensors.push_back({content.name, content.type, {content.row_elements, content.n_rows}});
    }
    Metadata metadata;
    metadata.set("general.type", kType);
    metadata.set(std::string(keys::kVersion), INGOT_VERSION);
    metadata.set(std::string(kSessionVersion), kVersion);
    metadata.set(std::string(kSessionModel), MetadataValue(model_identity(forward.model())));
    metadata.set(std::string(kSessionLongContext), has_long_context(forward));
    metadata.set(std::string(keys::kChecksums), MetadataArray{std::vector<std::string>(
                                                    tensors.size(), std::string(keys::kPendingChecksum))});
    return GgufLayout(std::move(metadata), std::move(tensors));
}

}  // namespace

std::string model_identity(const Model& model) {
    StreamingChecksum checksum;
    for (const GgufFile& file : model.file().files())
        checksum.update(file.bytes().first(size_t(file.header().data_offset())));
    for (const TensorInfo& tensor : model.file().header().tensors()) {
        const std::span<const std::byte> bytes = model.file().tensor_bytes(tensor);
        checksum.update(bytes.first(std::min(bytes.size(), kIdentityBytes)));
    }
    return checksum.hex();
}

// ---- writing ---------------------------------------------------------------------------------------------

void save_session(const std::filesystem::path& path, ForwardPass& forward, std::span<const Token> tokens) {
    const Hyperparameters& model = forward.model().hyperparameters();
    if (forward.cache().n_used() != int64_t(tokens.size()) ||
        forward.logits().size() != size_t(model.n_vocab)) {
        fail(
            "{} positions are filled and {} logits there; a session of {} tokens and {} logits was asked for",
            forward.cache().n_used(), forward.logits().size(), tokens.size(), model.n_vocab);
    }
    GgufLayout layout = layout_of(forward, tokens);
    OutputFile file(path, layout.file_size_bytes(), true);
    std::vector<std::string> checksums;
    const auto write = [&](std::span<const std::byte> bytes) {
        file.write_at(layout.tensors()[checksums.size()].offset, bytes);
        checksums.push_back(xxh3_128_hex(bytes));
    };
    write(std::as_bytes(tokens));
    write(std::as_bytes(forward.logits()));
    std::vector<std::byte> bytes;
    for (const KvCache::Content& content : forward.cache().contents(int64_t(tokens.size()))) {
        bytes.resize(size_t(bytes_of(content)));
        forward.model().backend().download(*content.buffer, bytes);
        write(bytes);
    }
    layout.metadata().set(std::string(keys::kChecksums), MetadataArray{std::move(checksums)});
    file.write_at(0, layout.encode_header());
    file.commit();
}

// ---- reading ---------------------------------------------------------------------------------------------

Session::Session(const std::filesystem::path& path) : file_(path) {
    try {
        read();
    } catch (const Error& error) {
        fail("{}: {}", path.string(), error.what());
    }
}

void Session::read() {
    const GgufHeader& header = file_.header();
    const std::string_view type = header.get_string("general.type").value_or("");
    if (type != kType)
        fail("general.type is \"{}\"; expected \"{}\": no file that --session wrote", printable(type), kType);
    const uint64_t version = header.require_uint(kSessionVersion);
    if (version != kVersion) {
        fail("is a session of version {}; this program reads version {}: remove it, to begin anew", version,
             kVersion);
    }
    check_checksums();
    const TensorInfo* tokens = header.find_tensor("tokens");
    if (tokens == nullptr) fail("tensor tokens is missing");
    if (tokens->type != TensorType::I32 || tokens->shape[0] != tokens->n_elements)
        fail("tensor tokens: is {} of {} dimensions; expected I32 of 1", ingot::name(tokens->type),
             tokens->n_dims);
    // The mapping begins at a page, and offsets are multiples of 8 bytes at least.
    tokens_ = {reinterpret_cast<const Token*>(file_.tensor_bytes(*tokens).data()),
               size_t(tokens->n_elements)};
}

void Session::check_checksums() const {
    const auto& tensors = file_.header().tensors();
    const Value* checksums = file_.header().find(keys::kChecksums);
    if (checksums == nullptr || checksums->type() != ValueType::Array ||
        checksums->element_type() != ValueType::String || checksums->count() != tensors.size()) {
        fail("key {}: is no array of {} strings, one for each tensor", keys::kChecksums, tensors.size());
    }
    size_t i = 0;
    for (const Value checksum : checksums->elements()) {
        const TensorInfo& tensor = tensors[i++];
        if (xxh3_128_hex(file_.tensor_bytes(tensor)) == checksum.as_string()) continue;
        fail(
            "tensor {}: its bytes are not those that were written (XXH3-128); remove the file, to begin anew",
            tensor.name);
    }
}

const TensorInfo& Session::require(const std::string& name, TensorType type, uint64_t row_elements,
                                   uint64_t n_rows) const {
    const TensorInfo* tensor = file_.header().find_tensor(name);
    if (tensor == nullptr) fail("tensor {} is missing", name);
    if (tensor->type != type) {
        fail("tensor {}: is {}; this run keeps {}: choose that type, or remove the file", name,
             ingot::name(tensor->type), ingot::name(type));
    }
    if (tensor->shape[0] != row_elements || tensor->shape[1] != n_rows ||
        tensor->n_elements != row_elements * n_rows) {
        fail("tensor {}: is {} × {}; the model has {} × {}", name, tensor->shape[0], tensor->shape[1],
             row_elements, n_rows);
    }
    return *tensor;
}

int64_t Session::restore(ForwardPass& forward, std::span<const Token> prompt) const {
    try {
        const std::string_view model = file_.header().get_string(kSessionModel).value_or("");
        if (const std::string expected = model_identity(forward.model()); model != expected) {
            fail("is a session of another model ({}; {} is {}): name another file, or remove it",
                 printable(model), forward.model().file().path().string(), expected);
        }
        KvCache& cache = forward.cache();
        const uint64_t n_vocab = uint64_t(forward.model().hyperparameters().n_vocab);
        const TensorInfo& logits = require("logits", TensorType::F32, n_vocab, 1);
        const std::vector<KvCache::Content> contents = cache.contents(int64_t(tokens_.size()));
        for (const KvCache::Content& content : contents)
            require(content.name, content.type, content.row_elements, content.n_rows);

        const auto [end, same] = std::ranges::mismatch(tokens_, prompt);
        int64_t n_reused = std::min<int64_t>(end - tokens_.begin(), forward.n_context());
        const bool is_all = n_reused == int64_t(tokens_.size());
        const bool is_prompt = n_reused == int64_t(prompt.size());
        if (is_prompt && !is_all) --n_reused;  // the last token is run again, for its logits
        if (cache.has_states() && !is_all) n_reused = 0;
        const bool long_context = file_.header().get_bool(kSessionLongContext).value_or(false);
        if (long_context != has_long_context(forward)) n_reused = 0;
        if (n_reused <= 0) return 0;

        for (const KvCache::Content& content : contents) {
            const TensorInfo& tensor = *file_.header().find_tensor(content.name);
            const uint64_t n_rows = content.is_state ? content.n_rows : uint64_t(n_reused);
            const size_t size_bytes = size_t(row_bytes(content.type, content.row_elements) * n_rows);
            forward.model().backend().upload(file_.tensor_bytes(tensor).first(size_bytes), *content.buffer);
        }
        cache.advance(n_reused);
        if (is_prompt && is_all) {
            const std::byte* first = file_.tensor_bytes(logits).data();
            forward.restore_logits({reinterpret_cast<const float*>(first), size_t(n_vocab)});
        }
        return n_reused;
    } catch (const Error& error) {
        fail("{}: {}", file_.path().string(), error.what());
    }
}

}  // namespace ingot::runtime
