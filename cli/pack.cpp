// ingot pack and ingot unpack: a model as zstd frames, and back.
#include "inspect/pack.h"

#include <algorithm>
#include <array>
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
// Of what zstd unpacks too; of what only Ingot does; of what needs another file besides.
constexpr std::string_view kZstd = ".zst", kPlanes = ".ingot", kPatch = ".patch";

struct Options {
    std::string input, output, frame_size;
    PackRequest request;
};

/// Runs `work(progress)` with a bar and says what came of it.
template <typename Work>
void report(const char* label, const std::string& output, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    ProgressBar bar(label);
    const PackResult result = work([&](uint64_t done, uint64_t total) { bar.update(done, total); });
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
    PackRequest& request = options.request;
    if (options.output.empty()) {
        const std::string_view extension = !request.base.empty() ? kPatch : request.planes ? kPlanes : kZstd;
        options.output = options.input + std::string(extension);
    }
    if (!options.frame_size.empty()) request.frame_bytes = parse_size(options.frame_size);
    report("packing", options.output, [&](const auto& progress) {
        return inspect::pack(file, options.output, request, progress, &interrupted);
    });
    const Painter paint(stdout);
    if (!request.base.empty()) {
        print_out(fmt::format("{}  a patch: `ingot unpack --from {} {}` needs both files\n",
                              paint(Tone::Warning, "note"), request.base, options.output));
    } else if (request.planes) {
        print_out(fmt::format("{}  floats are in planes of bytes: only Ingot unpacks it, zstd does not\n",
                              paint(Tone::Warning, "note")));
    }
}

void run_unpack(Options options) {
    if (options.output.empty()) {
        const std::array extensions = {kZstd, kPlanes, kPatch};
        const auto* extension = std::ranges::find_if(
            extensions, [&](std::string_view candidate) { return options.input.ends_with(candidate); });
        if (extension == extensions.end()) {
            fail("{}: ends neither with {}, {} nor {}; name the output with -o", options.input, kZstd,
                 kPlanes, kPatch);
        }
        options.output = options.input.substr(0, options.input.size() - extension->size());
    }
    const PackRequest& request = options.request;
    report("unpacking", options.output, [&](const auto& progress) {
        return inspect::unpack(options.input, options.output,
                               {request.base, request.overwrite, request.n_threads}, progress, &interrupted);
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
    add_common(*command, *options, "The packed file (default: FILE.zst, FILE.ingot or FILE.patch)");
    command->add_option("-l,--level", options->request.level, "zstd's level (default: 3)")
        ->check(in_range(1, 22))
        ->type_name("N");
    command->add_flag("--long", options->request.far, "Look for matches across whole frames");
    Option* planes = command->add_flag("--planes", options->request.planes,
                                       "Floats as planes of bytes: smaller, but zstd does not unpack it");
    command->add_option("--from", options->request.base, "A patch: only what differs from BASE, a GGUF file")
        ->type_name("BASE")
        ->excludes(planes);
    command
        ->add_option("--frame-size", options->frame_size,
                     "Most bytes of a frame (default: 8MiB, at most 64MiB)")
        ->check(parsed_by(parse_size))
        ->type_name("SIZE");
    command->footer(
        "`zstd -d` restores FILE from FILE.zst byte for byte, and every command of Ingot reads it as it is:\n"
        "frames begin with tensors, and a seek table at the end says where. FILE.ingot (--planes) is read "
        "and\n"
        "unpacked by Ingot only; FILE.patch (--from) gives FILE again together with BASE, by `ingot "
        "unpack`.\n\n"
        "Examples:\n"
        "  ingot pack model-BF16.gguf && ingot inspect model-BF16.gguf.zst\n"
        "  ingot pack tuned-BF16.gguf --from model-BF16.gguf\n"
        "  ingot unpack tuned-BF16.gguf.patch --from model-BF16.gguf");
    command->callback([options] { run_pack(*options); });
}

void add_unpack(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("unpack", "Write the file that a packed one holds");
    command->add_option("FILE", options->input, "Packed file")->required();
    add_common(*command, *options, "The file (default: FILE without .zst, .ingot or .patch)");
    command->add_option("--from", options->request.base, "Of a patch: the file that it was made against")
        ->type_name("BASE");
    command->callback([options] { run_unpack(*options); });
}

}  // namespace ingot::cli
