#include "converters/architectures/mapping.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_set>

#include "converters/architectures/terms.h"
#include "converters/findings.h"
#include "converters/rows/transforms.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

class Mapper {
  public:
    Mapper(const ModelConfig& model, const WeightSet& weights)
        : model_(model), weights_(weights), names_(*model.family, weights) {}

    Mapping run() {
        // A layer has several tensors, so a model cannot have more layers than tensors.
        if (model_.n_layers > weights_.weights().size()) {
            fail("config.json says {} layers, but the checkpoint has only {} tensors", model_.n_layers,
                 weights_.weights().size());
        }
        for (const auto& [name, factors] : rope_factor_tensors(model_)) {
            mapping_.tensors.push_back({name, computed_rows(name, {factors.size()}, factors)});
        }
        const auto& rules = model_.family->tensors;
        const auto is_layer = [](const TensorRule& rule) { return per_layer(rule.target); };
        const auto first = std::ranges::find_if(rules, is_layer);
        const auto last = std::find_if_not(first, rules.end(), is_layer);
        map_all({rules.begin(), first}, 0);
        for (uint64_t layer = 0; layer < model_.n_layers; ++layer) map_all({first, last}, layer);
        map_all({last, rules.end()}, 0);
        account_for_the_rest();
        report();
        return std::move(mapping_);
    }

  private:
    using Rules = std::span<const TensorRule>;

    /// Rules of the same target stand together: alternatives.
    void map_all(Rules rules, uint64_t layer) {
        for (size_t begin = 0, end = 0; begin < rules.size(); begin = end) {
            while (end < rules.size() && rules[end].target == rules[begin].target) ++end;
            map(rules.subspan(begin, end - begin), layer);
        }
    }

    void map(Rules alternatives, uint64_t layer) {
        for (const TensorRule& rule : alternatives) {
            if (rule.required == terms::if_tied && !model_.tied_output) continue;
            const Sources sources = find_sources(rule, layer);
            if (sources.found.empty()) continue;
            used_.insert(sources.found.begin(), sources.found.end());
            missing_.insert(missing_.end(), sources.missing.begin(), sources.missing.end());
            if (!sources.missing.empty()) return;
            if (rule.required == terms::if_untied && model_.tied_output) {
                for (const auto* source : sources.found)  // the embedding stands in for it
                    mapping_.left_out.push_back(source->name);
                continue;
            }
            carry_over(rule, sources.found, layer);
            return;
        }
        for (const TensorRule& rule : alternatives) {
            if (rule.required == terms::if_tied || !rule.required(model_, layer)) continue;
            missing_.push_back(find_sources(rule, layer).missing.front());
            return;
        }
    }

    struct Sources {
        std::vector<const WeightSet::Weight*> found;
        std::vector<std::string> missing;
    };
    Sources find_sources(const TensorRule& rule, uint64_t layer) const {
        Sources sources;
        const std::string pattern = names_.actual(with_layer(rule.source, layer));
        // No more parts than tensors, whatever config.json says.
        const uint64_t n_parts =
            std::min<uint64_t>(rule.n_parts ? rule.n_parts(model_, layer) : 1, weights_.weights().size() + 1);
        for (uint64_t part = 0; part < n_parts; ++part) {
            const std::string name = rule.n_parts ? with_part(pattern, part) : pattern;
            if (const WeightSet::Weight* source = weights_.find(name)) {
                sources.found.push_back(source);
            } else {
                sources.missing.push_back(name);
                // Nothing, and nothing: config.json need not be believed how many parts there are.
                if (sources.found.empty() && part > 0) break;
            }
        }
        if (n_parts == 0) sources.missing.push_back(pattern);
        return sources;
    }

    void carry_over(const TensorRule& rule, const std::vector<const WeightSet::Weight*>& sources,
                    uint64_t layer) {
        const WeightSet::Weight& first = *sources.front();
        const auto wrong = [&](std::string message) {
            wrong_.push_back({Severity::Problem, first.name, std::move(message), {}});
        };
        std::vector<RowsPtr> parts;
        for (const WeightSet::Weight* source : sources) {
            if (!source->rows) return wrong(source->problem);
            parts.push_back(source->rows);
        }
        try {
            std::string target = with_layer(rule.target, layer);
            RowsPtr rows = rule.n_parts ? stack(target, std::move(parts)) : parts.front();
            for (const Step step : rule.steps) {
                if (step) rows = step(std::move(rows), model_, layer);
            }
            std::vector<uint64_t> expected;
            for (const Size size : rule.shape) {
                if (size) expected.push_back(size(model_, layer));
            }
            if (rows->shape() == expected) {
                mapping_.tensors.push_back({std::move(target), std::move(rows)});
            } else {
                wrong(shape_message(first, sources.size(), *rows, expected));
            }
        } catch (const Error& error) {
            wrong(error.what());
        }
    }

    /// Shapes are shown as the checkpoint's tools show them: the row length last.
    static std::string shape_message(const WeightSet::Weight& source, size_t n_parts, const TensorRows& rows,
                                     const std::vector<uint64_t>& expected) {
        const auto text = [](const std::vector<uint64_t>& shape) {
            return fmt::format("[{}]", fmt::join(shape.rbegin(), shape.rend(), ", "));
        };
        const std::string parts = n_parts > 1 ? fmt::format(" ({} like it, stacked)", n_parts) : "";
        if (source.rows->shape() == rows.shape() || n_parts > 1) {
            return fmt::format("{}{} has shape {}, but config.json implies {}", source.name, parts,
                               text(rows.shape()), text(expected));
        }
        return fmt::format("{} has shape {}, which becomes {}; but config.json implies {}", source.name,
                           text(source.rows->shape()), text(rows.shape()), text(expected));
    }

    /// A layer beyond the model's own: a head that predicts further tokens, as DeepSeek-V3 stores it.
    bool in_further_layer(std::string_view name) const {
        std::string_view own = names_.own(name);
        if (model_.n_further_layers == 0 || !own.starts_with("layers.")) return false;
        own.remove_prefix(7);
        uint64_t layer = 0;
        const auto [end, error] = std::from_chars(own.data(), own.data() + own.size(), layer);
        return error == std::errc() && layer >= model_.n_layers &&
               layer - model_.n_layers < model_.n_further_layers;
    }

    void account_for_the_rest() {
        std::map<std::string_view, size_t> reasons;
        for (const WeightSet::Weight& tensor : weights_.weights()) {
            if (used_.contains(&tensor)) continue;
            const bool further = in_further_layer(tensor.name);
            const bool unneeded = further || is_unneeded(*model_.family, tensor.name);
            (unneeded ? mapping_.left_out : unknown_).push_back(printable(tensor.name));
            const std::string_view reason = further ? reason_left_out("mtp.") : reason_left_out(tensor.name);
            if (unneeded && !reason.empty()) ++reasons[reason];
        }
        for (const auto& [what, n] : reasons) {
            mapping_.notes.push_back(
                fmt::format("{} tensors of {} are left out: the file holds the text model", n, what));
        }
    }

    /// One Error that holds all problems; see findings.h.
    void report() const {
        const size_t n_problems = missing_.size() + wrong_.size() + unknown_.size();
        if (n_problems == 0) return;
        const bool only_output =
            n_problems == 1 && !missing_.empty() && missing_.front().ends_with("lm_head.weight");
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
                                quantized
                                    ? "tensors of this name are parts of a quantized weight, but the others "
                                      "are missing: convert the original checkpoint"
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
    const NameForm names_;
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
