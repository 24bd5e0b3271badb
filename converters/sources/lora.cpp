#include "converters/sources/lora.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>
#include <unordered_map>

#include "converters/rows/transforms.h"
#include "converters/sources/json.h"
#include "format/error.h"

namespace ingot::converters {

namespace fs = std::filesystem;

namespace {

/// base + scale · left · right, of the shape of `base`: left (rows, rank), right (rank, columns).
class AdaptedRows final : public TensorRows {
  public:
    AdaptedRows(RowsPtr base, RowsPtr left, RowsPtr right, float scale)
        : TensorRows(base->name(), base->encoding() + " + LoRA", base->shape()),
          base_(std::move(base)),
          left_(std::move(left)),
          right_(std::move(right)),
          scale_(scale) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        base_->read(first_row, n_rows, values);
        add(first_row, n_rows, 0, row_elements(), values);
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        base_->read_columns(first_row, n_rows, first_column, n_columns, values);
        add(first_row, n_rows, first_column, n_columns, values);
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        base_->append_extents(first_row, n_rows, extents);
        left_->append_extents(first_row, n_rows, extents);
        if (first_row + n_rows == this->n_rows()) right_->append_extents(0, right_->n_rows(), extents);
    }
    Place place(uint64_t row, uint64_t column) const override { return base_->place(row, column); }

  private:
    void add(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
             float* values) const {
        const uint64_t rank = left_->row_elements();
        std::vector<float> left(n_rows * rank), right(rank * n_columns), sum(n_columns);
        left_->read(first_row, n_rows, left.data());
        right_->read_columns(0, rank, first_column, n_columns, right.data());
        for (uint64_t row = 0; row < n_rows; ++row) {
            std::ranges::fill(sum, 0.0f);
            for (uint64_t k = 0; k < rank; ++k) {
                const float factor = left[row * rank + k];
                const float* from = right.data() + k * n_columns;
                for (uint64_t j = 0; j < n_columns; ++j) sum[j] += factor * from[j];
            }
            for (uint64_t j = 0; j < n_columns; ++j) values[row * n_columns + j] += scale_ * sum[j];
        }
    }

    const RowsPtr base_, left_, right_;
    const float scale_;
};

/// DoRA: each row keeps its direction and gets a length of its own, magnitude[row].
class ScaledToMagnitude final : public TensorRows {
  public:
    ScaledToMagnitude(RowsPtr rows, RowsPtr magnitudes)
        : TensorRows(rows->name(), rows->encoding(), rows->shape()),
          rows_(std::move(rows)),
          magnitudes_(reshape(magnitudes, {1, magnitudes->n_elements()})) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        rows_->read(first_row, n_rows, values);
        std::vector<float> magnitudes(n_rows);
        magnitudes_->read(first_row, n_rows, magnitudes.data());
        for (uint64_t row = 0; row < n_rows; ++row) {
            float* begin = values + row * row_elements();
            double squares = 0;
            for (uint64_t j = 0; j < row_elements(); ++j) squares += double(begin[j]) * double(begin[j]);
            const float factor = squares > 0 ? float(double(magnitudes[row]) / std::sqrt(squares)) : 0.0f;
            for (uint64_t j = 0; j < row_elements(); ++j) begin[j] *= factor;
        }
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        rows_->append_extents(first_row, n_rows, extents);
        magnitudes_->append_extents(first_row, n_rows, extents);
    }
    Place place(uint64_t row, uint64_t column) const override { return rows_->place(row, column); }

  private:
    const RowsPtr rows_, magnitudes_;
};

/// adapter_config.json
class Settings {
  public:
    explicit Settings(const std::string& path) : config_(Json::read_file(path)) {
        const std::string type = config_.get_string("peft_type").value_or("an unnamed kind");
        if (type != "LORA")
            fail("{}: the adapter's kind is {}; only LoRA can be merged", path, printable(type));
        for (const char* key : {"layer_replication", "alora_invocation_tokens", "target_parameters"}) {
            const Json* value = config_.find(key);
            if (value && !(value->elements().empty() && value->members().empty())) refuse(key);
        }
        for (const char* key : {"use_qalora"}) {
            if (config_.get_bool(key).value_or(false)) refuse(key);
        }
        // These start from other base weights than the checkpoint's.
        const Json* start = config_.find("init_lora_weights");
        if (start && start->kind() == Json::Kind::String) {
            for (const char* changed : {"pissa", "olora", "corda", "loftq"}) {
                if (start->as_string().starts_with(changed)) refuse("init_lora_weights");
            }
        }
        const auto alpha = config_.get_number("lora_alpha");
        if (!alpha) fail("{}: \"lora_alpha\" is missing", path);
        alpha_ = *alpha;
        rank_stabilized_ = config_.get_bool("use_rslora").value_or(false);
        fan_in_fan_out = config_.get_bool("fan_in_fan_out").value_or(false);
        if (const Json* patterns = config_.get_object("alpha_pattern")) {
            for (const auto& [pattern, value] : patterns->members()) {
                const auto own = patterns->get_number(pattern);
                if (own) alphas_.emplace_back(plain_pattern(pattern), *own);
            }
        }
    }

    /// alpha / rank, or alpha / √rank.
    double scale(const std::string& module, uint64_t rank) const {
        double alpha = alpha_;
        for (const auto& [pattern, value] : alphas_) {
            if (module == pattern || module.ends_with("." + pattern)) {
                alpha = value;
                break;
            }
        }
        return alpha / (rank_stabilized_ ? std::sqrt(double(rank)) : double(rank));
    }

    bool fan_in_fan_out = false;  // the base stores (in, out), as GPT-2 does

  private:
    [[noreturn]] void refuse(const char* key) const {
        fail(
            "{}: an adapter with \"{}\" cannot be merged here; merge it with PEFT (merge_and_unload) and "
            "convert "
            "the result",
            config_.where(), key);
    }
    /// PEFT matches patterns as regular expressions at the end of a module's name; nearly all are plain
    /// names.
    std::string plain_pattern(const std::string& pattern) const {
        std::string plain;
        for (size_t i = pattern.starts_with('^') ? 1 : 0; i < pattern.size(); ++i) {
            if (pattern.compare(i, 2, "\\.") == 0) continue;
            if (i + 1 == pattern.size() && pattern[i] == '$') continue;
            if (std::string_view("\\*+?()[]{}|^$").find(pattern[i]) != std::string_view::npos)
                fail(
                    "{}: alpha_pattern has the regular expression \"{}\"; only names of modules are "
                    "understood",
                    config_.where(), printable(pattern));
            plain += pattern[i];
        }
        return plain;
    }

    Json config_;
    double alpha_ = 0;
    bool rank_stabilized_ = false;
    std::vector<std::pair<std::string, double>> alphas_;
};

/// The parts of one module's update. Names as in the adapter.
struct Update {
    RowsPtr a, b;                      // (rank, in), (out, rank)
    RowsPtr embedding_a, embedding_b;  // (rank, vocabulary), (hidden, rank)
    RowsPtr bias, magnitude;           // of lora_B; of DoRA
};

class Merger {
  public:
    Merger(WeightSet& weights, const fs::path& folder, double scale)
        : weights_(weights),
          folder_(folder),
          scale_(scale),
          settings_((folder / "adapter_config.json").string()) {
        for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"}) {
            if (checkpoint_ || !fs::exists(folder / name)) continue;
            checkpoint_ = open_weights_file((folder / name).string());
        }
        if (!checkpoint_)
            fail("{}: neither adapter_model.safetensors nor adapter_model.bin is there", folder.string());
    }

    MergedAdapter run() {
        for (const SourceTensor& tensor : checkpoint_->tensors()) sort_in(tensor);
        // What the adapter holds whole goes in first: updates may be on top of it.
        for (const auto& [name, rows] : whole_) {
            const std::string weight = find_weight(name);
            if (weight.empty()) {
                unmatched_.push_back(name);
                continue;
            }
            weights_.set(weight, rows);
            ++n_replaced_;
        }
        for (const std::string& module : order_) merge(module, updates_[module]);
        if (!unmatched_.empty()) {
            constexpr size_t kShown = 20;
            std::vector<std::string> names;
            for (size_t i = 0; i < std::min(kShown, unmatched_.size()); ++i)
                names.push_back(printable(unmatched_[i]));
            fail(
                "{}: {} of the adapter's tensors belong to no weight of the checkpoint: {}{}; was it trained "
                "on "
                "another model?",
                folder_.string(), unmatched_.size(), fmt::join(names, ", "),
                unmatched_.size() > kShown ? ", …" : "");
        }
        if (n_adapted_ + n_replaced_ == 0) fail("{}: the adapter has no tensors", folder_.string());
        return {describe(), checkpoint_, {}};
    }

  private:
    /// Rows of the adapter that keep its file open.
    RowsPtr rows_of(const SourceTensor& tensor) const {
        using Held = std::pair<std::shared_ptr<const Checkpoint>, RowsPtr>;
        const auto held = std::make_shared<Held>(checkpoint_, plain_rows(tensor));
        return RowsPtr(held, held->second.get());
    }

    void sort_in(const SourceTensor& tensor) {
        std::string name = tensor.name;
        for (const std::string_view prefix : {"base_model.model.", "base_model."}) {
            if (name.starts_with(prefix)) {
                name.erase(0, prefix.size());
                break;
            }
        }
        struct Kind {
            std::string_view marker;
            RowsPtr Update::*part;
            RowsPtr Update::*bias;
        };
        constexpr Kind kKinds[] = {{".lora_A", &Update::a, nullptr},
                                   {".lora_B", &Update::b, &Update::bias},
                                   {".lora_embedding_A", &Update::embedding_a, nullptr},
                                   {".lora_embedding_B", &Update::embedding_b, nullptr},
                                   {".lora_magnitude_vector", &Update::magnitude, nullptr}};
        for (const Kind& kind : kKinds) {
            const size_t at = name.find(kind.marker);
            if (at == std::string::npos) continue;
            // Behind it: "", ".weight", ".default.weight", ".bias"
            const std::string_view rest = std::string_view(name).substr(at + kind.marker.size());
            const bool is_bias = rest.ends_with(".bias");
            RowsPtr Update::*part = is_bias ? kind.bias : kind.part;
            if (!(rest.empty() || rest.starts_with('.')) || !part) continue;
            const std::string module = name.substr(0, at);
            const auto [update, added] = updates_.try_emplace(module);
            if (added) order_.push_back(module);
            if (update->second.*part)
                fail("{}: two tensors like {}", folder_.string(), printable(tensor.name));
            update->second.*part = rows_of(tensor);
            return;
        }
        for (const std::string_view infix :
             {".modules_to_save.default.", ".modules_to_save.", ".base_layer."}) {
            const size_t at = name.find(infix);
            if (at != std::string::npos) name.replace(at, infix.size(), ".");
        }
        if (name.find("lora_") != std::string::npos || name.find("token_adapter") != std::string::npos) {
            unmatched_.push_back(tensor.name);
        } else {
            whole_.emplace_back(name, rows_of(tensor));
        }
    }

    /// The checkpoint's name for it; some lack the outermost module's. Empty when there is none.
    std::string find_weight(const std::string& name) const {
        std::vector<std::string> candidates{name};
        for (const std::string_view outer : {"model.", "transformer.", "gpt_neox."}) {
            if (name.starts_with(outer)) candidates.push_back(name.substr(outer.size()));
            candidates.push_back(std::string(outer) + name);
        }
        for (const std::string& candidate : candidates) {
            if (weights_.find(candidate)) return candidate;
        }
        return "";
    }

    RowsPtr base_of(const std::string& name, const std::string& module) {
        const std::string weight = find_weight(name);
        if (weight.empty()) {
            unmatched_.push_back(module);
            return nullptr;
        }
        const WeightSet::Weight* found = weights_.find(weight);
        if (!found->rows) fail("{}: {}", folder_.string(), found->problem);
        return found->rows;
    }

    void merge(const std::string& module, const Update& update) {
        RowsPtr left = update.b, right = update.a;
        bool transposed = settings_.fan_in_fan_out;
        if (update.embedding_a) {
            if (left || right) fail("{}: {} is both a matrix and an embedding", folder_.string(), module);
            left = update.embedding_b, right = update.embedding_a;
            transposed = true;
        }
        if (!left || !right)
            fail("{}: {} has only one half of its update", folder_.string(), printable(module));
        if (left->shape().size() != 2 || right->shape().size() != 2 ||
            left->row_elements() != right->n_rows() || left->row_elements() == 0) {
            fail("{}: the update of {} is [{}] by [{}]; expected matrices that can be multiplied",
                 folder_.string(), printable(module), fmt::join(left->shape(), ", "),
                 fmt::join(right->shape(), ", "));
        }
        const uint64_t rank = left->row_elements();
        ranks_.insert(rank);
        const float scale = float(scale_ * settings_.scale(module, rank));
        if (transposed) {  // (B · A)ᵀ = Aᵀ · Bᵀ
            std::swap(left, right);
            left = transpose(left);
            right = transpose(right);
        }
        const RowsPtr base = base_of(module + ".weight", module);
        if (!base) return;
        if (base->shape() != std::vector<uint64_t>{right->row_elements(), left->n_rows()}) {
            fail("{}: the update of {} is {} × {}, but the weight has the shape [{}]", folder_.string(),
                 printable(module), left->n_rows(), right->row_elements(),
                 fmt::join(base->shape().rbegin(), base->shape().rend(), ", "));
        }
        RowsPtr adapted = std::make_shared<AdaptedRows>(base, left, right, scale);
        if (update.magnitude) {
            if (transposed || update.magnitude->n_elements() != base->n_rows())
                fail("{}: the magnitudes of {} are not one for each of {} rows", folder_.string(),
                     printable(module), base->n_rows());
            adapted = std::make_shared<ScaledToMagnitude>(std::move(adapted), update.magnitude);
            dora_ = true;
        }
        weights_.set(find_weight(module + ".weight"), std::move(adapted));
        ++n_adapted_;
        if (update.bias) add_bias(module, update.bias, scale);
    }

    void add_bias(const std::string& module, const RowsPtr& bias, float scale) {
        const RowsPtr base = base_of(module + ".bias", module + ".bias");
        if (!base) return;
        if (base->n_elements() != bias->n_elements())
            fail("{}: the bias of {} has {} elements, expected {}", folder_.string(), printable(module),
                 bias->n_elements(), base->n_elements());
        std::vector<float> sum = read_all(*base), update = read_all(*bias);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += scale * update[i];
        weights_.set(find_weight(module + ".bias"),
                     computed_rows(base->name(), base->shape(), std::move(sum)));
    }

    std::string describe() const {
        return fmt::format("{}, rank {}, times {}: {} weights adapted, {} replaced", dora_ ? "DoRA" : "LoRA",
                           fmt::join(ranks_, "/"), scale_, n_adapted_, n_replaced_);
    }

    WeightSet& weights_;
    const fs::path folder_;
    const double scale_;
    const Settings settings_;
    std::shared_ptr<const Checkpoint> checkpoint_;
    std::unordered_map<std::string, Update> updates_;     // by module
    std::vector<std::string> order_;                      // of modules, as in the file
    std::vector<std::pair<std::string, RowsPtr>> whole_;  // weights that replace the checkpoint's
    std::vector<std::string> unmatched_;
    std::set<uint64_t> ranks_;
    size_t n_adapted_ = 0, n_replaced_ = 0;
    bool dora_ = false;
};

}  // namespace

AdapterChoice parse_adapter_choice(std::string_view text) {
    AdapterChoice choice{std::string(text), 1};
    const size_t colon = text.rfind(':');
    if (!fs::is_directory(choice.folder) && colon != std::string_view::npos) {
        const std::string_view number = text.substr(colon + 1);
        const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), choice.scale);
        if (error == std::errc() && end == number.data() + number.size() && std::isfinite(choice.scale))
            choice.folder = text.substr(0, colon);
    }
    if (!fs::is_directory(choice.folder))
        fail(
            "{}: no such folder; expected that of an adapter (adapter_config.json, "
            "adapter_model.safetensors), or "
            "DIR:scale",
            choice.folder);
    return choice;
}

MergedAdapter merge_adapter(WeightSet& weights, const std::string& folder, double scale) {
    if (!fs::exists(fs::path(folder) / "adapter_config.json"))
        fail("{}: no adapter_config.json there; expected the folder of a PEFT adapter", folder);
    return Merger(weights, folder, scale).run();
}

}  // namespace ingot::converters
