// ingot hash: hashes of tensors, in the form of llama.cpp's gguf-hash.
#include "inspect/hash.h"

#include <memory>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "format/json_writer.h"
#include "inspect/value_text.h"

namespace ingot::cli {
namespace {

using inspect::escaped;
using inspect::Hashes;
using inspect::HashRequest;

constexpr int kInterrupted = 130;
/// The number of the JSON form, raised when a member changes its meaning or goes away.
constexpr int kHashVersion = 1;

struct Options {
    std::string file;
    bool xxh64 = false, xxh3 = false, sha1 = false, sha256 = false, uuid = false, all = false;
    bool no_layer = false, json = false;
    int n_threads = 0;
};

HashRequest request_of(const Options& options) {
    HashRequest request{.tensors = !options.no_layer, .uuid = options.uuid, .n_threads = options.n_threads};
    const bool none = !options.xxh64 && !options.xxh3 && !options.sha1 && !options.sha256 && !options.uuid;
    if (options.xxh64 || options.all || none) request.kinds.push_back(DigestKind::Xxh64);
    if (options.xxh3) request.kinds.push_back(DigestKind::Xxh3_128);
    if (options.sha1 || options.all) request.kinds.push_back(DigestKind::Sha1);
    if (options.sha256 || options.all) request.kinds.push_back(DigestKind::Sha256);
    return request;
}

std::string manifest_text(const GgufModel& model, const HashRequest& request, const Hashes& hashes) {
    const std::string file = model.path().string();
    std::string text;
    const auto add = [&](std::string_view kind, const std::string& hash, const std::string& subject) {
        text += fmt::format("{:<8}  {}  {}\n", kind, hash, subject);
    };
    for (size_t i = 0; i < hashes.tensors.size(); ++i) {
        for (size_t k = 0; k < request.kinds.size(); ++k) {
            add(name(request.kinds[k]), hashes.tensors[i][k],
                fmt::format("{}:{}", file, escaped(model.header().tensors()[i].name)));
        }
    }
    for (size_t k = 0; k < request.kinds.size(); ++k) add(name(request.kinds[k]), hashes.model[k], file);
    if (request.uuid) add("uuid", hashes.uuid, file);
    return text;
}

std::string json_text(const GgufModel& model, const HashRequest& request, const Hashes& hashes) {
    JsonWriter json;
    json.begin_object().member("ingot_hash", kHashVersion).member("file", model.path().string());
    json.key("hashes").begin_object(JsonWriter::kOneLine);
    for (size_t k = 0; k < request.kinds.size(); ++k) json.member(name(request.kinds[k]), hashes.model[k]);
    if (request.uuid) json.member("uuid", hashes.uuid);
    json.end_object().key("tensors").begin_array();
    for (size_t i = 0; i < hashes.tensors.size(); ++i) {
        json.begin_object(JsonWriter::kOneLine).member("name", model.header().tensors()[i].name);
        for (size_t k = 0; k < request.kinds.size(); ++k)
            json.member(name(request.kinds[k]), hashes.tensors[i][k]);
        json.end_object();
    }
    return json.end_array().end_object().text() + "\n";
}

void run_hash(const Options& options) {
    const GgufModel model(options.file);
    const HashRequest request = request_of(options);
    uint64_t n_bytes = 0;
    for (const TensorInfo& tensor : model.header().tensors()) n_bytes += tensor.size_bytes;
    n_bytes *= request.kinds.size() * (request.tensors ? 2 : 1) + request.uuid;
    ProgressBar bar("hashing");
    const Hashes hashes = inspect::hash(
        model, request, [&](uint64_t done) { bar.update(done, n_bytes); }, &interrupted);
    bar.clear();
    if (hashes.stopped) throw Exit{kInterrupted};
    print_out(options.json ? json_text(model, request, hashes) : manifest_text(model, request, hashes));
}

}  // namespace

void add_hash(Command& program) {
    auto options = std::make_shared<Options>();
    Command* command =
        program.add_command("hash", "Print hashes of every tensor and of all, as llama.cpp's gguf-hash does");
    command->add_option("FILE", options->file, "GGUF file, or any shard: of all shards' tensors")->required();
    command->add_flag("--xxh64", options->xxh64, "XXH64; what is printed when nothing is asked for");
    command->add_flag("--xxh3", options->xxh3, "XXH3-128, Ingot's own checksum");
    command->add_flag("--sha1", options->sha1, "SHA-1");
    command->add_flag("--sha256", options->sha256, "SHA-256");
    command->add_flag("--all", options->all, "XXH64, SHA-1 and SHA-256");
    command->add_flag("--uuid", options->uuid, "A UUID (version 5) of all data");
    command->add_flag("--no-layer", options->no_layer, "Not the tensors, only all data");
    command->add_option("--threads", options->n_threads, "Threads (default: all cores)")
        ->check(in_range(1, 1024))
        ->type_name("N");
    command->add_flag("--json", options->json, "JSON, in the form that README describes");
    command->footer(
        "Of the tensors' bytes, without metadata and padding. `ingot verify --manifest` compares.\n\n"
        "Example:\n"
        "  ingot hash --sha256 model.gguf > model.manifest\n"
        "  ingot verify model.gguf --manifest model.manifest");
    command->callback([options] { run_hash(*options); });
}

}  // namespace ingot::cli
