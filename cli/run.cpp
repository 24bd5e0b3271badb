// ingot run: text out of a model. Standard output carries the text and nothing else.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "format/error.h"
#include "runtime/drafter.h"
#include "runtime/generate.h"
#include "runtime/session.h"

namespace ingot::cli {
namespace {

constexpr int64_t kDefaultParallel = runtime::kExactTokens;  // prompts at once, when there are more
constexpr int kInterrupted = 130;

struct Options {
    std::string file;
    std::string source;  // "-": the prompt comes from standard input
    std::vector<std::string> prompts, prompt_files;
    bool lines = false;      // each line of a file is a prompt
    int64_t n_parallel = 0;  // prompts at once; 0: kDefaultParallel
    int64_t n_tokens = 128;
    int64_t n_context = 0;  // 0: the model's, at most kDefaultContext
    bool echo = false;
    bool quiet = false;
    runtime::SamplerOptions sampler;
    std::optional<uint64_t> seed;
    std::string session;
    std::string draft;
    bool prompt_lookup = false;
    int64_t n_most_guesses = runtime::kDefaultGuesses;
    runtime::CacheType cache_type = runtime::CacheType::F16;
    DeviceOptions device;
    runtime::LoadOptions load;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<std::string> prompt_texts(const Options& options) {
    std::vector<std::string> files = options.prompt_files;
    if (options.source == "-") files.emplace_back("-");
    std::vector<std::string> texts = options.prompts;
    for (const std::string& file : files) {
        const std::string text = read_text(file);
        if (!options.lines) {
            texts.push_back(text);
            continue;
        }
        for (size_t at = 0; at < text.size();) {
            const size_t end = std::min(text.find('\n', at), text.size());
            if (end > at) texts.push_back(text.substr(at, end - at));
            at = end + 1;
        }
    }
    if (texts.empty()) texts.emplace_back();
    return texts;
}

/// Text on standard output, as it comes.
class Output {
  public:
    void write(std::string_view text) {
        if (text.empty()) return;
        print_out(text);
        std::fflush(stdout);
        last_ = text.back();
    }
    void end_line() {
        if (last_ != '\n') write("\n");
    }

  private:
    char last_ = '\n';
};

/// Texts that are written at the same time, shown one after the other: the first that is not complete as it
/// comes, those behind it when it is their turn.
class OrderedOutput {
  public:
    OrderedOutput(std::vector<std::string> beginnings, Output& output)
        : waiting_(std::move(beginnings)), has_ended_(waiting_.size()), output_(output) {
        show();
    }
    void add(size_t index, std::string_view text) {
        if (index != current_) {
            waiting_[index] += text;
        } else {
            output_.write(text);
        }
    }
    void end(size_t index) {
        has_ended_[index] = true;
        while (current_ < waiting_.size() && has_ended_[current_]) {
            output_.end_line();
            ++current_;
            show();
        }
    }

  private:
    void show() {
        if (current_ == waiting_.size()) return;
        output_.write(
            fmt::format("{}==> {} <==\n{}", current_ > 0 ? "\n" : "", current_ + 1, waiting_[current_]));
        waiting_[current_].clear();
    }

    std::vector<std::string> waiting_;
    std::vector<bool> has_ended_;
    Output& output_;
    size_t current_ = 0;
};

void print_speed(const char* part, double n_tokens, size_t n_shown, double seconds,
                 const std::string& more = "") {
    fmt::print(stderr, "{}  {:>12}  {:>10}  {}{}\n", Painter(stderr)(Tone::Key, pad_right(part, 10)),
               plural(n_shown, "token"), human_seconds(seconds), tokens_per_second(n_tokens, seconds), more);
}

void print_load(double seconds) {
    fmt::print(stderr, "\n{}  {:>12}  {:>10}\n", Painter(stderr)(Tone::Key, pad_right("load", 10)), "",
               human_seconds(seconds));
}

void print_speeds(double load_seconds, size_t n_prompt, const runtime::Generation& result) {
    print_load(load_seconds);
    const size_t n_evaluated = size_t(result.n_prompt_evaluated);
    print_speed("prompt", double(n_evaluated), n_evaluated, result.prompt_seconds,
                n_evaluated < n_prompt ? fmt::format(", {} from the session", n_prompt - n_evaluated) : "");
    print_speed("generation", double(result.n_evaluated), result.tokens.size(), result.generation_seconds,
                result.n_guessed > 0
                    ? fmt::format(", {} of {} guesses right ({:.0f} %)", result.n_right, result.n_guessed,
                                  100 * double(result.n_right) / double(result.n_guessed))
                    : "");
    if (result.reason == runtime::StopReason::ContextFull) {
        fmt::print(stderr, "stopped: the context is full; --context makes it longer\n");
    }
}

std::unique_ptr<runtime::Tokenizer> load_tokenizer(const runtime::Model& model) {
    auto tokenizer = model.load_tokenizer();
    for (const std::string& warning : tokenizer->warnings) {
        fmt::print(stderr, "ingot: {} {}: {}\n", Painter(stderr)(Tone::Warning, "warning:"),
                   model.file().path().string(), warning);
    }
    return tokenizer;
}

/// A model that guesses, and all that it needs.
struct Draft {
    runtime::Model model;
    std::unique_ptr<runtime::Tokenizer> tokenizer;
    Draft(const std::string& file, runtime::Backend& backend, const runtime::LoadOptions& load)
        : model(file, backend, load), tokenizer(load_tokenizer(model)) {}
};

/// What all ways of running share.
struct Run {
    const Options& options;
    const runtime::Model& model;
    const runtime::Tokenizer& tokenizer;
    runtime::SamplerOptions sampling;
    int64_t n_context;
    double load_seconds;
};

void run_one(const Run& run, const std::string& text, const std::vector<runtime::Token>& prompt) {
    const Options& options = run.options;
    runtime::Sampler sampler(run.sampling);
    runtime::ForwardPass forward(run.model, run.n_context, runtime::ForwardPass::kDefaultBatch,
                                 options.cache_type);
    runtime::GenerateOptions how;
    how.n_tokens = options.n_tokens;
    how.cancel = &interrupted;
    how.n_most_guesses = options.n_most_guesses;

    std::optional<Draft> draft;
    std::unique_ptr<runtime::Drafter> drafter;
    if (!options.draft.empty()) {
        draft.emplace(options.draft, run.model.backend(), options.load);
        drafter = std::make_unique<runtime::ModelDrafter>(draft->model, *draft->tokenizer, run.model,
                                                          run.tokenizer, run.n_context, run.sampling);
    } else if (options.prompt_lookup) {
        drafter = std::make_unique<runtime::LookupDrafter>();
    }
    how.drafter = drafter.get();

    if (!options.session.empty()) {
        int64_t n_saved = 0;  // tokens of the prompt that the session has
        if (std::filesystem::exists(options.session)) {
            const runtime::Session session(options.session);
            n_saved = session.restore(forward, prompt);
            // A prompt that the session goes beyond leaves it as it is.
            if (n_saved + 1 >= int64_t(prompt.size()) && session.tokens().size() >= prompt.size())
                n_saved = int64_t(prompt.size());
        }
        if (n_saved < int64_t(prompt.size()))
            how.on_prompt_read = [&] { runtime::save_session(options.session, forward, prompt); };
    }

    Output output;
    how.on_text = [&](std::string_view bytes) { output.write(bytes); };
    if (options.echo) output.write(text);
    const runtime::Generation result = runtime::generate(forward, run.tokenizer, prompt, sampler, how);
    if (is_terminal(stdout)) output.end_line();
    if (!options.quiet) print_speeds(run.load_seconds, prompt.size(), result);
    if (result.reason == runtime::StopReason::Cancelled) throw Exit{kInterrupted};
}

void run_several(const Run& run, const std::vector<std::string>& texts,
                 const std::vector<std::vector<runtime::Token>>& prompts) {
    const Options& options = run.options;
    const int64_t n_most = options.n_parallel > 0 ? options.n_parallel : kDefaultParallel;
    runtime::ForwardPass forward(run.model, run.n_context, runtime::ForwardPass::kDefaultBatch,
                                 options.cache_type, std::min(n_most, int64_t(prompts.size())));
    Output output;
    OrderedOutput ordered(options.echo ? texts : std::vector<std::string>(texts.size()), output);
    runtime::ParallelOptions how;
    how.n_tokens = options.n_tokens;
    how.sampler = run.sampling;
    how.cancel = &interrupted;
    how.on_text = [&](size_t index, std::string_view text) { ordered.add(index, text); };
    how.on_end = [&](size_t index) { ordered.end(index); };
    const auto result = runtime::generate_parallel(forward, run.tokenizer, prompts, how);
    if (!options.quiet) {
        print_load(run.load_seconds);
        print_speed("together", double(result.n_prompt_tokens + result.n_tokens),
                    size_t(result.n_prompt_tokens + result.n_tokens), result.seconds,
                    fmt::format(", {} of them generated, {} at once", grouped(uint64_t(result.n_tokens)),
                                plural(uint64_t(forward.n_sequences()), "prompt")));
    }
    if (result.cancelled) throw Exit{kInterrupted};
}

void check_usage(const Options& options, size_t n_prompts) {
    if (n_prompts < 2 && options.n_parallel < 2) return;
    const char* alone = !options.session.empty() ? "--session"
                        : !options.draft.empty() ? "--draft"
                        : options.prompt_lookup  ? "--prompt-lookup"
                                                 : nullptr;
    if (alone != nullptr) fail_usage(alone, "goes with one prompt only");
}

void run_model(const Options& options) {
    const std::vector<std::string> texts = prompt_texts(options);
    check_usage(options, texts.size());

    const auto start = std::chrono::steady_clock::now();
    const bool guesses = options.prompt_lookup || !options.draft.empty();
    const runtime::RunShape shape{
        .n_context = options.n_context,
        .cache_type = options.cache_type,
        .n_sequences =
            std::min(options.n_parallel > 0 ? options.n_parallel : kDefaultParallel, int64_t(texts.size())),
        .n_logits = guesses ? options.n_most_guesses + 1 : 1};
    const auto backend = open_device(options.device, options.file, shape);
    const runtime::Model model(options.file, *backend, options.load);
    const auto tokenizer = load_tokenizer(model);
    const int64_t n_context = context_of(model.hyperparameters(), options.n_context);
    Run run{options, model, *tokenizer, options.sampler, n_context, seconds_since(start)};
    run.sampling.seed = options.seed ? *options.seed : std::random_device()();

    std::vector<std::vector<runtime::Token>> prompts;
    for (const std::string& text : texts) {
        prompts.push_back(tokenizer->encode(text, true, true));
        if (int64_t(prompts.back().size()) <= n_context)
            continue;  // before the memory for the context is taken
        fail(
            "{}: the prompt{} has {} tokens, the context {}; raise "
            "--context or shorten the prompt (the model was trained for {})",
            options.file, texts.size() > 1 ? fmt::format(" {}", prompts.size()) : "",
            grouped(prompts.back().size()), grouped(uint64_t(n_context)),
            grouped(uint64_t(model.hyperparameters().n_context)));
    }
    if (prompts.size() == 1) {
        run_one(run, texts.front(), prompts.front());
    } else {
        run_several(run, texts, prompts);
    }
}

}  // namespace

void add_run(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command = program.add_command("run", "Generate text with a model");
    command->add_option("FILE", options->file, "GGUF file, or any shard")->required()->type_name("");
    command->add_option("SOURCE", options->source, "- reads the prompt from standard input")
        ->check(one_of({"-"}))
        ->type_name("");
    Option* prompt =
        command
            ->add_option("-p,--prompt", options->prompts,
                         "Prompt; without any, a text from its beginning; again: several, at once")
            ->one_value_each_time()
            ->type_name("TEXT");
    command->add_option("-f,--file", options->prompt_files, "File with the prompt; may be given again")
        ->one_value_each_time()
        ->type_name("FILE")
        ->excludes(prompt);
    command->add_flag("--lines", options->lines, "Each line of the file is a prompt");
    command->add_option("--parallel", options->n_parallel, "Prompts that are read and continued at once (7)")
        ->check(in_range(1, 1024))
        ->type_name("N");
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
    command
        ->add_option("--session", options->session, "Keep what was computed for the prompt, and use it again")
        ->type_name("FILE");
    Option* draft =
        command
            ->add_option("--draft", options->draft,
                         "Small model that guesses (--guesses N at once: 6): the same text, faster")
            ->type_name("FILE");
    command->add_flag("--prompt-lookup", options->prompt_lookup, "Guess that the text repeats itself")
        ->excludes(draft);
    command->add_option("--guesses", options->n_most_guesses, "Tokens that are guessed at once, at most (6)")
        ->check(in_range(1, 64))
        ->type_name("N")
        ->hidden();  // in the text above
    command->add_flag("--echo", options->echo, "Print the prompt in front of the text");
    command->add_flag("-q,--quiet", options->quiet, "No speeds on standard error");
    add_cache_option(*command, options->cache_type);
    add_load_options(*command, options->load);
    add_device_options(*command, options->device);
    command->footer(
        "Examples:\n"
        "  ingot run model.gguf -p \"The prince looked at her and\" -n 100\n"
        "  ingot run model.gguf -f questions.txt --lines --parallel 16 --temperature 0\n"
        "  ingot run model.gguf --session notes.session -f notes.txt --prompt-lookup");
    command->callback([options] { run_model(*options); });
}

}  // namespace ingot::cli
