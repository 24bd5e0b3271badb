#include "converters/architectures/mapping.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "format/error.h"

namespace ingot::converters {

namespace {

class Mapper {
  public:
    Mapper(const ModelConfig& model, const Checkpoint& checkpoint) : model_(model), checkpoint_(checkpoint) {
        for (const SourceTensor& tensor : checkpoint.tensors()) by_name_.emplace(tensor.name, &tensor);
    }

    Mapping run() {
        // A layer has several tensors, so a model cannot have more layers than tensors.
        if (model_.n_layers > checkpoint_.tensors().size()) {
            fail("config.json says {} layers, but the checkpoint has only {} tensors", model_.n_layers,
                 checkpoint_.tensors().size());
        }
        const auto& rules = model_.family->tensors;
        const auto is_layer = [](const TensorRule& rule) { return per_layer(rule.source); };
        const auto first = std::ranges::find_if(rules, is_layer);
        const auto last = std::find_if_not(first, rules.end(), is_layer);
        for (auto rule = rules.begin(); rule != first; ++rule) map(*rule, 0);
        for (uint64_t layer = 0; layer < model_.n_layers; ++layer) {
            for (auto rule = first; rule != last; ++rule) map(*rule, layer);
        }
        for (auto rule = last; rule != rules.end(); ++rule) map(*rule, 0);
        account_for_the_rest();
        report();
        return std::move(mapping_);
    }

  private:
    void map(const TensorRule& rule, uint64_t layer) {
        const std::string source_name = with_layer(rule.source, layer);
        const auto found = by_name_.find(source_name);
        if (found == by_name_.end()) {
            if (required(rule)) missing_.push_back(source_name);
            return;
        }
        const SourceTensor& source = *found->second;
        used_.insert(&source);
        if (rule.presence == Presence::RequiredIfUntied && model_.tied_output) {
            mapping_.left_out.push_back(source_name);  // the embedding stands in for it
            return;
        }
        check(rule, source);
        MappedTensor mapped{with_layer(rule.target, layer), &source, 0};
        if (rule.order == RowOrder::InterleavedQueryHeads) mapped.interleaved_heads = model_.n_heads;
        if (rule.order == RowOrder::InterleavedKvHeads) mapped.interleaved_heads = model_.n_kv_heads;
        mapping_.tensors.push_back(std::move(mapped));
    }

    bool required(const TensorRule& rule) const {
        switch (rule.presence) {
            case Presence::Required:
                return true;
            case Presence::RequiredIfUntied:
                return !model_.tied_output;
            case Presence::RequiredIfAttentionBias:
                return model_.attention_bias;
            case Presence::RequiredIfMlpBias:
                return model_.mlp_bias;
        }
        return true;
    }

    void check(const TensorRule& rule, const SourceTensor& source) {
        std::vector<uint64_t> expected{model_.dimension(rule.row_elements)};
        if (rule.n_rows != Dimension::None) expected.push_back(model_.dimension(rule.n_rows));
        if (source.shape != expected) {
            // Shown as the checkpoint's tools show it: the row length last.
            wrong_.push_back(fmt::format("{} has shape [{}], but config.json implies [{}]", source.name,
                                         fmt::join(source.shape.rbegin(), source.shape.rend(), ", "),
                                         fmt::join(expected.rbegin(), expected.rend(), ", ")));
        }
        if (!source.unreadable.empty()) {
            wrong_.push_back(
                fmt::format("{} has elements of type {}: pre-quantized checkpoints are not read yet",
                            source.name, source.unreadable));
        } else if (source.type != TensorType::F32 && source.type != TensorType::F16 &&
                   source.type != TensorType::BF16 && source.type != TensorType::F64) {
            wrong_.push_back(fmt::format("{} has elements of type {}, expected floating-point weights",
                                         source.name, name(source.type)));
        }
    }

    void account_for_the_rest() {
        for (const SourceTensor& tensor : checkpoint_.tensors()) {
            if (used_.contains(&tensor)) continue;
            const bool unneeded = std::ranges::any_of(
                unneeded_suffixes(), [&](std::string_view suffix) { return tensor.name.ends_with(suffix); });
            (unneeded ? mapping_.left_out : unknown_).push_back(printable(tensor.name));
        }
    }

    void report() const {
        const size_t n_problems = missing_.size() + wrong_.size() + unknown_.size();
        if (n_problems == 0) return;
        std::string message = fmt::format(
            "the checkpoint does not match its config.json ({}, {} layers): {} problem{}",
            model_.family->classes.front(), model_.n_layers, n_problems, n_problems == 1 ? "" : "s");
        const auto list = [&](std::string_view title, const std::vector<std::string>& lines) {
            constexpr size_t kShown = 20;
            for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) {
                message += fmt::format("\n  {}{}", title, lines[i]);
            }
            if (lines.size() > kShown)
                message += fmt::format("\n  … and {} more of this kind", lines.size() - kShown);
        };
        list("missing: ", missing_);
        list("", wrong_);
        list("unknown tensor: ", unknown_);
        if (std::ranges::any_of(unknown_, [](const std::string& tensor) {
                return tensor.ends_with("_scale_inv") || tensor.ends_with(".qweight") ||
                       tensor.ends_with(".absmax") || tensor.ends_with(".weight_scale") ||
                       tensor.ends_with(".weight_packed");
            })) {
            message +=
                "\nTensors of these names come from an already quantized checkpoint, which is not read yet; "
                "convert the original one.";
        } else if (!missing_.empty() && missing_.front() == "lm_head.weight" && n_problems == 1) {
            message +=
                "\nIf the model shares it with the embedding, config.json should say "
                "\"tie_word_embeddings\": true.";
        }
        throw Error(message);
    }

    const ModelConfig& model_;
    const Checkpoint& checkpoint_;
    std::unordered_map<std::string_view, const SourceTensor*> by_name_;
    std::unordered_set<const SourceTensor*> used_;
    Mapping mapping_;
    std::vector<std::string> missing_, wrong_, unknown_;
};

}  // namespace

Mapping map_tensors(const ModelConfig& model, const Checkpoint& checkpoint) {
    return Mapper(model, checkpoint).run();
}

}  // namespace ingot::converters
