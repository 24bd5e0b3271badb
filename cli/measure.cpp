// ingot measure: how far the weights of one file are from those of another.
#include "inspect/measure.h"

#include <cmath>
#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "format/json_writer.h"
#include "inspect/value_text.h"

namespace ingot::cli {
namespace {

using inspect::ErrorSums;
using inspect::escaped;
using inspect::MeasuredTensor;
using inspect::Measurement;

constexpr int kFailed = 1;
constexpr int kInterrupted = 130;
/// The number of the JSON form, raised when a member changes its meaning or goes away.
constexpr int kMeasureVersion = 1;

struct Options {
    std::string first, second;
    int n_threads = 0;
    bool json = false;
};

void write_sums(const ErrorSums& sums, JsonWriter& json) {
    json.member("weights", sums.n_elements).member("exact", sums.exact()).member("rmse", sums.rmse());
    json.member("max_error", sums.max_error);
    json.member("signal_to_noise_db", sums.signal_to_noise()).member("cosine", sums.cosine());
    json.member("not_finite", sums.n_not_finite);
}

std::string json_text(const Options& options, const Measurement& result) {
    JsonWriter json;
    json.begin_object().member("ingot_measure", kMeasureVersion);
    json.member("first", options.first).member("second", options.second);
    json.key("tensors").begin_array();
    for (const MeasuredTensor& tensor : result.tensors) {
        json.begin_object(JsonWriter::kOneLine).member("name", tensor.name);
        json.member("first_type", name(tensor.type_a)).member("second_type", name(tensor.type_b));
        write_sums(tensor.sums, json);
        json.end_object();
    }
    json.end_array().key("all").begin_object(JsonWriter::kOneLine);
    write_sums(result.total, json);
    json.end_object().key("skipped").begin_array();
    for (const inspect::SkippedTensor& tensor : result.skipped) {
        json.begin_object(JsonWriter::kOneLine).member("name", tensor.name);
        json.member("reason", tensor.reason).end_object();
    }
    return json.end_array().end_object().text() + "\n";
}

std::string measured_text(const Measurement& result, const Painter& paint) {
    Table table({{"tensor", Table::kLeft, Tone::Key},
                 {"first"},
                 {"second"},
                 {"RMSE", Table::kRight},
                 {"largest", Table::kRight},
                 {"SNR dB", Table::kRight},
                 {"cosine", Table::kRight}});
    const auto add = [&](const std::string& what, std::string_view first, std::string_view second,
                         const ErrorSums& sums) {
        std::vector<std::string> cells{what, std::string(first), std::string(second)};
        if (sums.exact()) {
            cells.insert(cells.end(), {"exact", "", "", ""});
        } else {
            cells.insert(
                cells.end(),
                {fmt::format("{:.3e}", sums.rmse()), fmt::format("{:.3e}", sums.max_error),
                 fmt::format("{:.2f}", sums.signal_to_noise()), fmt::format("{:.7f}", sums.cosine())});
        }
        table.add(std::move(cells));
    };
    for (const MeasuredTensor& tensor : result.tensors)
        add(escaped(tensor.name), name(tensor.type_a), name(tensor.type_b), tensor.sums);
    add(fmt::format("all of {}", plural(result.tensors.size(), "tensor")), "", "", result.total);
    std::string text = table.text(paint);
    for (const MeasuredTensor& tensor : result.tensors)
        if (tensor.sums.n_not_finite > 0)
            text += fmt::format("  {} {}: {} left out, which are NaN or infinite\n", paint(Tone::Bad, "note"),
                                escaped(tensor.name), plural(tensor.sums.n_not_finite, "element"));
    for (const inspect::SkippedTensor& tensor : result.skipped)
        text += fmt::format("  {} {}: {}\n", paint(Tone::Warning, "not compared"), escaped(tensor.name),
                            tensor.reason);
    return text;
}

void run_measure(const Options& options) {
    const GgufModel first(options.first), second(options.second);
    uint64_t n_elements = 0;
    for (const TensorInfo& tensor : first.header().tensors()) n_elements += tensor.n_elements;
    ProgressBar bar("measuring");
    const auto progress = [&](uint64_t done) {
        bar.update(done * sizeof(float), n_elements * sizeof(float));
    };
    const Measurement result = inspect::measure(first, second, options.n_threads, progress, &interrupted);
    bar.clear();
    if (result.stopped) throw Exit{kInterrupted};
    print_out(options.json ? json_text(options, result) : measured_text(result, Painter(stdout)));
    if (!result.skipped.empty()) throw Exit{kFailed};
}

}  // namespace

void add_measure(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command =
        program.add_command("measure", "Measure how far the weights of a file are from those of another");
    command->add_option("A", options->first, "GGUF file: what it should be")->required()->type_name("");
    command->add_option("B", options->second, "GGUF file of the same tensors, of any types")
        ->required()
        ->type_name("");
    command->add_option("--threads", options->n_threads, "Threads (default: all cores)")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command->add_flag("--json", options->json, "JSON, in the form that README describes");
    command->footer(
        "Of each tensor: the root of the mean squared error, the largest error, the ratio of the squares of "
        "A to\n"
        "those of the errors in decibels, and the cosine of the angle between both. Split files are measured "
        "as\n"
        "one. Exits with 1 when a tensor has no counterpart.\n\n"
        "Example:\n"
        "  ingot measure model-BF16.gguf model-Q4_K_M.gguf");
    command->callback([options] { run_measure(*options); });
}

}  // namespace ingot::cli
