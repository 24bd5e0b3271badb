#include "converters/architectures/mapping.h"

#include <algorithm>
#include <unordered_set>

#include "converters/findings.h"
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
            wrong_.push_back({Severity::Problem, source.name, source.problem, {}});
            return false;
        }
        std::vector<uint64_t> expected{model_.dimension(rule.row_elements)};
        if (rule.n_rows != Dimension::None) expected.push_back(model_.dimension(rule.n_rows));
        const std::vector<uint64_t>& shape = source.rows->shape();
        if (shape == expected) return true;
        // Shown as the checkpoint's tools show it: the row length last.
        wrong_.push_back({Severity::Problem,
                          source.name,
                          fmt::format("{} has shape [{}], but config.json implies [{}]", source.name,
                                      fmt::join(shape.rbegin(), shape.rend(), ", "),
                                      fmt::join(expected.rbegin(), expected.rend(), ", ")),
                          {}});
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

    /// One Error that holds all problems; see findings.h.
    void report() const {
        const size_t n_problems = missing_.size() + wrong_.size() + unknown_.size();
        if (n_problems == 0) return;
        const bool only_output = n_problems == 1 && !missing_.empty() && missing_.front() == "lm_head.weight";
        std::vector<Finding> findings;
        const auto list = [&](const std::vector<std::string>& subjects, const std::string& message,
                              const char* action) {
            for (const std::string& subject : subjects)
                findings.push_back({Severity::Problem, subject, message + subject, action});
        };
        list(missing_, "missing: ",
             only_output ? "if the model shares it with the embedding, config.json should say "
                           "\"tie_word_embeddings\": true"
                         : "");
        findings.insert(findings.end(), wrong_.begin(), wrong_.end());
        for (const std::string& tensor : unknown_) {
            const bool quantized = tensor.ends_with("_scale_inv") || tensor.ends_with(".qweight") ||
                                   tensor.ends_with(".absmax") || tensor.ends_with(".weight_scale") ||
                                   tensor.ends_with(".weight_packed");
            findings.push_back({Severity::Problem, tensor, "unknown tensor: " + tensor,
                                quantized ? "tensors of this name come from an already quantized checkpoint, "
                                            "which is not read yet: convert the original one"
                                          : ""});
        }
        throw Problems(
            fmt::format("the checkpoint does not match its config.json ({}, {} layers): {} problem{}",
                        model_.family->classes.front(), model_.n_layers, n_problems,
                        n_problems == 1 ? "" : "s"),
            std::move(findings));
    }

    const ModelConfig& model_;
    const WeightSet& weights_;
    std::unordered_set<const WeightSet::Weight*> used_;
    Mapping mapping_;
    std::vector<std::string> missing_, unknown_;
    std::vector<Finding> wrong_;
};

}  // namespace

Mapping map_tensors(const ModelConfig& model, const WeightSet& weights) {
    return Mapper(model, weights).run();
}

}  // namespace ingot::converters
