#include "converters/sources/llama2c.h"

#include <cstring>
#include <optional>

#include "converters/rows/transforms.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

// version 0:     int32 dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
//                (a negative vocab_size says that the output has weights of its own), then floats
// version 1, 2:  int32 0x616b3432 ("ak42"), version, those seven, uint8 shared; version 2: int32 group_size;
//                zeros up to byte 256, then floats, or int8 and a float for each group
constexpr uint32_t kMagic = 0x616b3432;
constexpr uint64_t kOldHeaderBytes = 7 * 4, kHeaderBytes = 256;
constexpr uint64_t kSharedAt = 36, kGroupAt = 37;

struct Header {
    uint32_t version = 0;
    uint64_t hidden = 0, feed_forward = 0, n_layers = 0, n_heads = 0, n_kv_heads = 0, vocabulary = 0,
             context = 0;
    uint64_t group = 0;  // elements; version 2
    bool shared = false;
    uint64_t head() const { return hidden / n_heads; }
    uint64_t kv_width() const { return head() * n_kv_heads; }
};

int32_t int_at(std::span<const std::byte> file, uint64_t at) {
    int32_t value;
    std::memcpy(&value, file.data() + at, sizeof(value));
    return value;
}

/// What is wrong with the header; empty when it makes sense.
std::string read_header(std::span<const std::byte> file, Header& header) {
    if (file.size() < kOldHeaderBytes) return "the file is shorter than a header";
    uint64_t at = 0;
    if (uint32_t(int_at(file, 0)) == kMagic) {
        if (file.size() < kHeaderBytes) return "the file is shorter than a header";
        header.version = uint32_t(int_at(file, 4));
        if (header.version != 1 && header.version != 2)
            return fmt::format("version {}; 0, 1 and 2 are known", header.version);
        at = 8;
    }
    uint64_t* const fields[] = {&header.hidden,     &header.feed_forward, &header.n_layers, &header.n_heads,
                                &header.n_kv_heads, &header.vocabulary,   &header.context};
    header.shared = true;
    for (uint64_t* field : fields) {
        int64_t value = int_at(file, at);
        if (field == &header.vocabulary && header.version == 0 && value < 0) {
            value = -value;
            header.shared = false;
        }
        // Products of any three, in bytes, stay below 2⁶⁴.
        constexpr int64_t kMost = 1 << 20;
        if (value <= 0 || value > kMost) return fmt::format("a dimension of {}", value);
        *field = uint64_t(value);
        at += 4;
    }
    if (header.version > 0) header.shared = file[kSharedAt] != std::byte{0};
    if (header.version == 2) {
        const int32_t group = int_at(file, kGroupAt);
        if (group <= 0 || header.hidden % uint64_t(group) != 0 || header.feed_forward % uint64_t(group) != 0)
            return fmt::format("groups of {} elements in rows of {} and {}", group, header.hidden,
                               header.feed_forward);
        header.group = uint64_t(group);
    }
    if (header.hidden % header.n_heads != 0 || header.head() % 2 != 0 ||
        header.n_heads % header.n_kv_heads != 0) {
        return fmt::format("{} elements, {} heads and {} key-value heads", header.hidden, header.n_heads,
                           header.n_kv_heads);
    }
    return "";
}

/// One kind of tensor, in the order of the file: a tensor of each layer, or one of all.
struct Part {
    const char* name;  // "{}" is the layer
    uint64_t columns = 0, n_rows = 0;
    bool per_layer = true;
    bool matrix = true;  // quantized in version 2
    uint64_t n_elements() const { return columns * n_rows; }
};

std::vector<Part> parts_of(const Header& h) {
    const Part embedding{"model.embed_tokens.weight", h.hidden, h.vocabulary, false};
    const Part attention_norm{"model.layers.{}.input_layernorm.weight", h.hidden, 1, true, false};
    const Part ffn_norm{"model.layers.{}.post_attention_layernorm.weight", h.hidden, 1, true, false};
    const Part norm{"model.norm.weight", h.hidden, 1, false, false};
    const Part attention[] = {{"model.layers.{}.self_attn.q_proj.weight", h.hidden, h.hidden},
                              {"model.layers.{}.self_attn.k_proj.weight", h.hidden, h.kv_width()},
                              {"model.layers.{}.self_attn.v_proj.weight", h.hidden, h.kv_width()},
                              {"model.layers.{}.self_attn.o_proj.weight", h.hidden, h.hidden}};
    const Part feed_forward[] = {{"model.layers.{}.mlp.gate_proj.weight", h.hidden, h.feed_forward},
                                 {"model.layers.{}.mlp.down_proj.weight", h.feed_forward, h.hidden},
                                 {"model.layers.{}.mlp.up_proj.weight", h.hidden, h.feed_forward}};
    std::vector<Part> parts;
    const auto append = [&](const auto& some) {
        parts.insert(parts.end(), std::begin(some), std::end(some));
    };
    if (h.version == 0) {
        parts = {embedding, attention_norm};
        append(attention);
        parts.push_back(ffn_norm);
        append(feed_forward);
        // Cosines and sines of the rotation, which nobody needs.
        append(std::vector<Part>{norm, {"", h.head() / 2, 2 * h.context, false, false}});
    } else {
        parts = {attention_norm, ffn_norm, norm, embedding};
        append(attention);
        append(feed_forward);
    }
    if (!h.shared) parts.push_back({"lm_head.weight", h.hidden, h.vocabulary, false});
    return parts;
}

uint64_t bytes_of(const Header& h, const Part& part) {
    const uint64_t n = part.n_elements();
    return h.version == 2 && part.matrix ? n + n / h.group * sizeof(float) : n * sizeof(float);
}

uint64_t header_bytes(const Header& h) {
    return h.version == 0 ? kOldHeaderBytes : kHeaderBytes;
}

uint64_t file_bytes(const Header& h) {
    uint64_t total = header_bytes(h);
    for (const Part& part : parts_of(h)) total += bytes_of(h, part) * (part.per_layer ? h.n_layers : 1);
    return total;
}

std::string scales_name(const std::string& weight) {
    return weight + ".scales";
}

class File final : public Llama2cCheckpoint {
  public:
    explicit File(const std::string& path) : file_(path), files_{&file_} {
        const std::string problem = read_header(file_.bytes(), header_);
        if (!problem.empty()) fail("{}: no checkpoint of llama2.c: {}", path, problem);
        const uint64_t expected = file_bytes(header_);
        if (expected != file_.bytes().size())
            fail(
                "{}: a llama2.c checkpoint of these dimensions has {} bytes, but the file has {}; the "
                "download may "
                "be incomplete",
                path, expected, file_.bytes().size());
        add_tensors();
        config_ = fmt::format(
            R"({{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":{},"intermediate_size":{},)"
            R"("num_hidden_layers":{},"num_attention_heads":{},"num_key_value_heads":{},"vocab_size":{},)"
            R"("max_position_embeddings":{},"rms_norm_eps":1e-05,"rope_theta":10000.0,"hidden_act":"silu",)"
            R"("tie_word_embeddings":{},"bos_token_id":1,"eos_token_id":2}})",
            header_.hidden, header_.feed_forward, header_.n_layers, header_.n_heads, header_.n_kv_heads,
            header_.vocabulary, header_.context, header_.shared);
    }

    const std::vector<SourceTensor>& tensors() const override { return tensors_; }
    std::string_view format() const override { return "llama2.c"; }
    const std::vector<const MappedFile*>& files() const override { return files_; }
    const std::string& config_json() const override { return config_; }
    uint64_t head_elements() const override { return header_.head(); }
    uint64_t group_elements() const override { return header_.group; }
    std::string describe() const override {
        return fmt::format("llama2.c, version {}, {}", header_.version,
                           header_.group ? fmt::format("int8 in groups of {}", header_.group) : "F32");
    }

  private:
    void add_tensors() {
        uint64_t at = header_bytes(header_);
        const auto add = [&](std::string name, TensorType type, std::vector<uint64_t> shape, uint64_t size) {
            SourceTensor& tensor = tensors_.emplace_back();
            tensor.name = std::move(name);
            tensor.type = type;
            tensor.shape = std::move(shape);
            tensor.data = file_.bytes().subspan(at, size);
            tensor.file = &file_;
            at += size;
        };
        for (const Part& part : parts_of(header_)) {
            const uint64_t n = part.n_elements();
            if (*part.name == '\0') {
                at += bytes_of(header_, part);
                continue;
            }
            for (uint64_t layer = 0; layer < (part.per_layer ? header_.n_layers : 1); ++layer) {
                const std::string name = fmt::format(fmt::runtime(part.name), layer);
                std::vector<uint64_t> shape{part.columns};
                if (part.matrix) shape.push_back(part.n_rows);
                if (header_.version == 2 && part.matrix) {
                    add(name, TensorType::I8, std::move(shape), n);
                    add(scales_name(name), TensorType::F32, {n / header_.group},
                        n / header_.group * sizeof(float));
                } else {
                    add(name, TensorType::F32, std::move(shape), n * sizeof(float));
                }
            }
        }
    }

    const MappedFile file_;
    const std::vector<const MappedFile*> files_;
    Header header_;
    std::vector<SourceTensor> tensors_;
    std::string config_;
};

/// y = q · s[group], in float32.
class GroupedInt8Rows final : public TensorRows {
  public:
    GroupedInt8Rows(const SourceTensor& codes, const SourceTensor& scales, uint64_t group)
        : TensorRows(codes.name, "int8", codes.shape), codes_(codes), scales_(scales), group_(group) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        read_columns(first_row, n_rows, 0, row_elements(), values);
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        for (uint64_t row = first_row; row < first_row + n_rows; ++row) {
            const uint64_t first = row * row_elements() + first_column;
            for (uint64_t at = first; at < first + n_columns; ++at) {
                float scale;
                std::memcpy(&scale, scales_.data.data() + at / group_ * sizeof(float), sizeof(float));
                *values++ = float(int8_t(codes_.data[at])) * scale;
            }
        }
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        extents.push_back({&codes_, first_row * row_elements(), n_rows * row_elements()});
        const uint64_t scale_bytes = row_elements() / group_ * sizeof(float);  // of a row
        extents.push_back({&scales_, first_row * scale_bytes, n_rows * scale_bytes});
    }

  private:
    const SourceTensor& codes_;
    const SourceTensor& scales_;
    const uint64_t group_;  // elements
};

}  // namespace

bool is_llama2c(std::span<const std::byte> file) {
    if (file.size() >= 4 && uint32_t(int_at(file, 0)) == kMagic) return true;
    Header header;
    return read_header(file, header).empty() && file_bytes(header) == file.size();
}

std::unique_ptr<Llama2cCheckpoint> open_llama2c(const std::string& path) {
    return std::make_unique<File>(path);
}

WeightSet llama2c_weights(const Llama2cCheckpoint& checkpoint) {
    WeightSet weights(checkpoint);
    if (const uint64_t group = checkpoint.group_elements()) {
        std::unordered_set<std::string> scales;
        const std::vector<SourceTensor>& tensors = checkpoint.tensors();
        for (size_t i = 0; i + 1 < tensors.size(); ++i) {
            if (tensors[i + 1].name != scales_name(tensors[i].name)) continue;
            weights.set(tensors[i].name,
                        std::make_shared<GroupedInt8Rows>(tensors[i], tensors[i + 1], group));
            scales.insert(tensors[i + 1].name);
        }
        weights.remove(scales);
    }
    // Neighbours 2i and 2i + 1 of a head become i and i + half.
    const uint64_t head = checkpoint.head_elements();
    const auto llama2c_row = [head](uint64_t row) {
        const uint64_t in_head = row % head;
        return row - in_head + (in_head < head / 2 ? 2 * in_head : 2 * in_head - head + 1);
    };
    for (const SourceTensor& tensor : checkpoint.tensors()) {
        if (!tensor.name.ends_with("q_proj.weight") && !tensor.name.ends_with("k_proj.weight")) continue;
        const RowsPtr rows = weights.find(tensor.name)->rows;
        weights.set(tensor.name, select_rows(rows, rows->n_rows(), llama2c_row));
    }
    return weights;
}

}  // namespace ingot::converters
