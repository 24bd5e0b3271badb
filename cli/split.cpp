// ingot split and ingot merge: one model in many files, or in one.
#include "format/gguf_split.h"

#include <chrono>
#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/conversion.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "inspect/value_text.h"

namespace ingot::cli {
namespace {

namespace fs = std::filesystem;
using inspect::escaped;

constexpr int kInterrupted = 130;

struct SplitOptions {
    std::string file, prefix, max_size;
    uint64_t max_tensors = 0;
    bool no_tensor_first = false, dry_run = false, force = false;
};

struct MergeOptions {
    std::string shard, output;
    bool delete_shards = false, force = false;
};

uint64_t data_bytes(const GgufModel& model) {
    uint64_t bytes = 0;
    for (const TensorInfo& tensor : model.header().tensors()) bytes += tensor.size_bytes;
    return bytes;
}

/// A shard must not be overwritten while it is read, whatever --force says.
void check_not_source(const GgufModel& model, const std::string& path) {
    std::error_code error;
    for (const GgufFile& file : model.files()) {
        if (fs::equivalent(path, file.path(), error) && !error)
            fail("{}: is read from; choose another name", path);
    }
}

void run_split(const SplitOptions& options) {
    if (options.max_size.empty() && options.max_tensors == 0)
        fail_usage("split", "give --max-size, --max-tensors or both");
    const GgufModel model(options.file);
    const SplitLimits limits{.max_bytes = options.max_size.empty() ? 0 : parse_size(options.max_size),
                             .max_tensors = options.max_tensors,
                             .no_tensor_first = options.no_tensor_first};
    const std::vector<PlannedShard> shards = plan_split(model, limits);
    const std::string prefix = options.prefix.empty() ? model.name() : options.prefix;
    std::vector<std::string> paths;
    for (size_t i = 0; i < shards.size(); ++i) paths.push_back(shard_name(prefix, i, shards.size()));
    for (const std::string& path : paths) check_not_source(model, path);

    Table table({{"file", Table::kLeft, Tone::Key}, {"tensors", Table::kRight}, {"bytes", Table::kRight}});
    for (size_t i = 0; i < shards.size(); ++i)
        table.add({escaped(paths[i]), grouped(shards[i].layout.tensors().size()),
                   grouped(shards[i].layout.file_size_bytes())});
    const std::string text = table.text(Painter(stdout));
    if (options.dry_run) return print_out(text + "Nothing was written (--dry-run).\n");
    const uint64_t total = data_bytes(model);
    ProgressBar bar("splitting");
    const bool finished = write_shards(
        model, shards, paths, options.force, [&](uint64_t done) { bar.update(done, total); }, &interrupted);
    bar.clear();
    if (!finished) throw Exit{kInterrupted};
    print_out(text);
}

void run_merge(const MergeOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    ProgressBar bar("merging");
    uint64_t total = 0;
    bool finished = false;
    if (options.delete_shards) {
        finished = merge_and_delete(
            options.shard, options.output, [&](uint64_t done) { bar.update(done, std::max(done, total)); },
            &interrupted);
    } else {
        const GgufModel model(options.shard);
        if (model.files().size() == 1) fail("{}: is one file already", options.shard);
        check_not_source(model, options.output);
        std::vector<PlannedShard> plan;
        plan.push_back(plan_merge(model));
        total = data_bytes(model);
        finished = write_shards(
            model, plan, {options.output}, options.force, [&](uint64_t done) { bar.update(done, total); },
            &interrupted);
    }
    bar.clear();
    if (!finished) throw Exit{kInterrupted};
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const GgufFile result{fs::path(options.output)};
    print_out(fmt::format("{}: {}, {} ({})\n", options.output,
                          plural(result.header().tensors().size(), "tensor"),
                          human_bytes(result.bytes().size()), human_seconds(seconds)));
}

}  // namespace

void add_split(Command& program) {
    auto options = std::make_shared<SplitOptions>();
    Command* command = program.add_command("split", "Cut a model into several files");
    command->add_option("FILE", options->file, "GGUF file, or any shard of a model to be cut anew")
        ->required();
    command->add_option("PREFIX", options->prefix, "Of the new files: PREFIX-00001-of-00003.gguf")
        ->type_name("");
    command->add_option("--max-size", options->max_size, "Bytes of a file: 4G, 512MiB")
        ->check(parsed_by(parse_size))
        ->type_name("SIZE");
    command->add_option("--max-tensors", options->max_tensors, "Tensors in a file")
        ->check(in_range(1, int64_t(1) << 32))
        ->type_name("N");
    command->add_flag("--no-tensor-first-split", options->no_tensor_first,
                      "The first file has the metadata and no tensors");
    command->add_flag("--dry-run", options->dry_run, "Only show the files");
    command->add_flag("--force", options->force, "Replace files that are there");
    command->footer(
        "Names and keys are those of llama.cpp's gguf-split. Nothing is decoded; the files appear when all "
        "are whole.\n\n"
        "Example:\n"
        "  ingot split model.gguf --max-size 4G");
    command->callback([options] { run_split(*options); });
}

void add_merge(Command& program) {
    auto options = std::make_shared<MergeOptions>();
    Command* command = program.add_command("merge", "Join the files of a split model");
    command->add_option("SHARD", options->shard, "Any of them")->required();
    command->add_option("OUT", options->output, "The file to write")->required();
    Option* force = command->add_flag("--force", options->force, "Replace OUT");
    command
        ->add_flag(
            "--delete-shards", options->delete_shards,
            "Delete each shard once its bytes are in OUT, durable and compared; needs room for one shard")
        ->excludes(force);
    command->footer(
        "A merge that deletes shards and is killed goes on when the same command is given again, even when "
        "the\n"
        "shard that it names is gone.\n\n"
        "Example:\n"
        "  ingot merge model-00001-of-00009.gguf model.gguf");
    command->callback([options] { run_merge(*options); });
}

}  // namespace ingot::cli
