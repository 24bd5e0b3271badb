#include "converters/export/export.h"

#include <tbb/info.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <system_error>

#include "converters/architectures/model_config.h"
#include "converters/convert.h"
#include "converters/export/config.h"
#include "converters/export/tokenizer.h"
#include "converters/stream.h"
#include "format/error.h"
#include "format/output_file.h"

namespace ingot::converters {

namespace {

namespace fs = std::filesystem;

/// What most weights have, when that is a type that checkpoints have; otherwise BF16, whose range is float's.
TensorType usual_type(const Checkpoint& checkpoint) {
    std::map<TensorType, uint64_t> elements;
    for (const SourceTensor& tensor : checkpoint.tensors()) elements[tensor.type] += tensor.n_elements();
    if (elements.empty()) return TensorType::BF16;
    const TensorType most =
        std::ranges::max_element(elements, {}, [](const auto& entry) { return entry.second; })->first;
    const bool plain = most == TensorType::F32 || most == TensorType::F16;
    return plain ? most : TensorType::BF16;
}

std::string read_text(const std::string& path) {
    const MappedFile file{fs::path(path)};
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

void check_folder(const ExportPlan& plan, Findings& findings) {
    const fs::path folder(plan.request.folder);
    std::error_code error;
    if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
        findings.problem(folder.string(), "is no folder", "choose another name");
        return;
    }
    if (!plan.request.overwrite && fs::is_directory(folder, error) && !fs::is_empty(folder, error)) {
        bool only_unfinished = true;  // of an export that was killed
        for (const auto& entry : fs::directory_iterator(folder, error))
            only_unfinished = only_unfinished && entry.path().extension() == ".ingot-partial";
        if (!only_unfinished)
            findings.problem(folder.string(), "is not empty",
                             "use --force to write into it, or another name");
    }
    fs::path existing = fs::absolute(folder, error);
    while (!existing.empty() && !fs::exists(existing, error) && existing.has_relative_path())
        existing = existing.parent_path();
    const fs::space_info space = fs::space(existing, error);
    if (!error && space.available < plan.output_bytes()) {
        findings.problem(
            "disk space",
            fmt::format("{} bytes are needed, but the disk of {} has {} left", grouped(plan.output_bytes()),
                        existing.string(), grouped(space.available)),
            "make room, or write to another disk");
    }
}

void write_small(const fs::path& path, const std::string& content, bool overwrite) {
    OutputFile file(path, content.size(), overwrite);
    file.write_at(0, std::as_bytes(std::span(content)));
    file.commit();
}

/// The safetensors files while they are written.
class ShardSink final : public StreamSink {
  public:
    ShardSink(const SafetensorsLayout& layout, const fs::path& folder, bool overwrite) : layout_(layout) {
        for (const SafetensorsLayout::File& file : layout.files) {
            outputs_.push_back(std::make_unique<OutputFile>(folder / file.name, file.size_bytes, overwrite));
            outputs_.back()->write_at(0, std::as_bytes(std::span(file.header)));
        }
    }
    void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) override {
        const SafetensorsTensor& target = layout_.tensors[tensor];
        outputs_[target.file]->write_at(target.offset + offset, bytes);
    }
    void finish(size_t, const std::string&) override {}
    void commit() {
        for (const auto& output : outputs_) output->commit();
    }

  private:
    const SafetensorsLayout& layout_;
    std::vector<std::unique_ptr<OutputFile>> outputs_;
};

}  // namespace

uint64_t ExportPlan::output_bytes() const {
    uint64_t total = layout.size_bytes() + layout.index.size();
    for (const auto& [name, content] : files) total += content.size();
    return total;
}

ExportPlan plan_export(const ExportRequest& request) {
    ExportPlan plan;
    plan.request = request;
    plan.checkpoint = open_gguf(request.source);
    const GgufHeader& header = plan.checkpoint->header();
    plan.type = request.type.value_or(usual_type(*plan.checkpoint));
    Findings& findings = plan.findings;
    findings.attempt(request.source, [&] {
        const std::string config =
            request.config_file.empty()
                ? exported_config(header, plan.type)
                : exported_config(read_text(request.config_file), request.config_file, plan.type);
        const ModelConfig model = read_model_config(Json::parse(config, "config.json"));
        plan.family = model.family->name;
        plan.tensors = exported_tensors(model, *plan.checkpoint, findings);
        plan.files = exported_tokenizer(header, findings);
        plan.files.emplace_back("generation_config.json", exported_generation_config(header));
        plan.files.emplace_back("config.json", config);
    });
    std::vector<SafetensorsTensor> targets;
    for (const ExportedTensor& tensor : plan.tensors) {
        targets.push_back({tensor.name, plan.type, tensor.rows->shape()});
        plan.source_bytes += source_bytes_of(*tensor.rows);
    }
    plan.layout = lay_out_safetensors(std::move(targets), request.max_file_bytes);
    check_folder(plan, findings);
    return plan;
}

ExportResult export_checkpoint(const ExportPlan& plan, const ExportOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    plan.findings.throw_if_problems(plan.request.source);
    const fs::path folder(plan.request.folder);
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) fail("{}: the folder cannot be made: {}", folder.string(), error.message());

    ExportResult result;
    result.n_threads = options.n_threads > 0 ? options.n_threads : tbb::info::default_concurrency();
    ShardSink sink(plan.layout, folder, plan.request.overwrite);
    std::vector<StreamJob> jobs;
    for (size_t i = 0; i < plan.tensors.size(); ++i)
        jobs.push_back({i, plan.tensors[i].rows.get(), plan.layout.tensors[i].type});
    StreamOptions stream_options{plan.request.source, result.n_threads, options.cancel, {}};
    if (options.progress)
        stream_options.progress = [&](uint64_t done) { options.progress(done, plan.source_bytes); };
    try {
        stream_rows(jobs, sink, stream_options);
    } catch (const Cancelled&) {
        throw Cancelled("interrupted; no weights were written");
    }
    sink.commit();
    if (!plan.layout.index.empty())
        write_small(folder / "model.safetensors.index.json", plan.layout.index, plan.request.overwrite);
    for (const auto& [name, content] : plan.files)
        write_small(folder / name, content, plan.request.overwrite);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
}

}  // namespace ingot::converters
