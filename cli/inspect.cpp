// ingot inspect: what is in a file, from its header alone.
#include "inspect/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/inspect_views.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "format/gguf_model.h"
#include "format/output_file.h"
#include "format/packed_file.h"
#include "inspect/html/html_page.h"
#include "inspect/report_json.h"
#include "inspect/statistics.h"
#include "inspect/value_text.h"

namespace ingot::cli {

namespace {

using inspect::escaped;
using inspect::PerLayer;
using inspect::Summary;

struct Options {
    std::string file;
    bool json = false, full = false, only_shard = false;
    bool metadata = false, tensors = false, blocks = false, tokens = false;  // none: all but the last two
    std::string match, order = "file";
    std::vector<std::string> types;
    bool reverse = false;
    std::string tensor, npy_file;      // one tensor, and where to write its values
    std::string html_file, reference;  // a page, and what its errors are measured against
    bool histograms = false;           // in the page
    bool force = false;
    int n_threads = 0;

    bool everything() const { return !metadata && !tensors && !blocks && !tokens; }
};

inspect::Selection selection_of(const Options& options) {
    inspect::Selection selection;
    if (!options.match.empty()) selection.match.emplace(options.match);
    for (const std::string& text : options.types) {
        const auto type = parse_tensor_type(text);
        if (!type) fail("--type {}: there is no such tensor type", printable(text));
        selection.types.push_back(*type);
    }
    selection.order = options.order == "name"   ? inspect::Order::Name
                      : options.order == "size" ? inspect::Order::Size
                      : options.order == "type" ? inspect::Order::Type
                                                : inspect::Order::File;
    selection.reverse = options.reverse;
    return selection;
}

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

/// Of packed files: their size, and who can unpack them. Empty for others.
std::string packed_text(const GgufModel& model) {
    uint64_t n_bytes = 0;
    bool only_ingot = false;
    for (const GgufFile& file : model.files()) {
        const auto* packed = dynamic_cast<const PackedFile*>(file.file().lazy().get());
        if (!packed) return "";
        n_bytes += packed->packed_bytes();
        only_ingot = only_ingot || packed->has_header();
    }
    return fmt::format("{}, zstd frames{}", human_bytes(n_bytes),
                       only_ingot ? " of byte planes: only `ingot unpack` restores the file" : "");
}

std::string facts_text(const Summary& summary, const std::string& packed, const Painter& paint) {
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
    if (!packed.empty()) facts.add({"packed", packed});
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

// --- Metadata ----------------------------------------------------------------------------------------------

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

// --- All of it ---------------------------------------------------------------------------------------------

std::string report_text(const GgufModel& model, const Options& options) {
    const Painter paint(stdout);
    const GgufHeader& header = model.header();
    const Summary summary = inspect::summarize(model);
    const inspect::Selection selection = selection_of(options);
    const std::vector<const TensorInfo*> tensors = inspect::select(header, selection);
    const size_t columns = terminal_columns(stdout);
    const bool everything = options.everything();
    const bool many = everything || options.metadata + options.tensors + options.blocks + options.tokens > 1;

    std::string text;
    const auto heading = [&](const std::string& title) {
        if (many) text += (text.empty() ? "" : "\n") + paint(Tone::Heading, title) + "\n";
    };
    if (everything) {
        text += paint(Tone::Heading, title_text(summary, escaped(model.path().filename().string()))) + "\n\n";
        text += facts_text(summary, packed_text(model), paint);
        if (!summary.types.empty()) {
            heading("Bytes by tensor type");
            text += types_view(summary.types, paint, columns);
        }
    }
    if (everything || options.metadata) {
        heading("Metadata");
        text += metadata_text(header, paint, columns, options.full);
    }
    if ((everything && summary.n_tensors > 0) || options.tensors) {
        heading("Tensors");
        text += tensors_view(model, tensors, paint, is_terminal(stdout));
        if (!selection.is_all()) {
            text += fmt::format("\n  {} of {}\n", plural(tensors.size(), "tensor"), summary.n_tensors);
            text += types_view(inspect::shares_by_type(tensors), paint, columns);
        }
    }
    if (options.blocks) {
        heading("Blocks");
        text += blocks_view(tensors, paint, columns);
    }
    if (options.tokens) {
        heading("Tokens");
        text += tokens_view(header, selection.match, paint);
    }
    return text;
}

void show_tensor(const GgufModel& model, const Options& options) {
    const TensorInfo& tensor = require_tensor(model, options.tensor);
    if (!options.npy_file.empty()) inspect::write_npy(model, tensor, options.npy_file, options.force);
    print_out(options.json
                  ? tensor_json(model, tensor, options.n_threads)
                  : tensor_view(model, tensor, options.n_threads, Painter(stdout), terminal_columns(stdout)));
}

/// The page is whole or not there at all.
void write_page(const GgufModel& model, const Options& options) {
    inspect::HtmlParts parts;
    ProgressBar bar("reading values");
    uint64_t done = 0;
    for (const TensorInfo* tensor : inspect::select(model.header(), selection_of(options))) {
        if (!options.histograms || !info(tensor->type).decodable || tensor->n_elements == 0) continue;
        if (interrupted) throw Exit{130};
        const inspect::Statistics statistics = inspect::statistics(model, *tensor, options.n_threads);
        constexpr size_t kBins = 48;
        parts.values.push_back(
            {tensor, statistics, inspect::histogram(model, *tensor, statistics, kBins, options.n_threads)});
        bar.update(done += tensor->size_bytes, model.size_bytes());
    }
    bar.clear();
    if (!options.reference.empty()) {
        const GgufModel reference(options.reference);
        parts.reference = reference.path().filename().string();
        parts.errors = inspect::measure(reference, model, options.n_threads, {}, &interrupted);
        if (interrupted) throw Exit{130};
    }
    const std::string page = inspect::html_page(model, parts);
    OutputFile file(options.html_file, page.size(), options.force);
    file.write_at(0, std::as_bytes(std::span(page)));
    file.commit();
    print_out(
        fmt::format("{}: {}, one page that needs no network\n", options.html_file, human_bytes(page.size())));
}

void run_inspect(const Options& options) {
    const GgufModel model(options.file,
                          options.only_shard ? GgufModel::Shards::OnlyThis : GgufModel::Shards::All);
    if (!options.tensor.empty()) return show_tensor(model, options);
    if (!options.html_file.empty()) return write_page(model, options);
    if (!options.json) return print_out(report_text(model, options));
    const bool everything = options.everything();
    JsonWriter json;
    inspect::write_report(json, model, selection_of(options),
                          {.summary = everything,
                           .metadata = everything || options.metadata,
                           .tensors = everything || options.tensors,
                           .blocks = options.blocks,
                           .tokens = options.tokens,
                           .full = options.full});
    print_out(json.text() + "\n");
}

}  // namespace

void add_inspect(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command =
        program.add_command("inspect", "Show what is in a GGUF file: model, metadata, tensors");
    command
        ->add_option("FILE", options->file,
                     "GGUF file, packed file, URL, or - for standard input; only headers are read")
        ->required();
    command->add_flag("--metadata", options->metadata, "Only the metadata");
    command->add_flag("--tensors", options->tensors, "Only the tensors");
    command->add_flag("--blocks", options->blocks, "Only what the tensors come to, block by block");
    command->add_flag("--tokens", options->tokens, "Only the vocabulary, token by token");
    command
        ->add_option("--match", options->match,
                     "Only tensors (with --tokens: tokens) in whose name REGEX is found")
        ->type_name("REGEX");
    command->add_option("--type", options->types, "Only tensors of these types")
        ->delimiter(',')
        ->type_name("TYPE");
    command->add_option("--sort", options->order, "Tensors by file (as they lie there), name, size or type")
        ->check(one_of({"file", "name", "size", "type"}))
        ->type_name("KEY");
    command->add_flag("--reverse", options->reverse, "The other way round");
    Option* tensor = command
                         ->add_option("--tensor", options->tensor,
                                      "One tensor: statistics, histogram, first values; its data is read")
                         ->type_name("NAME");
    command->add_option("--npy", options->npy_file, "Write that tensor's values for NumPy")
        ->needs(tensor)
        ->type_name("OUT.npy");
    Option* html = command->add_option("--html", options->html_file, "Write all of it as one page")
                       ->type_name("OUT.html");
    command
        ->add_flag("--histograms", options->histograms,
                   "In the page: values of all tensors; all data is read")
        ->needs(html);
    command->add_option("--reference", options->reference, "In the page: errors against this file's tensors")
        ->needs(html)
        ->type_name("FILE");
    command->add_flag("--force", options->force, "Replace OUT.npy or OUT.html");
    command->add_option("--threads", options->n_threads, "Threads for --tensor (default: all cores)")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command->add_flag("--full", options->full, "Long arrays and texts whole (vocabulary, chat template)");
    command->add_flag("--shard", options->only_shard, "Only this file of a split model");
    command->add_flag("--json", options->json, "JSON, in the stable form that README describes");
    command->footer(
        "Examples:\n"
        "  ingot inspect model.gguf\n"
        "  ingot inspect model.gguf --tensors --match ffn_down --sort size\n"
        "  ingot inspect model.gguf --tensor blk.0.attn_q.weight --npy q.npy\n"
        "  ingot inspect model.gguf --json | jq .summary.bits_per_weight");
    command->callback([options] { run_inspect(*options); });
}

}  // namespace ingot::cli
