// ingot diff: what differs between two files.
#include "inspect/diff.h"

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/diff_view.h"
#include "cli/inspect_views.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "format/json_writer.h"
#include "inspect/report_json.h"
#include "inspect/value_text.h"

namespace ingot::cli {
namespace {

using inspect::Difference;
using inspect::ErrorSums;
using inspect::escaped;
using inspect::KeyDifference;
using inspect::TensorDifference;

// As diff(1) has it.
constexpr int kDifferent = 1, kTrouble = 2, kInterrupted = 130;
/// The number of the JSON form, raised when a member changes its meaning or goes away.
constexpr int kDiffVersion = 1;

struct Options {
    std::string first, second, match, ignore;
    bool metadata = false, tensors = false;  // neither: both
    bool no_values = false, by_checksum = false, json = false, quiet = false;
    int n_threads = 0;
};

std::string tensors_text(const Difference& result, const Painter& paint) {
    size_t n_removed = 0, n_added = 0;
    Table table({{""},
                 {"tensor", Table::kLeft, Tone::Key},
                 {"first"},
                 {"second"},
                 {"RMSE", Table::kRight},
                 {"largest", Table::kRight},
                 {"SNR dB", Table::kRight},
                 {"cosine", Table::kRight}});
    ErrorSums total;
    const auto add = [&](const char* mark, std::string what, std::string first, std::string second,
                         const ErrorSums& sums) {
        std::vector<std::string> cells = {mark, std::move(what), std::move(first), std::move(second)};
        if (sums.exact()) {
            cells.push_back("same values");
        } else {
            for (std::string cell :
                 {fmt::format("{:.3e}", sums.rmse()), fmt::format("{:.3e}", sums.max_error),
                  fmt::format("{:.2f}", sums.signal_to_noise()), fmt::format("{:.7f}", sums.cosine())})
                cells.push_back(std::move(cell));
        }
        table.add(std::move(cells));
    };
    std::string notes;
    for (const TensorDifference& tensor : result.tensors) {
        n_removed += !tensor.b;
        n_added += !tensor.a;
        if (tensor.sums) {
            add("~", escaped(tensor.name), std::string(name(tensor.a->type)),
                std::string(name(tensor.b->type)), *tensor.sums);
            total.add(*tensor.sums);
            table.tint(2, tone_of(tensor.a->type));
            table.tint(3, tone_of(tensor.b->type));
            if (tensor.sums->n_not_finite > 0)
                notes +=
                    fmt::format("  {} {}: {} left out, which are NaN or infinite\n", paint(Tone::Bad, "note"),
                                escaped(tensor.name), plural(tensor.sums->n_not_finite, "element"));
            continue;
        }
        const bool both = tensor.a && tensor.b;
        const TensorInfo& either = tensor.a ? *tensor.a : *tensor.b;
        notes += fmt::format("  {} {}: {}{}\n",
                             both       ? paint(Tone::Warning, "~")
                             : tensor.a ? paint(Tone::Bad, "-")
                                        : paint(Tone::Good, "+"),
                             paint(Tone::Key, escaped(tensor.name)), tensor.why_not,
                             both ? "" : fmt::format(" ({}, {})", name(either.type), shape_text(either)));
    }
    if (total.n_elements > 0) {
        add("", "all that differ", "", "", total);
        table.tint(1, Tone::Heading);
    }
    return fmt::format("{}: {} the same, {} changed, {} only in the first, {} only in the second\n",
                       paint(Tone::Heading, "tensors"), grouped(result.n_same_tensors),
                       result.tensors.size() - n_removed - n_added, n_removed, n_added) +
           (total.n_elements > 0 ? table.text(paint) : "") + notes;
}

// --- For programs ------------------------------------------------------------------------------------------

void write_side(JsonWriter& json, const char* type_key, const char* value_key, const Value* value) {
    if (!value) {
        json.key(type_key).null().key(value_key).null();
        return;
    }
    json.member(type_key, inspect::type_text(*value)).key(value_key);
    inspect::write_value(json, *value, inspect::kShortArray);
}

void write_side(JsonWriter& json, const char* side, const TensorInfo* tensor) {
    json.key(side);
    if (!tensor) {
        json.null();
        return;
    }
    json.begin_object().member("type", name(tensor->type)).key("shape").begin_array();
    for (uint32_t i = 0; i < tensor->n_dims; ++i) json.value(tensor->shape[i]);
    json.end_array().end_object();
}

std::string json_text(const Options& options, const Difference& result) {
    JsonWriter json;
    json.begin_object().member("ingot_diff", kDiffVersion);
    json.member("first", options.first).member("second", options.second).member("same", result.same());
    json.member("same_keys", result.n_same_keys).member("same_tensors", result.n_same_tensors);
    json.key("metadata").begin_array();
    for (const KeyDifference& key : result.keys) {
        json.begin_object(JsonWriter::kOneLine).member("key", key.key);
        json.member("change", !key.b ? "removed" : !key.a ? "added" : "changed");
        write_side(json, "first_type", "first", key.a);
        write_side(json, "second_type", "second", key.b);
        if (are_like_arrays(key)) json.member("first_difference", inspect::first_difference(*key.a, *key.b));
        json.end_object();
    }
    json.end_array().key("tensors").begin_array();
    for (const TensorDifference& tensor : result.tensors) {
        json.begin_object(JsonWriter::kOneLine).member("name", tensor.name);
        json.member("change", !tensor.b ? "removed" : !tensor.a ? "added" : "changed");
        write_side(json, "first", tensor.a);
        write_side(json, "second", tensor.b);
        if (tensor.sums) {
            json.member("same_values", tensor.same_values()).member("rmse", tensor.sums->rmse());
            json.member("max_error", tensor.sums->max_error);
            json.member("signal_to_noise_db", tensor.sums->signal_to_noise());
            json.member("cosine", tensor.sums->cosine()).member("not_finite", tensor.sums->n_not_finite);
        } else {
            json.member("not_measured", tensor.why_not);
        }
        json.end_object();
    }
    return json.end_array().end_object().text() + "\n";
}

// --- The command -------------------------------------------------------------------------------------------

Difference diff_with_progress(const GgufModel& first, const GgufModel& second, const Options& options) {
    inspect::DiffOptions wanted;
    wanted.metadata = options.metadata || !options.tensors;
    wanted.tensors = options.tensors || !options.metadata;
    wanted.values = !options.no_values && !options.quiet;
    wanted.by_checksum = options.by_checksum;
    wanted.n_threads = options.n_threads;
    if (!options.match.empty()) wanted.match.emplace(options.match);
    if (!options.ignore.empty()) wanted.ignore_keys.emplace(options.ignore);
    uint64_t n_elements = 0;
    for (const TensorInfo& tensor : first.header().tensors()) n_elements += tensor.n_elements;
    ProgressBar bar("comparing");
    const auto progress = [&](uint64_t done) {
        bar.update(done * sizeof(float), n_elements * sizeof(float));
    };
    return inspect::diff(first, second, wanted, progress, &interrupted);
}

void run_diff(const Options& options) try {
    const GgufModel first(options.first), second(options.second);
    const Difference result = diff_with_progress(first, second, options);
    if (result.stopped) throw Exit{kInterrupted};
    if (options.json) {
        print_out(json_text(options, result));
    } else if (!options.quiet) {
        const Painter paint(stdout);
        std::string text;
        if (options.metadata || !options.tensors)
            text += key_changes_view(result.keys, result.n_same_keys, paint, terminal_columns(stdout));
        if (options.tensors || !options.metadata) text += tensors_text(result, paint);
        print_out(text);
    }
    if (!result.same()) throw Exit{kDifferent};
} catch (const Error& error) {
    report_error(error.what());
    throw Exit{kTrouble};
}

}  // namespace

void add_diff(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command =
        program.add_command("diff", "Show what differs between two files: metadata, tensors, values");
    command->add_option("A", options->first, "GGUF file, or any shard")->required()->type_name("");
    command->add_option("B", options->second, "Another")->required()->type_name("");
    command->add_flag("--metadata", options->metadata, "Only the metadata");
    command->add_flag("--tensors", options->tensors, "Only the tensors");
    command->add_option("--match", options->match, "Only keys and tensors in whose name REGEX is found")
        ->type_name("REGEX");
    command->add_option("--ignore", options->ignore, "Not the keys in which REGEX is found: '^ingot\\.'")
        ->type_name("REGEX");
    Option* no_values =
        command->add_flag("--no-values", options->no_values, "Don't measure tensors that differ");
    command
        ->add_flag("--by-checksum", options->by_checksum,
                   "Believe the checksums in both files; no data is read")
        ->excludes(no_values);
    command->add_flag("-q,--quiet", options->quiet, "Only the exit code");
    command->add_option("--threads", options->n_threads, "Threads (default: all cores)")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command->add_flag("--json", options->json, "JSON, in the form that README describes");
    command->footer(
        "Tensors of the same type, shape and bytes are the same; where they lie in a file, or in which "
        "shard, "
        "does\n"
        "not count. Others are decoded and measured, whatever their types. Exits with 0 when nothing "
        "differs, 1 "
        "when\n"
        "something does, 2 when they could not be compared.\n\n"
        "Example:\n"
        "  ingot diff model-BF16.gguf model-Q4_K_M.gguf --ignore '^ingot\\.'");
    command->callback([options] { run_diff(*options); });
}

}  // namespace ingot::cli
