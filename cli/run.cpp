// ingot run: text out of a model. Standard output carries the text and nothing else.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <random>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "format/error.h"
#include "runtime/generate.h"

namespace ingot::cli {
namespace {

constexpr int64_t kDefaultContext = 4096;  // tokens, when the model has more
constexpr int kInterrupted = 130;

struct Options {
    std::string file;
    std::string source;  // "-": the prompt comes from standard input
    std::string prompt;
    std::string prompt_file;
    int64_t n_tokens = 128;
    int64_t n_context = 0;  // 0: the model's, at most kDefaultContext
    bool echo = false;
    bool quiet = false;
    runtime::SamplerOptions sampler;
    std::optional<uint64_t> seed;
    DeviceOptions device;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string prompt_text(const Options& options) {
    if (options.source == "-" || options.prompt_file == "-") return read_text("-");
    if (!options.prompt_file.empty()) return read_text(options.prompt_file);
    return options.prompt;
}

void write_text(std::string_view text) {
    print_out(text);
    std::fflush(stdout);
}

void print_speeds(double load_seconds, size_t n_prompt, const runtime::Generation& result) {
    const Painter paint(stderr);
    const auto line = [&](const char* part, double n_tokens, size_t n_shown, double seconds) {
        fmt::print(stderr, "{}  {:>12}  {:>10}  {}\n", paint(Tone::Key, pad_right(part, 10)),
                   plural(n_shown, "token"), human_seconds(seconds), tokens_per_second(n_tokens, seconds));
    };
    fmt::print(stderr, "\n{}  {:>12}  {:>10}\n", paint(Tone::Key, pad_right("load", 10)), "",
               human_seconds(load_seconds));
    line("prompt", double(n_prompt), n_prompt, result.prompt_seconds);
    line("generation", double(result.n_evaluated), result.tokens.size(), result.generation_seconds);
    if (result.reason == runtime::StopReason::ContextFull) {
        fmt::print(stderr, "stopped: the context is full; --context makes it longer\n");
    }
}

void run_model(const Options& options) {
    const std::string text = prompt_text(options);

    const auto start = std::chrono::steady_clock::now();
    const auto backend = open_device(options.device);
    const runtime::Model model(options.file, *backend);
    const auto tokenizer = model.load_tokenizer();
    for (const std::string& warning : tokenizer->warnings) {
        fmt::print(stderr, "ingot: {} {}: {}\n", Painter(stderr)(Tone::Warning, "warning:"), options.file,
                   warning);
    }
    const int64_t n_context = options.n_context > 0
                                  ? options.n_context
                                  : std::min(model.hyperparameters().n_context, kDefaultContext);
    const double load_seconds = seconds_since(start);

    const std::vector<runtime::Token> prompt = tokenizer->encode(text, true, true);
    if (int64_t(prompt.size()) > n_context) {  // before the memory for the context is taken
        fail(
            "{}: the prompt has {} tokens, the context {}; raise "
            "--context or shorten the prompt (the model was trained for {})",
            options.file, grouped(prompt.size()), grouped(uint64_t(n_context)),
            grouped(uint64_t(model.hyperparameters().n_context)));
    }
    runtime::SamplerOptions sampling = options.sampler;
    sampling.seed = options.seed ? *options.seed : std::random_device()();
    runtime::Sampler sampler(sampling);
    runtime::ForwardPass forward(model, n_context);

    char last = '\n';
    const auto emit = [&](std::string_view bytes) {
        write_text(bytes);
        last = bytes.back();
    };
    if (options.echo && !text.empty()) emit(text);
    const runtime::Generation result =
        runtime::generate(forward, *tokenizer, prompt, sampler, options.n_tokens, emit, &interrupted);
    if (last != '\n' && is_terminal(stdout)) write_text("\n");
    if (!options.quiet) print_speeds(load_seconds, prompt.size(), result);
    if (result.reason == runtime::StopReason::Cancelled) throw Exit{kInterrupted};
}

}  // namespace

void add_run(CLI::App& program) {
    auto options = std::make_shared<Options>();
    CLI::App* command = program.add_subcommand("run", "Generate text with a model");
    command->add_option("FILE", options->file, "GGUF file, or any shard")->required()->type_name("");
    command->add_option("SOURCE", options->source, "- reads the prompt from standard input")
        ->check(CLI::IsMember({"-"}).description(""))
        ->type_name("");
    command->add_option("-p,--prompt", options->prompt, "Prompt; without any, a text from its beginning")
        ->type_name("TEXT");
    command->add_option("-f,--file", options->prompt_file, "File with the prompt")
        ->type_name("FILE")
        ->excludes("--prompt");
    command->add_option("-n", options->n_tokens, "Tokens to generate (128); -1: until the context is full")
        ->check(in_range(-1, INT32_MAX))
        ->type_name("N");
    auto& sampler = options->sampler;
    const auto number = [&](const char* name, auto& value, const char* help) {
        command->add_option(name, value, help)->type_name("X");
    };
    number("--temperature", sampler.temperature, "Randomness (0.8); 0 always takes the likeliest token");
    number("--top-k", sampler.top_k, "Only the k likeliest tokens (40); 0: all");
    number("--top-p", sampler.top_p, "Only the likeliest tokens of this total probability (0.95); 1: all");
    number("--min-p", sampler.min_p, "Only tokens at least this fraction as likely as the likeliest (0.05)");
    number("--repeat-penalty", sampler.repeat_penalty, "Makes the last 64 tokens less likely (1: no)");
    number("--seed", options->seed, "Same seed, same text; random if not given");
    command->add_option("--context", options->n_context, "Tokens of prompt and text; the model's, up to 4096")
        ->check(in_range(1, INT32_MAX))
        ->type_name("N");
    command->add_flag("--echo", options->echo, "Print the prompt in front of the text");
    command->add_flag("-q,--quiet", options->quiet, "No speeds on standard error");
    add_device_options(*command, options->device);
    command->footer(
        "Examples:\n"
        "  ingot run model.gguf -p \"The prince looked at her and\" -n 100\n"
        "  ingot run model.gguf --temperature 0 - < prompt.txt > continuation.txt");
    command->callback([options] { run_model(*options); });
}

}  // namespace ingot::cli
