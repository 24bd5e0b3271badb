// ingot pack and ingot unpack: a model as zstd frames, and back.
#include "inspect/pack.h"

#include <chrono>
#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/conversion.h"
#include "cli/progress.h"
#include "cli/signals.h"

namespace ingot::cli {
namespace {

using inspect::PackRequest;
using inspect::PackResult;

constexpr int kInterrupted = 130;
constexpr std::string_view kExtension = ".zst";

struct Options {
    std::string input, output, frame_size;
    PackRequest request;
};

/// Runs `work(progress)` with a bar and says what came of it.
template <typename Work>
void report(const char* label, const std::string& output, uint64_t total_bytes, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    ProgressBar bar(label);
    const PackResult result = work([&](uint64_t done) { bar.update(done, total_bytes); });
    bar.clear();
    if (result.stopped) throw Exit{kInterrupted};
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double share = result.size_bytes == 0 ? 0 : double(result.packed_bytes) / double(result.size_bytes);
    print_out(fmt::format("{}: {} packed, {} unpacked ({:.1f} %), {} ({}, {}/s)\n", output,
                          human_bytes(result.packed_bytes), human_bytes(result.size_bytes), 100 * share,
                          plural(result.n_frames, "frame"), human_seconds(seconds),
                          human_bytes(uint64_t(double(result.size_bytes) / std::max(seconds, 1e-9)))));
}

void run_pack(Options options) {
    const GgufFile file{std::filesystem::path(options.input)};
    if (options.output.empty()) options.output = options.input + std::string(kExtension);
    if (!options.frame_size.empty()) options.request.frame_bytes = parse_size(options.frame_size);
    report("packing", options.output, file.bytes().size(), [&](const auto& progress) {
        return inspect::pack(file, options.output, options.request, progress, &interrupted);
    });
}

void run_unpack(Options options) {
    if (options.output.empty()) {
        if (!options.input.ends_with(kExtension))
            fail("{}: does not end with {}; name the output with -o", options.input, kExtension);
        options.output = options.input.substr(0, options.input.size() - kExtension.size());
    }
    const uint64_t total = GgufFile(std::filesystem::path(options.input)).bytes().size();
    report("unpacking", options.output, total, [&](const auto& progress) {
        return inspect::unpack(options.input, options.output, options.request.overwrite,
                               options.request.n_threads, progress, &interrupted);
    });
}

void add_common(Command& command, Options& options, const char* output_help) {
    command.add_option("-o,--output", options.output, output_help)->type_name("OUT");
    command.add_flag("--force", options.request.overwrite, "Replace OUT");
    command.add_option("--threads", options.request.n_threads, "Threads (default: all cores)")
        ->check(in_range(1, 1024))
        ->type_name("N");
}

}  // namespace

void add_pack(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("pack", "Pack a file with zstd so that it can be used as it is");
    command->add_option("FILE", options->input, "GGUF file")->required();
    add_common(*command, *options, "The packed file (default: FILE.zst)");
    command->add_option("-l,--level", options->request.level, "zstd's level (default: 3)")
        ->check(in_range(1, 22))
        ->type_name("N");
    command->add_flag("--long", options->request.far, "Look for matches across whole frames");
    command->add_option("--frame-size", options->frame_size, "Most bytes of a frame (default: 8MiB)")
        ->check(parsed_by(parse_size))
        ->type_name("SIZE");
    command->footer(
        "`zstd -d` restores the file byte for byte, and every command of Ingot reads the packed one: frames "
        "begin with\n"
        "tensors, and a seek table at the end says where.\n\n"
        "Example:\n"
        "  ingot pack model-BF16.gguf && ingot inspect model-BF16.gguf.zst");
    command->callback([options] { run_pack(*options); });
}

void add_unpack(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("unpack", "Write the file that a packed one holds");
    command->add_option("FILE", options->input, "Packed file")->required();
    add_common(*command, *options, "The file (default: FILE without .zst)");
    command->callback([options] { run_unpack(*options); });
}

}  // namespace ingot::cli
