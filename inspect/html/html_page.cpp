#include "inspect/html/html_page.h"

#include <algorithm>

#include "format/json_writer.h"
#include "inspect/html/page_text.h"
#include "inspect/report_json.h"
#include "inspect/selection.h"

namespace ingot::inspect {

namespace {

/// A number that all layers have, or each its own; 0 where the key says nothing.
uint64_t of_layer(const GgufHeader& header, const std::string& key, uint64_t layer) {
    const Value* value = header.find(key);
    if (!value) return 0;
    try {
        if (value->type() != ValueType::Array) return value->as_uint();
        uint64_t i = 0;
        for (const Value element : value->elements())
            if (i++ == layer) return element.as_uint();
    } catch (const Error&) {  // not a number: the page has no plan then
    }
    return 0;
}

/// Bytes of weights and elements of keys and values for one position, layer by layer.
void write_plan(JsonWriter& json, const GgufModel& model, const Summary& summary) {
    constexpr uint64_t kMaxLayers = 10000, kMaxWidth = 1 << 24;
    const GgufHeader& header = model.header();
    const std::string prefix(summary.architecture);
    const uint64_t n_layers = std::min(summary.n_layers.value_or(0), kMaxLayers);
    std::vector<uint64_t> bytes(n_layers), elements(n_layers);
    for (const TensorInfo& tensor : header.tensors())
        if (const auto block = block_of(tensor.name); block && *block < n_layers)
            bytes[*block] += tensor.size_bytes;
    for (uint64_t layer = 0; layer < n_layers; ++layer) {
        const uint64_t heads = of_layer(header, prefix + ".attention.head_count", layer);
        const bool has_kv = header.find(prefix + ".attention.head_count_kv");
        const uint64_t kv = has_kv ? of_layer(header, prefix + ".attention.head_count_kv", layer) : heads;
        const uint64_t width = heads == 0 ? 0 : summary.n_embd.value_or(0) / heads;
        const auto length = [&](const char* key) {
            const uint64_t own = of_layer(header, prefix + key, layer);
            return std::min(own ? own : width, kMaxWidth);
        };
        elements[layer] =
            std::min(kv, kMaxWidth) * (length(".attention.key_length") + length(".attention.value_length"));
    }
    uint64_t all = 0;
    for (const uint64_t n : elements) all += n;
    if (all == 0) {  // the file does not say enough for a plan
        bytes.clear();
        elements.clear();
    }
    json.begin_object().key("layer_bytes").begin_array(JsonWriter::kOneLine);
    for (const uint64_t n : bytes) json.value(n);
    json.end_array().key("kv_elements_per_token").begin_array(JsonWriter::kOneLine);
    for (const uint64_t n : elements) json.value(n);
    json.end_array().end_object();
}

void write_values(JsonWriter& json, const std::vector<HtmlParts::Values>& all) {
    json.begin_object();
    for (const HtmlParts::Values& values : all) {
        json.key(values.tensor->name).begin_object(JsonWriter::kOneLine);
        json.member("min", values.statistics.min).member("max", values.statistics.max);
        json.member("deviation", values.statistics.deviation).key("counts").begin_array();
        for (const uint64_t n : values.histogram.bins) json.value(n);
        json.end_array().end_object();
    }
    json.end_object();
}

void write_errors(JsonWriter& json, const Measurement& errors, const std::string& reference) {
    json.begin_object().member("reference", reference).key("tensors").begin_object();
    for (const MeasuredTensor& tensor : errors.tensors) {
        json.key(tensor.name).begin_object(JsonWriter::kOneLine).member("rmse", tensor.sums.rmse());
        json.member("snr", tensor.sums.signal_to_noise()).end_object();  // null: infinite
    }
    json.end_object().end_object();
}

/// JSON that can stand inside a script element: no "</script>", no "<!--".
std::string embedded(const std::string& json) {
    std::string text;
    text.reserve(json.size());
    for (const char c : json) {
        if (c == '<') {
            text += "\\u003c";
        } else {
            text += c;
        }
    }
    return text;
}

}  // namespace

std::string html_page(const GgufModel& model, const HtmlParts& parts) {
    JsonWriter json;
    json.begin_object().key("report");
    write_report(json, model, {}, {.blocks = true});
    json.key("plan");
    write_plan(json, model, summarize(model));
    json.key("histograms");
    if (parts.values.empty()) {
        json.null();
    } else {
        write_values(json, parts.values);
    }
    json.key("errors");
    if (parts.errors) {
        write_errors(json, *parts.errors, parts.reference);
    } else {
        json.null();
    }
    json.end_object();

    constexpr std::string_view kMark = "@DATA@";
    const std::string page(kPageText);
    const size_t mark = page.find(kMark);
    return page.substr(0, mark) + embedded(json.text()) + page.substr(mark + kMark.size());
}

}  // namespace ingot::inspect
