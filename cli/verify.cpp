// ingot verify: are the tensors' bytes the ones that were written?
#include "inspect/verify.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <mutex>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "format/error.h"
#include "format/json_writer.h"
#include "inspect/value_text.h"
#include "runtime/tokenizer/self_test.h"

namespace ingot::cli {

namespace {

using inspect::DamagedTensor;
using inspect::escaped;
using inspect::Verification;

struct Options {
    std::string file;
    int n_threads = 0;
    bool json = false;
    bool only_shard = false;
};

/// The number of the JSON form, raised when a member changes its meaning or goes away.
constexpr int kVerifyVersion = 1;

using runtime::TokenizerSelfTest;

std::string json_text(const GgufModel& model, const Verification& result, const TokenizerSelfTest& tokenizer,
                      double seconds) {
    JsonWriter json;
    json.begin_object().member("ingot_verify", kVerifyVersion).member("file", model.path().string());
    json.member("ok", result.ok() && tokenizer.mismatches.empty());
    json.member("tokenizer_texts", tokenizer.n_texts);
    json.member("tokenizer_mismatches", tokenizer.mismatches.size())
        .member("checksums", result.has_checksums);
    json.member("tensor_count", model.header().tensors().size()).member("checked", result.n_checked);
    json.member("checked_bytes", result.checked_bytes)
        .member("seconds", seconds)
        .key("damaged")
        .begin_array();
    for (const DamagedTensor& damaged : result.damaged) {
        json.begin_object(JsonWriter::kOneLine).member("name", damaged.name);
        json.member("file", model.files()[damaged.shard].path().string());
        json.member("offset", damaged.offset).member("size_bytes", damaged.size_bytes);
        json.member("expected", damaged.expected).member("found", damaged.found);
        json.member("never_written", damaged.pending).end_object();
    }
    return json.end_array().end_object().text() + "\n";
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

/// The bar is drawn by whichever thread comes by while no other draws.
Verification verify_with_progress(const GgufModel& model, int n_threads) {
    uint64_t total_bytes = 0;
    for (const TensorInfo& tensor : model.header().tensors()) total_bytes += tensor.size_bytes;
    ProgressBar bar("verifying");
    std::mutex drawing;
    const auto progress = [&](uint64_t done_bytes) {
        if (const std::unique_lock lock(drawing, std::try_to_lock); lock) bar.update(done_bytes, total_bytes);
    };
    return inspect::verify(model, n_threads, progress, &interrupted);
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

void run_verify(const Options& options) {
    const auto start = std::chrono::steady_clock::now();
    // Every extent is checked here.
    const GgufModel model(options.file,
                          options.only_shard ? GgufModel::Shards::OnlyThis : GgufModel::Shards::All);
    const Verification result = verify_with_progress(model, options.n_threads);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (result.stopped) throw Exit{130};
    const TokenizerSelfTest tokenizer = runtime::run_tokenizer_self_test(model.header());
    if (options.json) {
        print_out(json_text(model, result, tokenizer, seconds));
        if (!result.ok() || !tokenizer.mismatches.empty()) throw Exit{1};
        return;
    }
    report_tokenizer(tokenizer, options.file);

    const Painter paint(stdout);
    std::string tensors = plural(model.header().tensors().size(), "tensor");
    if (model.files().size() > 1) tensors += fmt::format(" in {} shards", model.files().size());
    if (!result.has_checksums) {
        return print_out(
            fmt::format("{}  {}: every one of {} lies inside the file\n"
                        "{}  there are no checksums, so the bytes themselves could not be checked;\n"
                        "      `ingot convert` and `ingot quantize` write them\n",
                        paint(Tone::Good, "ok  "), options.file, tensors, paint(Tone::Warning, "note")));
    }
    if (result.ok()) {
        const double rate = seconds > 0 ? double(result.checked_bytes) / seconds : 0;
        print_out(fmt::format("{}  {}: {}, {}, all as written ({}, {}/s)\n", paint(Tone::Good, "ok"),
                              options.file, tensors, human_bytes(result.checked_bytes),
                              human_seconds(seconds), human_bytes(uint64_t(rate))));
        if (result.n_unchecked == 0) return;
        return print_out(
            fmt::format("{}  {} of them are in shards without checksums, and were not compared\n",
                        paint(Tone::Warning, "note"), result.n_unchecked));
    }
    print_out(damaged_text(model, result.damaged, paint));
    fail("{}: {} of {} do not have the bytes that were written; fetch or convert the file again",
         options.file, result.damaged.size(), tensors);
}

}  // namespace

void add_verify(CLI::App& program) {
    auto options = std::make_shared<Options>();
    CLI::App* command = program.add_subcommand(
        "verify", "Check a file's extents, the checksum of every tensor, and its tokenizer");
    command->add_option("FILE", options->file, "GGUF file, or any shard; all is read")->required();
    command->add_option("--threads", options->n_threads, "Threads (default: all cores)")
        ->check(CLI::Range(1, 1024));
    command->add_flag("--shard", options->only_shard, "Only this file of a split model");
    command->add_flag("--json", options->json, "JSON, in the stable form that README describes");
    command->footer(
        "Exits with 0 when all is well, with 1 when a tensor is damaged.\n\n"
        "Example:\n"
        "  ingot verify model.gguf && ingot run model.gguf -p \"Once upon a time\"");
    command->callback([options] { run_verify(*options); });
}

}  // namespace ingot::cli
