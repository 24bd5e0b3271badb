// ingot inspect: what is in a file, from its header alone.
#include "inspect/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "format/gguf_model.h"
#include "inspect/report_json.h"
#include "inspect/value_text.h"

namespace ingot::cli {

namespace {

using inspect::escaped;
using inspect::PerLayer;
using inspect::Summary;

struct Options {
    std::string file;
    bool json = false, metadata = false, tensors = false, full = false;
    bool only_shard = false;
};

// --- The summary -------------------------------------------------------------------------------------------

std::string range_text(const PerLayer& range) {
    if (range.low == range.high) return grouped(range.low);
    return fmt::format("{}–{}", grouped(range.low), grouped(range.high));
}

/// "6 layers · width 256 · feed-forward 768 · 8 heads over 4 KV heads of 32"
std::string geometry_text(const Summary& summary) {
    std::vector<std::string> parts;
    if (summary.n_layers) parts.push_back(plural(*summary.n_layers, "layer"));
    if (summary.n_embd) parts.push_back(fmt::format("width {}", grouped(*summary.n_embd)));
    if (summary.n_ff) parts.push_back(fmt::format("feed-forward {}", range_text(*summary.n_ff)));
    if (summary.n_heads) {
        std::string heads = fmt::format("{} heads", range_text(*summary.n_heads));
        const bool grouped_queries = summary.n_heads->low != summary.n_kv_heads->low ||
                                     summary.n_heads->high != summary.n_kv_heads->high;
        if (grouped_queries) heads += fmt::format(" over {} KV heads", range_text(*summary.n_kv_heads));
        if (summary.head_dim) heads += fmt::format(" of {}", range_text(*summary.head_dim));
        parts.push_back(heads);
    }
    return fmt::format("{}", fmt::join(parts, " · "));
}

std::string tokenizer_text(const Summary& summary) {
    if (summary.tokenizer_model.empty()) return "none in this file";
    // The names in the file are historical; say what they mean.
    std::string text = escaped(summary.tokenizer_model);
    if (text == "llama") text += " (SentencePiece)";
    if (text == "gpt2") text += " (byte-level BPE)";
    if (text == "bert") text += " (WordPiece)";
    if (text == "t5") text += " (Unigram)";
    if (!summary.tokenizer_pre.empty())
        text += fmt::format(", splitting as {}", escaped(summary.tokenizer_pre));
    if (summary.vocabulary_size) text += ", " + plural(*summary.vocabulary_size, "token");
    if (summary.n_merges) text += ", " + plural(*summary.n_merges, "merge");
    return text;
}

std::string origin_text(const Summary& summary) {
    std::string text = fmt::format("Ingot {}", escaped(summary.ingot_version));
    if (!summary.recipe.empty()) text += fmt::format(", recipe {}", escaped(summary.recipe));
    if (!summary.recipe_changes.empty()) text += " with changes (ingot.recipe.json)";
    if (summary.source_format.empty()) return text;
    text += fmt::format(", from {}", escaped(summary.source_format));
    if (summary.source_files.size() == 1) text += fmt::format(" ({})", escaped(summary.source_files[0]));
    if (summary.source_files.size() > 1)
        text += fmt::format(" ({})", plural(summary.source_files.size(), "file"));
    return text;
}

std::string title_text(const Summary& summary, const std::string& file_name) {
    std::string title = summary.name.empty() ? file_name : escaped(summary.name);
    if (!summary.architecture.empty()) title += fmt::format(" · {}", escaped(summary.architecture));
    if (summary.n_parameters > 0) title += fmt::format(" · {} parameters", human_count(summary.n_parameters));
    if (summary.n_tensors > 0 && !summary.file_type_name.empty()) {
        title += fmt::format(" · {}", summary.file_type_name);
    }
    if (summary.n_tensors == 0) title += " · no tensors";
    return title;
}

std::string facts_text(const Summary& summary, const Painter& paint) {
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    if (summary.n_tensors > 0) {
        facts.add({"parameters", fmt::format("{} in {}", grouped(summary.n_parameters),
                                             plural(summary.n_tensors, "tensor"))});
        facts.add({"bits per weight", fmt::format("{:.2f}", summary.bits_per_weight())});
    }
    const bool is_whole_split = summary.n_shards && *summary.n_shards > 1 && !summary.shard;
    facts.add(
        {"file size", fmt::format("{} ({} bytes{})", human_bytes(summary.file_size_bytes),
                                  grouped(summary.file_size_bytes),
                                  is_whole_split ? fmt::format(" in {} shards", *summary.n_shards) : "")});
    if (summary.shard) {
        facts.add({"shard", fmt::format("{} of {}; the figures here are this shard's", *summary.shard + 1,
                                        *summary.n_shards)});
    }
    if (summary.context_length) facts.add({"context", plural(*summary.context_length, "token")});
    if (const std::string geometry = geometry_text(summary); !geometry.empty())
        facts.add({"shape", geometry});
    if (summary.n_experts && *summary.n_experts > 0) {
        std::string experts = grouped(*summary.n_experts);
        if (summary.n_experts_used)
            experts += fmt::format(", of which {} work on each token", *summary.n_experts_used);
        facts.add({"experts", experts});
    }
    facts.add({"tokenizer", tokenizer_text(summary)});
    facts.add({"chat template", summary.has_chat_template ? "yes" : "no"});
    if (!summary.ingot_version.empty()) facts.add({"written by", origin_text(summary)});
    facts.add({"checksums",
               summary.has_checksums ? "XXH3-128 of each tensor; `ingot verify` compares them" : "no"});
    facts.add({"container",
               fmt::format("GGUF v{}, alignment {}, {} of header, {}", summary.version, summary.alignment,
                           human_bytes(summary.header_bytes), plural(summary.n_metadata, "metadata key"))});
    return facts.text(paint);
}

std::string types_text(const Summary& summary, const Painter& paint, size_t columns) {
    const size_t bar_columns = std::clamp<size_t>(columns > 70 ? columns - 70 : 0, 10, 40);
    Table table({{"type"},
                 {"", Table::kLeft, Tone::Accent},
                 {"share", Table::kRight},
                 {"bytes", Table::kRight},
                 {"tensors", Table::kRight},
                 {"bits each", Table::kRight}});
    for (const auto& share : summary.types) {
        const double part =
            summary.tensor_bytes == 0 ? 0 : double(share.size_bytes) / double(summary.tensor_bytes);
        table.add({std::string(name(share.type)), pad_right(bar(part, bar_columns), bar_columns),
                   fmt::format("{:.1f} %", 100 * part), human_bytes(share.size_bytes),
                   grouped(share.n_tensors), fmt::format("{:.4g}", info(share.type).bits_per_element())});
    }
    return table.text(paint);
}

// --- Metadata and tensors ----------------------------------------------------------------------------------

std::string metadata_text(const GgufHeader& header, const Painter& paint, size_t columns, bool full) {
    size_t key_columns = 0, type_columns = 0;
    for (const KeyValue& entry : header.metadata()) {
        key_columns = std::max(key_columns, display_columns(escaped(entry.key)));
        type_columns = std::max(type_columns, inspect::type_text(entry.value).size());
    }
    // What is left of the line for the value; a few very long keys must not squeeze it to nothing.
    key_columns = std::min<size_t>(key_columns, 44);
    const size_t used = 2 + key_columns + 2 + type_columns + 2;
    const size_t value_columns = columns > used + 24 ? columns - used - 1 : 24;

    Table table({{"", Table::kLeft, Tone::Key}, {"", Table::kLeft, Tone::Dim}, {""}});
    for (const KeyValue& entry : header.metadata()) {
        const auto limits = full ? inspect::TextLimits::none()
                                 : inspect::TextLimits{.max_text_columns = value_columns, .max_elements = 6};
        std::string text = inspect::value_text(entry.value, limits);
        if (entry.value.type() == ValueType::Array && !full) {
            // As many elements as fit; the count at the end is what matters.
            for (size_t n = 5; n > 0 && display_columns(text) > value_columns; --n) {
                text = inspect::value_text(entry.value,
                                           {.max_text_columns = value_columns / 2, .max_elements = n});
            }
        }
        table.add({escaped(entry.key), inspect::type_text(entry.value), text});
    }
    return table.text(paint);
}

std::string shape_text(const TensorInfo& tensor) {
    std::string text;
    for (uint32_t i = 0; i < tensor.n_dims; ++i)
        text += (i ? " × " : "") + fmt::format("{}", tensor.shape[i]);
    return tensor.n_dims == 0 ? "scalar" : text;
}

std::string tensors_text(const GgufModel& model, const Painter& paint) {
    const bool is_split = model.files().size() > 1;
    std::vector<Table::Column> columns = {{"#", Table::kRight, Tone::Dim},
                                          {"tensor", Table::kLeft, Tone::Key},
                                          {"type"},
                                          {"shape", Table::kRight},
                                          {"bytes", Table::kRight},
                                          {"offset", Table::kRight, Tone::Dim}};
    if (is_split) columns.push_back({"shard", Table::kRight, Tone::Dim});
    Table table(columns);
    size_t index = 0;
    for (const TensorInfo& tensor : model.header().tensors()) {
        std::vector<std::string> cells = {fmt::format("{}", index++),     escaped(tensor.name),
                                          std::string(name(tensor.type)), shape_text(tensor),
                                          grouped(tensor.size_bytes),     grouped(tensor.offset)};
        if (is_split) cells.push_back(fmt::format("{}", tensor.shard + 1));
        table.add(cells);
    }
    return table.text(paint);
}

std::string report_text(const GgufModel& model, const Options& options) {
    const Painter paint(stdout);
    const GgufHeader& header = model.header();
    const Summary summary = inspect::summarize(model);
    const size_t columns = terminal_columns(stdout);
    const bool everything = !options.metadata && !options.tensors;
    const auto heading = [&](const std::string& title) { return "\n" + paint(Tone::Heading, title) + "\n"; };

    std::string text;
    if (everything) {
        text += paint(Tone::Heading, title_text(summary, escaped(model.path().filename().string()))) + "\n\n";
        text += facts_text(summary, paint);
        if (!summary.types.empty())
            text += heading("Bytes by tensor type") + types_text(summary, paint, columns);
    }
    if (everything || options.metadata) {
        if (everything) text += heading("Metadata");
        text += metadata_text(header, paint, columns, options.full);
    }
    if ((everything && summary.n_tensors > 0) || options.tensors) {
        if (everything || options.metadata) text += heading("Tensors");
        text += tensors_text(model, paint);
    }
    return text;
}

void run_inspect(const Options& options) {
    const GgufModel model(options.file,
                          options.only_shard ? GgufModel::Shards::OnlyThis : GgufModel::Shards::All);
    if (!options.json) return print_out(report_text(model, options));
    const bool everything = !options.metadata && !options.tensors;
    JsonWriter json;
    inspect::write_report(json, model,
                          {.summary = everything,
                           .metadata = everything || options.metadata,
                           .tensors = everything || options.tensors,
                           .full = options.full});
    print_out(json.text() + "\n");
}

}  // namespace

void add_inspect(CLI::App& program) {
    auto options = std::make_shared<Options>();
    CLI::App* command =
        program.add_subcommand("inspect", "Show what is in a GGUF file: model, metadata, tensors");
    command->add_option("FILE", options->file, "GGUF file, or any shard; only headers are read")->required();
    command->add_flag("--json", options->json, "JSON, in the stable form that README describes");
    command->add_flag("--metadata", options->metadata, "Only the metadata");
    command->add_flag("--tensors", options->tensors, "Only the tensors");
    command->add_flag("--full", options->full, "Long arrays and texts whole (vocabulary, chat template)");
    command->add_flag("--shard", options->only_shard, "Only this file of a split model");
    command->footer(
        "Examples:\n"
        "  ingot inspect model.gguf\n"
        "  ingot inspect model.gguf --tensors | grep Q6_K\n"
        "  ingot inspect model.gguf --json | jq .summary.bits_per_weight");
    command->callback([options] { run_inspect(*options); });
}

}  // namespace ingot::cli
