// ingot verify: is the file intact, and does it make sense?
#include "inspect/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/json_writer.h"
#include "inspect/hash.h"
#include "inspect/lint.h"
#include "inspect/value_text.h"
#include "runtime/architecture.h"
#include "runtime/hyperparameters.h"
#include "runtime/tokenizer/self_test.h"

namespace ingot::cli {

namespace {

using inspect::DamagedTensor;
using inspect::escaped;
using inspect::Finding;
using inspect::ManifestCheck;
using inspect::Severity;
using inspect::Verification;
using runtime::TokenizerSelfTest;

struct Options {
    std::string file;
    int n_threads = 0;
    bool json = false;
    bool only_shard = false;
    bool deep = false;     // look at all values
    bool no_data = false;  // headers only
    bool strict = false;   // warnings count as errors
    std::string manifest;  // of gguf-hash or `ingot hash`; empty: none
};

/// The number of the JSON form, raised when a member changes its meaning or goes away.
constexpr int kVerifyVersion = 1;

/// All that one run found.
struct Report {
    Verification bytes;
    std::vector<Finding> findings;
    bool has_odd_values = false;  // of which findings tell
    TokenizerSelfTest tokenizer;
    std::optional<ManifestCheck> manifest;
    double seconds = 0;

    size_t count(Severity severity) const {
        return size_t(std::ranges::count(findings, severity, &Finding::severity));
    }
    bool ok(bool strict) const {
        return bytes.damaged.empty() && tokenizer.mismatches.empty() && count(Severity::Error) == 0 &&
               (!strict || count(Severity::Warning) == 0) && (!manifest || manifest->mismatches.empty());
    }
};

std::string json_text(const GgufModel& model, const Report& report, bool strict) {
    const Verification& result = report.bytes;
    const bool has_checksums = std::ranges::any_of(
        model.files(), [](const GgufFile& file) { return file.header().find(keys::kChecksums) != nullptr; });
    JsonWriter json;
    json.begin_object().member("ingot_verify", kVerifyVersion).member("file", model.path().string());
    json.member("ok", report.ok(strict));
    json.member("tokenizer_texts", report.tokenizer.n_texts);
    json.member("tokenizer_mismatches", report.tokenizer.mismatches.size())
        .member("checksums", has_checksums);
    json.member("tensor_count", model.header().tensors().size()).member("checked", result.n_checked);
    json.member("checked_bytes", result.checked_bytes)
        .member("seconds", report.seconds)
        .key("damaged")
        .begin_array();
    for (const DamagedTensor& damaged : result.damaged) {
        json.begin_object(JsonWriter::kOneLine).member("name", damaged.name);
        json.member("file", model.files()[damaged.shard].path().string());
        json.member("offset", damaged.offset).member("size_bytes", damaged.size_bytes);
        json.member("expected", damaged.expected).member("found", damaged.found);
        json.member("never_written", damaged.pending).end_object();
    }
    json.end_array().key("findings").begin_array();
    for (const Finding& finding : report.findings) {
        json.begin_object(JsonWriter::kOneLine).member("severity", inspect::name(finding.severity));
        json.member("code", finding.code).member("subject", finding.subject);
        json.member("message", finding.message).end_object();
    }
    json.end_array();
    if (report.manifest) {
        json.key("manifest").begin_object().member("hash", name(report.manifest->kind));
        json.member("checked", report.manifest->n_checked).member("unchecked", report.manifest->n_unchecked);
        json.member("checked_model", report.manifest->checked_model).key("mismatches").begin_array();
        for (const auto& mismatch : report.manifest->mismatches) {
            json.begin_object(JsonWriter::kOneLine).member("name", mismatch.tensor);
            json.member("expected", mismatch.expected).member("found", mismatch.found).end_object();
        }
        json.end_array().end_object();
    }
    return json.end_object().text() + "\n";
}

std::string damaged_text(const GgufModel& model, const std::vector<DamagedTensor>& damaged,
                         const Painter& paint) {
    const bool is_split = model.files().size() > 1;
    std::vector<Table::Column> columns = {{"damaged tensor", Table::kLeft, Tone::Bad},
                                          {"at byte", Table::kRight},
                                          {"bytes", Table::kRight},
                                          {"expected"},
                                          {"found"}};
    if (is_split) columns.push_back({"of shard", Table::kRight});
    Table table(columns);
    for (const DamagedTensor& one : damaged) {
        std::vector<std::string> cells = {escaped(one.name), grouped(one.offset), grouped(one.size_bytes),
                                          one.pending ? "never written" : one.expected, one.found};
        if (is_split) cells.push_back(fmt::format("{}", one.shard + 1));
        table.add(cells);
    }
    return table.text(paint);
}

// --- The checks --------------------------------------------------------------------------------------------

/// Runs `check(progress)` with a bar, which is drawn by whichever thread comes by while no other draws.
template <typename Check>
auto with_progress(const char* label, uint64_t total_bytes, const Check& check) {
    ProgressBar bar(label);
    return check([&](uint64_t done_bytes) { bar.update(done_bytes, total_bytes); });
}

/// What the code that runs models says about the header.
void add_runtime_findings(const GgufHeader& header, std::vector<Finding>& findings) {
    const Value* architecture = header.find("general.architecture");
    const Value* type = header.find("general.type");
    if (header.tensors().empty() || !architecture || architecture->type() != ValueType::String) return;
    if (type && type->type() == ValueType::String && type->as_string() != "model") return;  // an adapter …
    const auto& families = runtime::model_families();
    if (std::ranges::find(families, architecture->as_string(), &runtime::ModelFamily::name) ==
        families.end()) {
        findings.push_back(
            {Severity::Note, "unknown-architecture", "general.architecture",
             fmt::format("{}: this version of Ingot cannot run it", escaped(architecture->as_string()))});
        return;
    }
    try {
        runtime::Hyperparameters::from_header(header);
    } catch (const Error& error) {
        findings.push_back(
            {Severity::Error, "hyperparameters", std::string(architecture->as_string()), error.what()});
    }
}

Report check(const GgufModel& model, const Options& options) {
    const auto start = std::chrono::steady_clock::now();
    uint64_t data_bytes = 0;
    for (const TensorInfo& tensor : model.header().tensors()) data_bytes += tensor.size_bytes;
    Report report;
    report.findings = inspect::lint(model);
    add_runtime_findings(model.header(), report.findings);
    try {
        report.tokenizer = runtime::run_tokenizer_self_test(model.header());
    } catch (const Error& error) {
        report.findings.push_back({Severity::Error, "tokenizer", "tokenizer.ggml.model", error.what()});
    }
    const auto stop_if_interrupted = [] {
        if (interrupted) throw Exit{130};
    };
    if (!options.no_data) {
        report.bytes = with_progress("verifying", data_bytes, [&](const auto& progress) {
            return inspect::verify(model, {options.deep, options.n_threads}, progress, &interrupted);
        });
        report.has_odd_values = !report.bytes.findings.empty();
        std::ranges::move(report.bytes.findings, std::back_inserter(report.findings));
        stop_if_interrupted();
    }
    if (!options.manifest.empty()) {
        const auto entries = inspect::read_manifest(options.manifest, model);
        report.manifest = with_progress("hashing", 2 * data_bytes, [&](const auto& progress) {
            return inspect::check_manifest(model, entries, options.n_threads, progress, &interrupted);
        });
        stop_if_interrupted();
    }
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
}

// --- For people --------------------------------------------------------------------------------------------

void print_findings(const std::vector<Finding>& findings, const Painter& paint) {
    Table table({{""}, {"", Table::kLeft, Tone::Dim}, {"", Table::kLeft, Tone::Key}, {""}});
    for (const Finding& finding : findings) {
        table.add({std::string(inspect::name(finding.severity)), std::string(finding.code),
                   escaped(finding.subject), finding.message});
        table.tint(0, finding.severity == Severity::Error     ? Tone::Bad
                      : finding.severity == Severity::Warning ? Tone::Warning
                                                              : Tone::Dim);
    }
    if (!findings.empty()) print_out(table.text(paint, 0));
}

/// The texts and ids that the converting version stored, against this version's tokenizer.
void report_tokenizer(const TokenizerSelfTest& tokenizer, const std::string& file) {
    if (tokenizer.n_texts == 0) return;
    const Painter paint(stdout);
    if (tokenizer.mismatches.empty()) {
        return print_out(fmt::format("{}  {}: tokenizer gives the stored ids for all of {}\n",
                                     paint(Tone::Good, "ok"), file, plural(tokenizer.n_texts, "text")));
    }
    const TokenizerSelfTest::Mismatch& first = tokenizer.mismatches.front();
    fail(
        "{}: the tokenizer gives other ids for {} of {} texts than when the file was made; \"{}\" was [{}] "
        "and is [{}]; use the version of Ingot that made it (ingot.version), or convert the model again",
        file, tokenizer.mismatches.size(), tokenizer.n_texts, escaped(first.text), first.expected,
        first.found);
}

void report_bytes(const GgufModel& model, const Report& report, const Options& options) {
    const Painter paint(stdout);
    const Verification& result = report.bytes;
    std::string tensors = plural(model.header().tensors().size(), "tensor");
    if (model.files().size() > 1) tensors += fmt::format(" in {} shards", model.files().size());
    if (!result.has_checksums) {
        const char* what = options.no_data ? "" : "; there are no checksums of their bytes";
        return print_out(fmt::format("{}  {}: every one of {} lies inside the file{}\n",
                                     paint(Tone::Good, "ok"), options.file, tensors, what));
    }
    if (result.damaged.empty()) {
        const double rate = report.seconds > 0 ? double(result.checked_bytes) / report.seconds : 0;
        print_out(fmt::format("{}  {}: {}, {}, all as written ({}, {}/s)\n", paint(Tone::Good, "ok"),
                              options.file, tensors, human_bytes(result.checked_bytes),
                              human_seconds(report.seconds), human_bytes(uint64_t(rate))));
        if (result.n_unchecked == 0) return;
        return print_out(
            fmt::format("{}  {} of them are in shards without checksums, and were not compared\n",
                        paint(Tone::Warning, "note"), result.n_unchecked));
    }
    print_out(damaged_text(model, result.damaged, paint));
    fail("{}: {} of {} do not have the bytes that were written; fetch or convert the file again",
         options.file, result.damaged.size(), tensors);
}

void report_manifest(const ManifestCheck& result, const Options& options) {
    const Painter paint(stdout);
    if (result.mismatches.empty()) {
        print_out(fmt::format("{}  {}: {} of {}{} as in {}\n", paint(Tone::Good, "ok"), options.file,
                              name(result.kind), plural(result.n_checked, "tensor"),
                              result.checked_model ? ", and of all data," : "", options.manifest));
        if (result.n_unchecked > 0)
            print_out(fmt::format("{}  {} are not in the manifest\n", paint(Tone::Warning, "note"),
                                  plural(result.n_unchecked, "tensor")));
        return;
    }
    Table table({{"not as in the manifest", Table::kLeft, Tone::Bad}, {"expected"}, {"found"}});
    for (const auto& mismatch : result.mismatches)
        table.add({mismatch.tensor.empty() ? "(all data)" : escaped(mismatch.tensor),
                   escaped(mismatch.expected, 64), mismatch.found});
    print_out(table.text(paint));
    fail("{}: {} of {} hashes are not those of {}; this is another file, or it is damaged", options.file,
         result.mismatches.size(), result.n_checked + result.checked_model, options.manifest);
}

void run_verify(const Options& options) {
    // Every extent is checked here.
    const GgufModel model(options.file,
                          options.only_shard ? GgufModel::Shards::OnlyThis : GgufModel::Shards::All);
    const Report report = check(model, options);
    if (options.json) {
        print_out(json_text(model, report, options.strict));
        if (!report.ok(options.strict)) throw Exit{1};
        return;
    }
    print_findings(report.findings, Painter(stdout));
    report_tokenizer(report.tokenizer, options.file);
    report_bytes(model, report, options);
    if (options.deep && !report.has_odd_values) {
        print_out(fmt::format("{}  {}: nothing odd about the values\n", Painter(stdout)(Tone::Good, "ok"),
                              options.file));
    }
    if (report.manifest) report_manifest(*report.manifest, options);
    if (report.ok(options.strict)) return;
    fail("{}: {} and {}{}", options.file, plural(report.count(Severity::Error), "error"),
         plural(report.count(Severity::Warning), "warning"),
         report.count(Severity::Error) == 0 ? ", which count as errors (--strict)" : "");
}

}  // namespace

void add_verify(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command(
        "verify", "Check a file: keys, extents, checksums, tokenizer, chat template, values");
    command->add_option("FILE", options->file, "GGUF file, or any shard")->required();
    Option* deep = command->add_flag(
        "--deep", options->deep, "Look at all values too: NaN, infinities, zeros, absurd scales, duplicates");
    command->add_flag("--no-data", options->no_data, "Headers only; no checksum is compared")->excludes(deep);
    command
        ->add_option("--manifest", options->manifest,
                     "Compare with what `ingot hash` or llama.cpp's gguf-hash printed")
        ->type_name("FILE");
    command->add_flag("--strict", options->strict, "Warnings count as errors");
    command->add_option("--threads", options->n_threads, "Threads (default: all cores)")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command->add_flag("--shard", options->only_shard, "Only this file of a split model");
    command->add_flag("--json", options->json, "JSON, in the stable form that README describes");
    command->footer(
        "Exits with 0 when all is well (notes and warnings may be there), with 1 when anything is wrong.\n"
        "README lists the codes of what is found.\n\n"
        "Example:\n"
        "  ingot verify --deep model.gguf && ingot run model.gguf -p \"Once upon a time\"");
    command->callback([options] { run_verify(*options); });
}

}  // namespace ingot::cli
