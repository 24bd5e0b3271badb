#include "inspect/report_json.h"

#include "inspect/tokens.h"

namespace ingot::inspect {

void write_value(JsonWriter& json, const Value& value, size_t max_elements) {
    switch (value.type()) {
        case ValueType::String:
            json.value(value.as_string());
            return;
        case ValueType::Bool:
            json.value(value.as_bool());
            return;
        case ValueType::Float32:
            json.value(float(value.as_float()));
            return;
        case ValueType::Float64:
            json.value(value.as_float());
            return;
        case ValueType::Uint8:
        case ValueType::Uint16:
        case ValueType::Uint32:
        case ValueType::Uint64:
            json.value(value.as_uint());
            return;
        case ValueType::Int8:
        case ValueType::Int16:
        case ValueType::Int32:
        case ValueType::Int64:
            json.value(value.as_int());
            return;
        case ValueType::Array:
            break;
    }
    json.begin_array(JsonWriter::kOneLine);
    size_t written = 0;
    for (const Value element : value.elements()) {
        if (written++ == max_elements) break;
        write_value(json, element, max_elements);
    }
    json.end_array();
}

bool is_shortened(const Value& value, size_t max_elements) {
    if (value.type() != ValueType::Array) return false;
    if (value.count() > max_elements) return true;
    if (value.element_type() != ValueType::Array) return false;
    for (const Value element : value.elements()) {
        if (is_shortened(element, max_elements)) return true;
    }
    return false;
}

namespace {

void write_text(JsonWriter& json, std::string_view key, std::string_view text) {
    json.key(key);
    text.empty() ? json.null() : json.value(text);
}

void write_number(JsonWriter& json, std::string_view key, const std::optional<uint64_t>& number) {
    json.key(key);
    number ? json.value(*number) : json.null();
}

/// A number where all layers agree, [lowest, highest] where they don't.
void write_per_layer(JsonWriter& json, std::string_view key, const std::optional<PerLayer>& range) {
    json.key(key);
    if (!range) {
        json.null();
    } else if (range->low == range->high) {
        json.value(range->low);
    } else {
        json.begin_array(JsonWriter::kOneLine).value(range->low).value(range->high).end_array();
    }
}

void write_types(JsonWriter& json, std::span<const TypeShare> types) {
    json.begin_array();
    for (const TypeShare& share : types) {
        json.begin_object(JsonWriter::kOneLine).member("type", name(share.type));
        json.member("tensors", share.n_tensors).member("elements", share.n_elements);
        json.member("size_bytes", share.size_bytes).end_object();
    }
    json.end_array();
}

void write_summary(JsonWriter& json, const Summary& summary) {
    json.begin_object();
    json.member("file_size_bytes", summary.file_size_bytes);
    json.member("gguf_version", summary.version);
    json.member("alignment_bytes", summary.alignment);
    json.member("data_offset_bytes", summary.header_bytes);
    json.member("metadata_count", summary.n_metadata);
    json.member("tensor_count", summary.n_tensors);
    json.member("tensor_bytes", summary.tensor_bytes);
    json.member("parameters", summary.n_parameters);
    json.member("bits_per_weight", summary.bits_per_weight());
    json.key("types");
    write_types(json, summary.types);
    write_number(json, "shard", summary.shard);
    write_number(json, "shards", summary.n_shards);

    write_text(json, "architecture", summary.architecture);
    write_text(json, "name", summary.name);
    write_text(json, "file_type", summary.file_type_name);
    write_number(json, "context_length", summary.context_length);
    write_number(json, "layers", summary.n_layers);
    write_number(json, "embedding_length", summary.n_embd);
    write_per_layer(json, "feed_forward_length", summary.n_ff);
    write_per_layer(json, "heads", summary.n_heads);
    write_per_layer(json, "kv_heads", summary.n_kv_heads);
    write_per_layer(json, "head_dim", summary.head_dim);
    write_number(json, "experts", summary.n_experts);
    write_number(json, "experts_used", summary.n_experts_used);

    write_text(json, "tokenizer_model", summary.tokenizer_model);
    write_text(json, "tokenizer_pre", summary.tokenizer_pre);
    write_number(json, "vocabulary_size", summary.vocabulary_size);
    json.member("chat_template", summary.has_chat_template);

    write_text(json, "ingot_version", summary.ingot_version);
    write_text(json, "recipe", summary.recipe);
    write_text(json, "recipe_changes", summary.recipe_changes);
    json.member("checksums", summary.has_checksums);
    json.end_object();
}

void write_metadata(JsonWriter& json, const GgufHeader& header, size_t max_elements) {
    json.begin_object();
    for (const KeyValue& entry : header.metadata()) {
        const Value& value = entry.value;
        json.key(entry.key).begin_object(JsonWriter::kOneLine).member("type", name(value.type()));
        if (value.type() == ValueType::Array) {
            json.member("element_type", name(value.element_type())).member("count", value.count());
            if (is_shortened(value, max_elements)) json.member("shortened", true);
        }
        json.key("value");
        write_value(json, value, max_elements);
        json.end_object();
    }
    json.end_object();
}

void write_blocks(JsonWriter& json, std::span<const TensorInfo* const> tensors) {
    json.begin_array();
    for (const BlockShare& share : shares_by_block(tensors)) {
        json.begin_object(JsonWriter::kOneLine).key("block");
        share.block ? json.value(*share.block) : json.null();
        json.member("tensors", share.n_tensors).member("elements", share.n_elements);
        json.member("size_bytes", share.size_bytes).key("types");
        write_types(json, share.types);
        json.end_object();
    }
    json.end_array();
}

void write_tokens(JsonWriter& json, const GgufHeader& header, const std::optional<NamePattern>& match) {
    json.begin_array();
    for (const TokenRow& token : tokens_of(header)) {
        if (match && !match->matches(token.text)) continue;
        json.begin_object(JsonWriter::kOneLine).member("id", token.id).member("text", token.text);
        json.key("score");
        token.score ? json.value(*token.score) : json.null();
        write_text(json, "kind", token.kind);
        json.end_object();
    }
    json.end_array();
}

void write_tensors(JsonWriter& json, const GgufModel& model, std::span<const TensorInfo* const> tensors) {
    json.begin_array();
    for (const TensorInfo* selected : tensors) {
        const TensorInfo& tensor = *selected;
        json.begin_object(JsonWriter::kOneLine).member("name", tensor.name);
        if (model.files().size() > 1) json.member("shard", tensor.shard);
        json.member("type", name(tensor.type)).key("shape").begin_array();
        for (uint32_t i = 0; i < tensor.n_dims; ++i) json.value(tensor.shape[i]);
        json.end_array().member("elements", tensor.n_elements);
        json.member("offset", tensor.offset).member("size_bytes", tensor.size_bytes).end_object();
    }
    json.end_array();
}

}  // namespace

void write_report(JsonWriter& json, const GgufModel& model, const Selection& selection,
                  const ReportParts& parts) {
    const std::vector<const TensorInfo*> tensors = select(model.header(), selection);
    const size_t max_elements = parts.full ? size_t(-1) : kShortArray;
    json.begin_object().member("ingot_inspect", kReportVersion).member("file", model.path().string());
    json.key("files").begin_array();
    for (const GgufFile& file : model.files()) json.value(file.path().string());
    json.end_array();
    if (parts.summary) {
        json.key("summary");
        write_summary(json, summarize(model));
    }
    if (parts.metadata) {
        json.key("metadata");
        write_metadata(json, model.header(), max_elements);
    }
    if (parts.tensors) {
        json.key("tensors");
        write_tensors(json, model, tensors);
    }
    if (parts.blocks) {
        json.key("blocks");
        write_blocks(json, tensors);
    }
    if (parts.tokens) {
        json.key("tokens");
        write_tokens(json, model.header(), selection.match);
    }
    json.end_object();
}

}  // namespace ingot::inspect
