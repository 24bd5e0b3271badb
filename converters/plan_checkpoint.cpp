// From a Hugging Face folder to a plan. Every stage does what it can with what the stages before it found, so
// that one run names everything that is in the way.
#include <algorithm>
#include <filesystem>
#include <set>

#include "converters/architectures/mapping.h"
#include "converters/architectures/model_config.h"
#include "converters/metadata_file.h"
#include "converters/model_name.h"
#include "converters/planners.h"
#include "converters/prequantized/prequantized.h"
#include "converters/sources/llama2c.h"
#include "converters/vocabulary/vocabulary.h"
#include "format/checksum.h"
#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::converters {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxStoredConfigBytes = 1 << 20;

/// generation_config.json's sampling defaults, under the keys that other programs read.
void write_sampling_defaults(const fs::path& folder, Metadata& metadata) {
    const fs::path path = folder / "generation_config.json";
    if (!fs::exists(path)) return;
    const Json config = Json::read_file(path.string());
    const auto set_float = [&](const char* config_key, const char* key) {
        if (const auto value = config.get_number(config_key)) metadata.set(key, float(*value));
    };
    if (const auto top_k = config.get_uint("top_k"); top_k && *top_k <= INT32_MAX) {
        metadata.set("general.sampling.top_k", int32_t(*top_k));
    }
    set_float("top_p", "general.sampling.top_p");
    set_float("min_p", "general.sampling.min_p");
    set_float("temperature", "general.sampling.temp");
    set_float("repetition_penalty", "general.sampling.penalty_repeat");
}

/// "safetensors, 2 files, BF16 and F32"
std::string form_of(const Checkpoint& checkpoint) {
    std::set<std::string> types;
    for (const SourceTensor& tensor : checkpoint.tensors()) {
        types.insert(tensor.unreadable.empty() ? std::string(name(tensor.type)) : tensor.unreadable);
    }
    const size_t n_files = checkpoint.files().size();
    return fmt::format("{}, {} file{}, {}", checkpoint.format(), n_files, n_files == 1 ? "" : "s",
                       fmt::join(types, " and "));
}

bool has_tokenizer(const fs::path& folder) {
    return fs::exists(folder / "tokenizer.model") || fs::exists(folder / "tokenizer.json");
}

class CheckpointPlanner {
  public:
    explicit CheckpointPlanner(ConversionPlan& plan)
        : plan_(plan), findings_(plan.findings), folder_(plan.source()) {}

    void run() {
        read_source();
        findings_.attempt("config.json", [&] {
            config_ = Json::parse(config_text_, config_name_);
            model_ = read_model_config(*config_, requested_family());
            plan_.family = model_->family->name;
            plan_.architecture = model_->family->architecture;
            for (const std::string& warning : model_->warnings) findings_.warn("config.json", warning);
        });
        if (!plan_.request.vocab_only) {
            findings_.attempt("weights", [&] { open_weights(); });
            if (model_ && weights_) findings_.attempt("weights", [&] { map_weights(); });
            if (!model_ && weights_) offer_families();
        }
        findings_.attempt("tokenizer", [&] { read_tokenizer(); });
        if (!model_ || findings_.has_problems()) return;
        findings_.attempt("types", [&] { choose_target_types(); });
        findings_.attempt("metadata", [&] { plan_.lay_out(metadata(), std::move(targets_)); });
    }

  private:
    /// --as; null when config.json decides.
    const Family* requested_family() const {
        const std::string& wanted = plan_.request.family;
        if (wanted.empty()) return nullptr;
        const Family* family = find_family_by_name(wanted);
        if (family) return family;
        std::vector<std::string_view> names;
        for (const Family* known : families()) names.push_back(known->name);
        fail("--as {}: no such family; the families are {}", wanted, fmt::join(names, ", "));
    }

    /// Where config.json names a class that nobody knows, its tensors may still be those of a family.
    void offer_families() {
        std::vector<std::string> names;
        for (const Family* family : find_matching_families(*weights_)) {
            std::string name(family->name);
            std::ranges::transform(name, name.begin(), [](char c) { return char(std::tolower(c)); });
            names.push_back(name.find(' ') == std::string::npos ? name : "\"" + name + "\"");
        }
        if (names.empty() || !plan_.request.family.empty()) return;
        findings_.advise(fmt::format(
            "its tensors have the names of {}: if it computes as that family does, convert with --as {}",
            fmt::join(names, ", "), names[0]));
    }

    /// What stands for config.json, and which folder has the tokenizer's files.
    void read_source() {
        if (!fs::is_directory(plan_.source())) {  // a file of llama2.c
            llama2c_ = open_llama2c(plan_.source());
            config_name_ = plan_.source();
            config_text_ = llama2c_->config_json();
            folder_ = fs::path(plan_.source()).parent_path().string();
            if (folder_.empty()) folder_ = ".";
        } else {
            config_name_ = (fs::path(folder_) / "config.json").string();
            if (!fs::exists(config_name_))
                fail("{}: no config.json there; expected the folder of a checkpoint", folder_);
            const MappedFile file{fs::path(config_name_)};
            config_text_.assign(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
        }
        if (plan_.request.tokenizer.empty()) return;
        const fs::path tokenizer(plan_.request.tokenizer);
        if (!fs::exists(tokenizer)) fail("{}: no such file; expected a tokenizer", tokenizer.string());
        const std::string name = tokenizer.filename().string();
        if (!fs::is_directory(tokenizer) && name != "tokenizer.model" && name != "tokenizer.json")
            fail(
                "{}: expected tokenizer.model or tokenizer.json, or the folder of one; rename it to what it "
                "is",
                tokenizer.string());
        folder_ = fs::is_directory(tokenizer) ? tokenizer.string() : tokenizer.parent_path().string();
        if (folder_.empty()) folder_ = ".";
    }

    void open_weights() {
        std::optional<WeightSet> weights;  // mapped only when all of them can be read: else that is noise
        if (llama2c_) {
            plan_.source_form = llama2c_->describe();
            weights = llama2c_weights(*llama2c_);
            plan_.checkpoint = std::move(llama2c_);
        } else {
            plan_.checkpoint = open_checkpoint(plan_.source());
            plan_.source_form = form_of(*plan_.checkpoint);
            if (!config_) return;
            weights.emplace(*plan_.checkpoint);
            const Prequantized prequantized = decode_prequantized(*config_, *plan_.checkpoint, *weights);
            if (!prequantized.form.empty()) plan_.source_form += ", " + prequantized.describe();
            for (const std::string& warning : prequantized.warnings) findings_.warn("weights", warning);
        }
        for (const AdapterChoice& adapter : plan_.request.adapters) {
            MergedAdapter merged = merge_adapter(*weights, adapter.folder, adapter.scale);
            plan_.source_form += ", " + merged.description;
            plan_.adapters.push_back(std::move(merged.checkpoint));
            for (const std::string& warning : merged.warnings) findings_.warn("weights", warning);
        }
        weights_ = std::move(weights);
    }

    void map_weights() {
        Mapping mapping = map_tensors(*model_, *weights_);
        plan_.left_out = std::move(mapping.left_out);
        for (std::string& note : mapping.notes) plan_.findings.note("weights", std::move(note));
        if (model_->rope.kind == RopeScaling::Kind::Llama3) {
            std::vector<float> factors = llama3_rope_factors(*model_);
            const uint64_t n = factors.size();
            add("rope_freqs.weight", computed_rows("rope_freqs.weight", {n}, std::move(factors)));
            n_generated_ = plan_.tensors.size();
        }
        for (MappedTensor& tensor : mapping.tensors) {
            n_weights_ += tensor.rows->n_elements();
            add(tensor.name, std::move(tensor.rows));
        }
    }

    void add(const std::string& name, RowsPtr rows) {
        targets_.push_back({name, TensorType::F32, rows->shape()});
        plan_.source_bytes += source_bytes_of(*rows);
        plan_.tensors.push_back({std::move(rows), {}});
    }

    void read_tokenizer() {
        // Without a readable model, the number of its embedding's rows may still be in the configuration.
        const uint64_t n_rows = model_    ? model_->vocabulary
                                : config_ ? config_->get_uint("vocab_size").value_or(0)
                                          : 0;
        if (n_rows == 0) return;
        if (plan_.checkpoint && plan_.checkpoint->format() == "llama2.c" && !has_tokenizer(folder_)) {
            fail(
                "{}: a checkpoint of llama2.c holds no tokenizer, and no tokenizer.model is beside it; name "
                "the one it was trained with, with --tokenizer FILE",
                plan_.source());
        }
        vocabulary_ = read_vocabulary(folder_, n_rows);
        for (const std::string& warning : vocabulary_->warnings) findings_.warn("tokenizer", warning);
    }

    void choose_target_types() {
        std::vector<TensorShape> shapes;
        for (size_t i = n_generated_; i < targets_.size(); ++i)
            shapes.push_back(shape_for_recipe(targets_[i]));
        const ModelShape shape{plan_.architecture,        uint32_t(model_->n_layers),   0,
                               uint32_t(model_->n_heads), uint32_t(model_->n_kv_heads), model_->tied_output};
        const std::vector<TypeChoice> choices =
            choose_types(plan_.recipe(), plan_.request.rules, shape, shapes, findings_);
        for (size_t i = 0; i < choices.size(); ++i) {
            targets_[n_generated_ + i].type = choices[i].type;
            plan_.tensors[n_generated_ + i].fallback_reason = choices[i].fallback_reason;
            plan_.tensors[n_generated_ + i].is_free = is_quantizable(shapes[i]) && !choices[i].by_rule;
        }
        if (plan_.recipe().name == kKeptMxfp4) keep_mxfp4(choices);
    }

    void keep_mxfp4(const std::vector<TypeChoice>& choices) {
        for (size_t i = n_generated_; i < targets_.size(); ++i) {
            if (choices[i - n_generated_].by_rule || !plan_.tensors[i].rows->holds(TensorType::MXFP4))
                continue;
            targets_[i].type = TensorType::MXFP4;
            plan_.tensors[i].fallback_reason.clear();
        }
    }

    Metadata metadata() {
        const ModelName name = model_name(plan_.source(), n_weights_);
        plan_.model_name = name.file_stem;
        Metadata metadata;
        metadata.set("general.architecture", model_->family->architecture);
        metadata.set("general.type", "model");
        write_sampling_defaults(folder_, metadata);
        metadata.set("general.name", MetadataValue(name.display));
        if (!name.size_label.empty()) metadata.set("general.size_label", MetadataValue(name.size_label));
        write_hyperparameters(*model_, *config_, metadata);
        if (!plan_.request.vocab_only) {
            metadata.set("general.file_type", plan_.recipe().file_type);
            metadata.set("general.quantization_version", kQuantizationVersion);
        }
        write_vocabulary(*vocabulary_, metadata);
        write_provenance(plan_.checkpoint.get(), plan_.request, metadata);
        metadata.set(std::string(keys::kSourceConfigChecksum),
                     MetadataValue(xxh3_128_hex(std::as_bytes(std::span(config_text_)))));
        if (config_text_.size() <= kMaxStoredConfigBytes)
            metadata.set(std::string(keys::kSourceConfig), MetadataValue(config_text_));
        apply_metadata_file(plan_.request.metadata_file, metadata);
        return metadata;
    }

    ConversionPlan& plan_;
    Findings& findings_;
    std::string folder_;       // of the tokenizer's files: the checkpoint's own, unless another is named
    std::string config_name_;  // for messages
    std::string config_text_;
    std::unique_ptr<Llama2cCheckpoint> llama2c_;  // until the plan has it
    std::optional<Json> config_;
    std::optional<ModelConfig> model_;
    std::optional<WeightSet> weights_;
    std::optional<Vocabulary> vocabulary_;
    std::vector<TensorPlan> targets_;  // one for each of the plan's tensors
    size_t n_generated_ = 0;           // of these are no weights of the checkpoint; they stay F32
    uint64_t n_weights_ = 0;           // elements
};

}  // namespace

void plan_from_checkpoint(ConversionPlan& plan) {
    CheckpointPlanner(plan).run();
}

}  // namespace ingot::converters
