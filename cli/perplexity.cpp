// ingot perplexity: how well a model predicts a text, in llama.cpp's convention.
#include "runtime/perplexity.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "cli/text_input.h"
#include "format/error.h"
#include "format/json_writer.h"
#include "format/output_file.h"

namespace ingot::cli {
namespace {

constexpr int kInterrupted = 130;

struct Options {
    std::string file;
    std::string text_file;
    std::string ids_file;
    std::string logits_file;
    int64_t n_context = 0;  // 0: kDefaultChunk, or the model's when that is less
    bool per_token = false;
    bool json = false;
    DeviceOptions device;
};

void print_json(const Options& options, const runtime::Perplexity& result, int64_t n_context,
                double seconds) {
    JsonWriter json;
    json.begin_object()
        .member("file", options.file)
        .member("text", options.ids_file.empty() ? options.text_file : options.ids_file)
        .member("context", n_context)
        .member("chunks", result.n_chunks)
        .member("scored_tokens", result.scores.size())
        .member("perplexity", result.perplexity)
        .member("standard_error", result.standard_error)
        .member("mean_negative_log_likelihood", result.mean_negative_log_likelihood)
        .member("seconds", seconds)
        .member("interrupted", result.cancelled);
    if (options.per_token) {
        json.key("tokens").begin_array();
        for (const runtime::TokenScore& score : result.scores) {
            json.begin_object(JsonWriter::kOneLine)
                .member("index", score.index)
                .member("token", score.token)
                .member("negative_log_likelihood", score.negative_log_likelihood)
                .end_object();
        }
        json.end_array();
    }
    json.end_object();
    print_out(json.text() + "\n");
}

void print_text(const Options& options, const runtime::Perplexity& result, int64_t n_context,
                double seconds) {
    std::string text;
    if (options.per_token) {
        text += "index\ttoken\tnegative_log_likelihood\n";
        for (const runtime::TokenScore& score : result.scores) {
            text += fmt::format("{}\t{}\t{:.6f}\n", score.index, score.token, score.negative_log_likelihood);
        }
    }
    text += fmt::format("perplexity {:.4f} ± {:.4f}  ({} of {} tokens, {} scored, {})\n", result.perplexity,
                        result.standard_error, plural(uint64_t(result.n_chunks), "chunk"), n_context,
                        grouped(result.scores.size()), human_seconds(seconds));
    print_out(text);
}

// All logits of the tokens, from an empty context in one pass: a NumPy array of float32, (n_tokens, n_vocab).
void write_logits(const runtime::Model& model, const std::vector<runtime::Token>& tokens,
                  const Options& options) {
    if (tokens.empty()) fail("{}: holds no token ids", options.ids_file);
    const int64_t n_tokens = int64_t(tokens.size());
    runtime::ForwardPass forward(model, n_tokens, n_tokens, runtime::CacheType::F32);
    if (!forward.run(tokens, n_tokens, &interrupted)) throw Exit{kInterrupted};

    // https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0
    std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
                                     n_tokens, model.hyperparameters().n_vocab);
    constexpr size_t kPreamble = 10, kAlignment = 64;  // bytes
    header.resize((kPreamble + header.size() + kAlignment) / kAlignment * kAlignment - kPreamble, ' ');
    header.back() = '\n';
    std::string preamble("\x93NUMPY\x01\x00", 8);
    preamble += char(header.size() & 0xff);
    preamble += char(header.size() >> 8);

    const std::span<const float> logits = forward.logits();
    OutputFile file(options.logits_file, preamble.size() + header.size() + logits.size_bytes(), true);
    file.write_at(0, std::as_bytes(std::span(preamble)));
    file.write_at(preamble.size(), std::as_bytes(std::span(header)));
    file.write_at(preamble.size() + header.size(), std::as_bytes(logits));
    file.commit();
}

void run_perplexity(const Options& options) {
    if (options.text_file.empty() && options.ids_file.empty()) {
        throw CLI::RequiredError("--text or --token-ids");
    }
    const auto backend = open_device(options.device);
    const runtime::Model model(options.file, *backend);
    if (!options.logits_file.empty()) {
        return write_logits(model, read_token_ids(options.ids_file), options);
    }
    const TextInput input = read_text_input(model, options.text_file, options.ids_file);
    const int64_t n_context = chunk_length(model, options.n_context);

    runtime::PerplexityOptions measure;
    measure.n_context = n_context;
    measure.bos = input.bos;
    measure.cancel = &interrupted;
    const bool shows_progress = is_terminal(stderr);
    if (shows_progress) {
        measure.on_progress = [](int64_t done, int64_t n_chunks, double perplexity) {
            fmt::print(stderr, "\r{}/{} chunks, perplexity {:.4f}\x1b[K", done, n_chunks, perplexity);
        };
    }
    const auto start = std::chrono::steady_clock::now();
    const runtime::Perplexity result = runtime::measure_perplexity(model, input.tokens, measure);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (shows_progress) fmt::print(stderr, "\r\x1b[K");

    if (options.json) {
        print_json(options, result, n_context, seconds);
    } else if (!result.scores.empty()) {
        print_text(options, result, n_context, seconds);
    }
    if (result.cancelled) throw Exit{kInterrupted};
}

}  // namespace

void add_perplexity(CLI::App& program) {
    auto options = std::make_shared<Options>();
    CLI::App* command =
        program.add_subcommand("perplexity", "Measure how well a model predicts a text (lower is better)");
    command->add_option("FILE", options->file, "GGUF file")->required()->type_name("");
    CLI::Option* text =
        command->add_option("-f,--text", options->text_file, "Text to predict; - is standard input");
    CLI::Option* ids = command->add_option("--token-ids", options->ids_file,
                                           "Its token ids instead, as numbers; - likewise");
    text->type_name("FILE");
    ids->type_name("FILE")->excludes(text);
    command->add_option("--logits", options->logits_file, "Write the ids' logits, and score nothing")
        ->type_name("FILE")
        ->needs(ids);
    command->add_option("--context", options->n_context, "Tokens of a chunk (512, or the model's if less)")
        ->check(in_range(4, INT32_MAX))
        ->type_name("N");
    command->add_flag("--per-token", options->per_token, "List every scored token: index, id, nats");
    command->add_flag("--json", options->json, "JSON");
    add_device_options(*command, options->device);
    command->footer(
        "The text is cut into chunks of the context's length, each begins with BOS if the model wants one, "
        "and\n"
        "the predictions in the second half of each are scored: numbers compare with llama-perplexity's.\n\n"
        "--logits writes a NumPy file, float32 of shape (ids, vocabulary): the logits after each id, "
        "computed in\n"
        "one pass from an empty context, keys and values kept as floats. Nothing is put before the ids.\n\n"
        "Examples:\n"
        "  ingot perplexity model.gguf -f wiki.test.raw --context 512\n"
        "  ingot perplexity model.gguf --token-ids ids.txt --logits logits.npy");
    command->callback([options] { run_perplexity(*options); });
}

}  // namespace ingot::cli
