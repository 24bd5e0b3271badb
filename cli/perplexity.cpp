// ingot perplexity: how well a model predicts a text, in llama.cpp's convention.
#include "runtime/perplexity.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "cli/console.h"
#include "cli/model_options.h"
#include "cli/signals.h"
#include "cli/text_input.h"
#include "format/error.h"
#include "format/json_writer.h"
#include "format/output_file.h"
#include "runtime/comparison.h"

namespace ingot::cli {
namespace {

constexpr int kInterrupted = 130;

struct Options {
    std::string file;
    std::string text_file;
    std::string ids_file;
    std::string logits_file;
    std::string reference_file;  // to write
    std::string compared_with;   // a reference that was written
    int64_t top_k = 256;
    int64_t n_context = 0;  // 0: kDefaultChunk, or the model's when that is less
    bool per_token = false;
    bool json = false;
    runtime::CacheType cache_type = runtime::CacheType::F16;
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

// --- Comparing with another model ---

struct Comparison {
    const runtime::ReferenceInfo& reference;
    runtime::Divergence divergence;
};

void print_json(const Options& options, const Comparison& comparison, double seconds) {
    const runtime::Divergence& d = comparison.divergence;
    JsonWriter json;
    const auto estimate = [&](const char* name, const runtime::Estimate& value) {
        json.key(name).begin_object(JsonWriter::kOneLine).member("value", value.value);
        json.member("standard_error", value.standard_error).end_object();
    };
    json.begin_object().member("file", options.file).member("reference", options.compared_with);
    json.member("reference_model", comparison.reference.model).member("text", comparison.reference.text);
    json.member("context", comparison.reference.n_context).member("scored_tokens", d.n_positions);
    json.member("top_k", comparison.reference.top_k).member("mean_rest", d.mean_rest);
    json.key("kl_divergence").begin_object();
    json.member("mean", d.mean.value).member("standard_error", d.mean.standard_error);
    json.member("median", d.median).member("percentile_99", d.percentile_99).member("max", d.largest);
    json.end_object();
    estimate("top_1_agreement", d.top_1_agreement);
    estimate("perplexity", d.perplexity);
    estimate("reference_perplexity", d.reference_perplexity);
    estimate("perplexity_ratio", d.perplexity_ratio);
    json.member("seconds", seconds).end_object();
    print_out(json.text() + "\n");
}

void print_text(const Comparison& comparison, double seconds) {
    const runtime::Divergence& d = comparison.divergence;
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    facts.add(
        {"KL divergence", fmt::format("{:.6f} ± {:.6f} nats, mean", d.mean.value, d.mean.standard_error)});
    facts.add({"", fmt::format("{:.6f} median, {:.6f} 99th percentile, {:.6f} max", d.median, d.percentile_99,
                               d.largest)});
    facts.add({"same top token", fmt::format("{:.2f} ± {:.2f} %", 100 * d.top_1_agreement.value,
                                             100 * d.top_1_agreement.standard_error)});
    facts.add(
        {"perplexity", fmt::format("{:.4f} ± {:.4f}, of the reference {:.4f} ± {:.4f}", d.perplexity.value,
                                   d.perplexity.standard_error, d.reference_perplexity.value,
                                   d.reference_perplexity.standard_error)});
    facts.add({"ratio",
               fmt::format("{:.5f} ± {:.5f}", d.perplexity_ratio.value, d.perplexity_ratio.standard_error)});
    facts.add({"reference", fmt::format("{} on {}, top {} tokens and the rest ({:.2g} % on average)",
                                        comparison.reference.model, comparison.reference.text,
                                        comparison.reference.top_k, 100 * d.mean_rest)});
    facts.add(
        {"scored", fmt::format("{} tokens in {}", grouped(uint64_t(d.n_positions)), human_seconds(seconds))});
    print_out(facts.text(Painter(stdout), 0));
}

/// What there is to compare with has the text, too.
void compare(const runtime::Model& model, const Options& options) {
    const runtime::Reference reference(options.compared_with);
    const runtime::ReferenceInfo& info = reference.info();
    if (info.n_vocab != model.hyperparameters().n_vocab)
        fail("{}: has a vocabulary of {} tokens, but {} was made with one of {}; they cannot be compared",
             options.file, model.hyperparameters().n_vocab, options.compared_with, info.n_vocab);
    runtime::DivergenceStatistics meter(reference);
    runtime::PerplexityOptions measure;
    measure.n_context = info.n_context;
    measure.cache_type = options.cache_type;
    measure.bos = info.bos;
    measure.on_score = [&](std::span<const float> logits, const runtime::TokenScore& score) {
        meter.add(logits, score.negative_log_likelihood);
    };
    const bool shows_progress = is_terminal(stderr);
    if (shows_progress) {
        measure.on_progress = [&](int64_t done, int64_t n_chunks, double) {
            fmt::print(stderr, "\r{}/{} chunks, KL divergence {:.6f}\x1b[K", done, n_chunks,
                       meter.result().mean.value);
        };
    }
    const auto start = std::chrono::steady_clock::now();
    measure.cancel = &interrupted;
    const bool cancelled = runtime::measure_perplexity(model, reference.tokens(), measure).cancelled;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (shows_progress) fmt::print(stderr, "\r\x1b[K");
    if (cancelled) throw Exit{kInterrupted};
    const Comparison comparison{info, meter.result()};
    options.json ? print_json(options, comparison, seconds) : print_text(comparison, seconds);
}

std::unique_ptr<runtime::ReferenceWriter> open_reference(const runtime::Model& model, const Options& options,
                                                         const TextInput& input, int64_t n_context) {
    const auto name_of = [](const std::string& path) {
        return std::filesystem::path(path).filename().string();
    };
    runtime::ReferenceInfo info;
    info.model = name_of(options.file);
    info.text = name_of(options.ids_file.empty() ? options.text_file : options.ids_file);
    info.n_vocab = model.hyperparameters().n_vocab;
    info.n_context = n_context;
    info.top_k = std::min(options.top_k, info.n_vocab);
    info.bos = input.bos;
    const size_t n_tokens = input.tokens.size() / size_t(n_context) * size_t(n_context);
    return std::make_unique<runtime::ReferenceWriter>(options.reference_file, info,
                                                      std::span(input.tokens).first(n_tokens), true);
}

/// What is known of the run before the model is there. `ids`: those whose logits are asked for, if any.
runtime::RunShape shape_of(const Options& options, std::span<const runtime::Token> ids) {
    runtime::RunShape shape{
        .n_context = options.n_context, .cache_type = options.cache_type, .n_logits = runtime::kScoredBatch};
    if (!options.compared_with.empty())
        shape.n_context = runtime::Reference(options.compared_with).info().n_context;
    if (!ids.empty()) {
        shape.n_context = shape.n_logits = int64_t(ids.size());
        shape.cache_type = runtime::CacheType::F32;
    }
    return shape;
}

void run_perplexity(const Options& options) {
    const bool has_text = !options.text_file.empty() || !options.ids_file.empty();
    if (!has_text && options.compared_with.empty()) fail_required("--text, --token-ids or --kl-divergence");
    std::vector<runtime::Token> ids;
    if (!options.logits_file.empty()) ids = read_token_ids(options.ids_file);
    const auto backend = open_device(options.device, options.file, shape_of(options, ids), kDefaultChunk);
    const runtime::Model model(options.file, *backend);
    if (!options.logits_file.empty()) return write_logits(model, ids, options);
    if (!options.compared_with.empty()) return compare(model, options);
    const TextInput input = read_text_input(model, options.text_file, options.ids_file);
    const int64_t n_context = chunk_length(model, options.n_context);

    runtime::PerplexityOptions measure;
    measure.n_context = n_context;
    measure.cache_type = options.cache_type;
    measure.bos = input.bos;
    measure.cancel = &interrupted;
    std::unique_ptr<runtime::ReferenceWriter> reference;
    if (!options.reference_file.empty() && int64_t(input.tokens.size()) >= n_context) {
        reference = open_reference(model, options, input, n_context);
        measure.on_score = [&](std::span<const float> logits, const runtime::TokenScore& score) {
            reference->add(logits, score.token);
        };
    }
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
    if (reference && !result.cancelled) reference->commit();

    if (options.json) {
        print_json(options, result, n_context, seconds);
    } else if (!result.scores.empty()) {
        print_text(options, result, n_context, seconds);
    }
    if (result.cancelled) throw Exit{kInterrupted};
}

}  // namespace

void add_perplexity(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command =
        program.add_command("perplexity", "Measure how well a model predicts a text (lower is better)");
    command->add_option("FILE", options->file, "GGUF file, or any shard")->required()->type_name("");
    Option* text =
        command->add_option("-f,--text", options->text_file, "Text to predict; - is standard input");
    Option* ids = command->add_option("--token-ids", options->ids_file,
                                      "Its token ids instead, as numbers; - likewise");
    text->type_name("FILE");
    ids->type_name("FILE")->excludes(text);
    Option* logits =
        command->add_option("--logits", options->logits_file, "Write the ids' logits, and score nothing")
            ->type_name("FILE")
            ->needs(ids);
    Option* context =
        command
            ->add_option("--context", options->n_context, "Tokens of a chunk (512, or the model's if less)")
            ->check(in_range(4, INT32_MAX))
            ->type_name("N");
    Option* save =
        command->add_option("--save-reference", options->reference_file,
                            "Write the predictions, for --kl-divergence of other models to compare with");
    save->type_name("FILE")->excludes(logits);
    command
        ->add_option("--top-k", options->top_k, "Most likely tokens that it keeps of each prediction (256)")
        ->check(in_range(1, INT32_MAX))
        ->needs(save)
        ->type_name("N");
    command
        ->add_option("--kl-divergence", options->compared_with,
                     "Compare with these predictions, on their text, instead")
        ->excludes(text)
        ->excludes(ids)
        ->excludes(context)
        ->type_name("FILE");
    command->add_flag("--per-token", options->per_token, "List every scored token: index, id, nats");
    command->add_flag("--json", options->json, "JSON");
    add_cache_option(*command, options->cache_type);
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
        "  ingot perplexity model.gguf --token-ids ids.txt --logits logits.npy\n"
        "  ingot perplexity model-BF16.gguf -f wiki.test.raw --save-reference bf16.gguf\n"
        "  ingot perplexity model-Q4_K_M.gguf --kl-divergence bf16.gguf");
    command->callback([options] { run_perplexity(*options); });
}

}  // namespace ingot::cli
