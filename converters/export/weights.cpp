#include "converters/export/weights.h"

#include <algorithm>
#include <map>
#include <set>

#include "converters/architectures/terms.h"
#include "converters/rows/inverse.h"
#include "converters/rows/transforms.h"

namespace ingot::converters {

namespace {

/// Computed from config.json, and so no part of a checkpoint.
bool is_computed(std::string_view name) {
    return name.starts_with("rope_freqs") || name.starts_with("rope_factors");
}

class Exporter {
  public:
    Exporter(const ModelConfig& model, const Checkpoint& gguf, Findings& findings)
        : model_(model), findings_(findings) {
        for (const SourceTensor& tensor : gguf.tensors()) written_.emplace(tensor.name, &tensor);
    }

    std::vector<ExportedTensor> run() {
        export_rules(0, false);
        for (uint64_t layer = 0; layer < model_.n_layers; ++layer) export_rules(layer, true);
        for (const auto& [name, tensor] : written_) {
            if (exported_.contains(name) || is_computed(name)) continue;
            const auto reason = reasons_.find(name);
            findings_.problem(name, reason == reasons_.end()
                                        ? fmt::format("{} has no place in a {} checkpoint", printable(name),
                                                      model_.family->name)
                                        : fmt::format("{}: {}", name, reason->second));
        }
        return std::move(tensors_);
    }

  private:
    /// One rule in one layer, whose target the file has.
    struct Case {
        const TensorRule* rule;
        std::string target;
        const SourceTensor* written;
    };

    void export_rules(uint64_t layer, bool in_layers) {
        // Tensors of one source, fused in the checkpoint, belong together.
        std::vector<std::string> sources;
        std::map<std::string, std::vector<Case>> by_source;
        std::set<std::string_view> asked;  // targets for which this model asks by one of the alternatives
        for (const TensorRule& rule : model_.family->tensors) {
            if (rule.required != terms::if_tied && rule.required(model_, layer)) asked.insert(rule.target);
        }
        for (const TensorRule& rule : model_.family->tensors) {
            // An output matrix that is the embedding once more is no tensor of the checkpoint.
            if (per_layer(rule.target) != in_layers || rule.required == terms::if_tied) continue;
            if (asked.contains(rule.target) && !rule.required(model_, layer)) continue;
            const std::string target = with_layer(rule.target, layer);
            const auto written = written_.find(target);
            if (written == written_.end()) continue;
            const std::string source = with_layer(rule.source, layer);
            auto& cases = by_source[source];
            if (cases.empty()) sources.push_back(source);
            cases.push_back({&rule, target, written->second});
        }
        for (const std::string& source : sources) {
            auto& cases = by_source[source];
            // Of alternatives, the first one that works makes the checkpoint.
            std::erase_if(cases, [&](const Case& one) { return exported_.contains(one.target); });
            if (!cases.empty()) export_source(source, cases, layer);
        }
    }

    void export_source(const std::string& source, const std::vector<Case>& cases, uint64_t layer) {
        std::string reason;
        for (const std::vector<uint64_t>& shape : possible_shapes(cases, layer)) {
            try {
                std::vector<Derived> derived;
                for (const Case& one : cases) derived.push_back(derived_of(one, layer));
                add(source, *cases.front().rule, invert(source, shape, derived), layer);
                for (const Case& one : cases) exported_.insert(one.target);
                return;
            } catch (const Error& error) {
                if (reason.empty()) reason = error.what();
            }
        }
        for (const Case& one : cases) reasons_.emplace(one.target, reason);
    }

    Derived derived_of(const Case& one, uint64_t layer) const {
        const auto steps = [this, rule = one.rule, layer](RowsPtr rows) {
            for (const Step step : rule->steps) {
                if (step) rows = step(std::move(rows), model_, layer);
            }
            return rows;
        };
        return {reshape(plain_rows(*one.written), shape_of(*one.rule, layer)), steps};
    }

    std::vector<uint64_t> shape_of(const TensorRule& rule, uint64_t layer) const {
        std::vector<uint64_t> shape;
        for (const Size size : rule.shape) {
            if (size) shape.push_back(size(model_, layer));
        }
        return shape;
    }

    /// Shapes that the source may have had: the parts side by side, as they are or transposed. Those that do
    /// not fit are found when the steps are tried on them.
    std::vector<std::vector<uint64_t>> possible_shapes(const std::vector<Case>& cases, uint64_t layer) const {
        std::vector<uint64_t> first = shape_of(*cases.front().rule, layer);
        uint64_t rows = 0, columns = 0;  // of all parts, where the other is the same
        uint64_t total = 0;              // elements
        for (const Case& one : cases) {
            const std::vector<uint64_t> shape = shape_of(*one.rule, layer);
            columns += shape.at(0);
            rows += shape.size() > 1 ? shape[1] : 0;
            total += one.written->n_elements();
        }
        const uint64_t width = first[0], n = first.size() > 1 ? first[1] : 0;
        if (total == 0) return {first};
        // A step that makes a vector of a matrix leaves a vector as it is: the matrix comes first.
        if (first.size() == 1) return {{columns, 1}, {1, columns}, {1, 1, columns}, {columns}};
        if (cases.front().rule->source.ends_with("conv1d.weight")) return {{width, 1, rows}};  // as PyTorch's
        if (first.size() == 2) return {{width, rows}, {rows, width}, {columns, n}, {width * rows}};
        // Heads that were taken apart: their matrices stood below each other.
        return {{width, rows, first[2]}, {rows, width, first[2]}, {width, total / width}, {n, total / n}};
    }

    /// Under the source's name; a stack of experts under each of their names.
    void add(const std::string& source, const TensorRule& rule, const RowsPtr& rows, uint64_t layer) {
        if (!rule.n_parts) {
            tensors_.push_back({source, rows});
            return;
        }
        const uint64_t n_parts = rule.n_parts(model_, layer);
        std::vector<uint64_t> shape = rows->shape();
        if (n_parts == 0 || shape.back() != n_parts) fail("{} parts were expected", n_parts);
        shape.pop_back();
        const uint64_t part_rows = rows->n_rows() / n_parts;
        const RowsPtr flat = reshape(rows, {rows->row_elements(), rows->n_rows()});
        for (uint64_t part = 0; part < n_parts; ++part) {
            tensors_.push_back(
                {with_part(source, part), reshape(slice_rows(flat, part * part_rows, part_rows), shape)});
        }
    }

    const ModelConfig& model_;
    Findings& findings_;
    std::map<std::string, const SourceTensor*> written_;  // by name in the file
    std::set<std::string> exported_;                      // names in the file
    std::map<std::string, std::string> reasons_;          // why a tensor of the file could not be exported
    std::vector<ExportedTensor> tensors_;
};

}  // namespace

std::vector<ExportedTensor> exported_tensors(const ModelConfig& model, const Checkpoint& gguf,
                                             Findings& findings) {
    return Exporter(model, gguf, findings).run();
}

}  // namespace ingot::converters
