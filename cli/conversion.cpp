#include "cli/conversion.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <optional>

#include "cli/console.h"
#include "cli/conversion_report.h"
#include "cli/feedback.h"
#include "cli/progress.h"
#include "cli/runnable_model.h"
#include "cli/signals.h"
#include "converters/convert.h"
#include "converters/doctor.h"
#include "converters/verification.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "runtime/tokenizer/self_test.h"

namespace ingot::cli {

using namespace converters;

namespace {

constexpr int kFailed = 1;
constexpr int kInterrupted = 130;

[[noreturn]] void stop(const Cancelled& cancelled, ProgressBar& progress) {
    progress.clear();
    fmt::print(stderr, "ingot: {}\n", cancelled.what());
    throw Exit{kInterrupted};
}

std::string output_of(const ConversionOptions& options, const ConversionPlan& plan) {
    return options.output.empty() ? default_output_name(plan) : options.output;
}

/// What `make` returns; interrupted, the program ends.
std::string unless_cancelled(const std::function<std::string()>& make) {
    try {
        return make();
    } catch (const Cancelled& cancelled) {
        fmt::print(stderr, "ingot: {}\n", cancelled.what());
        throw Exit{kInterrupted};
    }
}

ConversionResult write(const ConversionPlan& plan, const std::string& output,
                       const ConversionOptions& options, Calibration* calibration, const char* label) {
    ProgressBar progress(label);
    ConvertOptions convert_options;
    convert_options.output = output;
    convert_options.overwrite = options.force;
    convert_options.n_threads = options.n_threads;
    convert_options.cancel = &interrupted;
    convert_options.progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); };
    if (calibration) convert_options.feed = [&](LayerQuantizer& quantizer) { calibration->feed(quantizer); };
    try {
        return convert(plan, convert_options);
    } catch (const Cancelled& cancelled) {
        stop(cancelled, progress);
    }
}

VerificationReport compare(const ConversionPlan& plan, const ConversionResult& result,
                           const ConversionOptions& options) {
    ProgressBar progress("comparing");
    VerificationOptions verification_options;
    verification_options.n_threads = options.n_threads;
    verification_options.cancel = &interrupted;
    verification_options.progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); };
    try {
        return verify_conversion(plan, result.outputs, verification_options);
    } catch (const Cancelled& cancelled) {
        stop(cancelled, progress);
    }
}

/// Before the work starts: hours may follow.
void print_warnings(const ConversionPlan& plan) {
    const Painter paint(stderr);
    for (const std::string& warning : plan.findings.messages(Severity::Warning))
        fmt::print(stderr, "ingot: {} {}\n", paint(Tone::Warning, "warning:"), warning);
}

void check(const ConversionPlan& plan, const std::string& output, const ConversionOptions& options) {
    const Diagnosis diagnosis = examine(plan, output, options.force, options.n_threads);
    print_out(options.json ? check_json(plan, output, diagnosis)
                           : check_text(plan, output, diagnosis, Painter(stdout)));
    if (!diagnosis.ok()) throw Exit{kFailed};
}

/// Stores texts and the ids that this version gives them: the runtime's tokenizer encodes, the plan stores.
/// A tokenizer that the runtime cannot make is a problem now, not when the file is used.
void add_self_test(ConversionPlan& plan) {
    if (plan.files.empty() || plan.metadata().find(keys::kTokenizerModel) == nullptr) return;
    if (plan.metadata().find(keys::kTokenizerTestIds) != nullptr) return;  // of the GGUF that it is made from
    plan.findings.attempt("tokenizer", [&] {
        Metadata metadata = plan.metadata();
        runtime::add_tokenizer_self_test(metadata);
        for (const std::string_view key : {keys::kTokenizerTestTexts, keys::kTokenizerTestIds})
            plan.set_metadata(std::string(key), *metadata.find(key));
    });
}

}  // namespace

uint64_t parse_size(const std::string& text) {
    struct Unit {
        std::string_view name;
        double bytes;
    };
    constexpr Unit kUnits[] = {{"", 1},         {"K", 1e3},      {"M", 1e6},     {"G", 1e9},  {"KB", 1e3},
                               {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12},   {"T", 1e12}, {"KiB", 0x1p10},
                               {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    double number = 0;
    const char* const end = text.data() + text.size();
    const auto [unit, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc() && number > 0) {
        for (const Unit& known : kUnits) {
            if (std::string_view(unit, size_t(end - unit)) != known.name) continue;
            const double bytes = std::round(number * known.bytes);
            if (bytes >= 1 && bytes < 0x1p63) return uint64_t(bytes);
        }
    }
    fail("'{}' is no size; write a number with K, M, G (10^3 …) or KiB, MiB, GiB (2^10 …), such as 4.5GiB",
         text);
}

void add_conversion_options(Command& command, ConversionOptions& options) {
    command.add_flag("--check", options.check, "Only look for what is in the way, and name all of it");
    command.add_flag("--dry-run", options.dry_run, "Show what would be written, and write nothing");
    command.add_flag("--verify", options.verify, "Then compare what was written with the source");
    command
        .add_option("--split-max-size", options.split_size, "Write files of at most this size: 2G, 4.5GiB")
        ->type_name("SIZE")
        ->check(parsed_by(parse_size));
    command
        .add_option("--imatrix", options.request.importance_files,
                    "Importance matrix (ingot imatrix, llama-imatrix); several given add up")
        ->type_name("FILE")
        ->one_value_each_time();
    add_feedback_options(command, options);
    command
        .add_option("--metadata", options.request.metadata_file, "JSON whose members become metadata keys")
        ->type_name("FILE");
    command.add_option("--threads", options.n_threads, "Threads; all processors if not given")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command.add_flag("--force", options.force, "Replace the output if it exists");
    command.add_flag("--json", options.json, "Report as JSON, in the form that README describes");
}

void run_conversion(const ConversionOptions& options, const char* label) {
    ConvertRequest request = options.request;
    apply_recipe_options(options.recipe, request);
    if (!options.split_size.empty()) request.max_file_bytes = parse_size(options.split_size);
    const auto plan_it = [](const ConvertRequest& wanted) {
        ConversionPlan planned = plan_conversion(wanted);
        add_self_test(planned);
        return planned;
    };
    ConversionPlan plan = plan_it(request);
    // Where the model is run first: on the text that types are chosen with, or on the one of the feedback.
    std::optional<RunnableModel> model;
    const auto path_of_model = [&] {
        if (!model) model.emplace(plan, output_of(options, plan), options.n_threads);
        return model->path();
    };
    const TargetOptions& wanted = options.recipe.target;
    std::optional<TargetChoice> target;
    if (wanted.wanted() && !plan.findings.has_problems()) {
        const std::string path = wanted.text_file.empty() ? "" : unless_cancelled(path_of_model);
        target = choose_types_for(wanted, plan, plan_it, path, options.n_threads);
    }
    const std::string output = output_of(options, plan);
    if (options.check) return check(plan, output, options);

    if (options.verify && !options.dry_run) check_sources(plan, plan.findings);
    plan.findings.throw_if_problems(plan.source());
    if (!options.json) print_warnings(plan);
    if (!options.recipe.save_file.empty()) save_recipe(plan.request, options.recipe.save_file);
    std::optional<Calibration> calibration;
    if (options.method == "gptq" && !options.dry_run) {
        check_takes_feedback(plan);
        check_output(plan, output, options.force);
        calibration.emplace(plan, unless_cancelled(path_of_model), options);
    }
    ConversionReport report{plan, output, {}, {}, std::move(target)};
    if (options.dry_run) {
        check_output(plan, output, options.force);
    } else {
        report.result = write(plan, output, options, calibration ? &*calibration : nullptr, label);
        if (options.verify) report.verification = compare(plan, *report.result, options);
    }
    const bool damaged = report.verification && !report.verification->ok();
    if (options.json) {
        print_out(report_json(report));
        if (damaged) throw Exit{kFailed};
        return;
    }

    const Painter paint(stdout);
    std::string text;
    if (report.target) text += target_text(plan, *report.target, paint) + "\n";
    if (options.dry_run) text += plan_text(plan, paint) + "\n";
    text += summary_text(report, paint);
    if (options.dry_run) text += "\nNothing was written (--dry-run).\n";
    print_out(text);
    if (damaged) throw Exit{kFailed};
}

}  // namespace ingot::cli
