#include "converters/architectures/mapping.h"

#include <algorithm>
#include <unordered_set>

#include "converters/rows/transforms.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

class Mapper {
  public:
    Mapper(const ModelConfig& model, const WeightSet& weights) : model_(model), weights_(weights) {}

    Mapping run() {
        // A layer has several tensors, so a model cannot have more layers than tensors.
        if (model_.n_layers > weights_.weights().size()) {
            fail("config.json says {} layers, but the checkpoint has only {} tensors", model_.n_layers,
                 weights_.weights().size());
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
        const WeightSet::Weight* source = weights_.find(source_name);
        if (!source) {
            if (required(rule)) missing_.push_back(source_name);
            return;
        }
        used_.insert(source);
        if (rule.presence == Presence::RequiredIfUntied && model_.tied_output) {
            mapping_.left_out.push_back(source_name);  // the embedding stands in for it
            return;
        }
        if (!check(rule, *source)) return;
        RowsPtr rows = source->rows;
        if (rule.order == RowOrder::InterleavedQueryHeads) rows = interleave_heads(rows, model_.n_heads);
        if (rule.order == RowOrder::InterleavedKvHeads) rows = interleave_heads(rows, model_.n_kv_heads);
        mapping_.tensors.push_back({with_layer(rule.target, layer), std::move(rows)});
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

    bool check(const TensorRule& rule, const WeightSet::Weight& source) {
        if (!source.rows) {
            wrong_.push_back(source.problem);
            return false;
        }
        std::vector<uint64_t> expected{model_.dimension(rule.row_elements)};
        if (rule.n_rows != Dimension::None) expected.push_back(model_.dimension(rule.n_rows));
        const std::vector<uint64_t>& shape = source.rows->shape();
        if (shape == expected) return true;
        // Shown as the checkpoint's tools show it: the row length last.
        wrong_.push_back(fmt::format("{} has shape [{}], but config.json implies [{}]", source.name,
                                     fmt::join(shape.rbegin(), shape.rend(), ", "),
                                     fmt::join(expected.rbegin(), expected.rend(), ", ")));
        return false;
    }

    void account_for_the_rest() {
        for (const WeightSet::Weight& tensor : weights_.weights()) {
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
    const WeightSet& weights_;
    std::unordered_set<const WeightSet::Weight*> used_;
    Mapping mapping_;
    std::vector<std::string> missing_, wrong_, unknown_;
};

}  // namespace

Mapping map_tensors(const ModelConfig& model, const WeightSet& weights) {
    return Mapper(model, weights).run();
}

}  // namespace ingot::converters
