#pragma once
// The checkpoint's weights under the names that its architecture gives them. What a weight is stored as is
// settled before it comes in here: plain, decoded from a pre-quantized form, with an adapter merged into it.
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "converters/rows/tensor_rows.h"

namespace ingot::converters {

class WeightSet {
  public:
    struct Weight {
        std::string name;     // model.layers.0.self_attn.q_proj.weight
        RowsPtr rows;         // null when it cannot be read
        std::string problem;  // then: why
    };

    /// Every tensor of the checkpoint, plain. Those that cannot be read by themselves have a problem.
    explicit WeightSet(const Checkpoint& checkpoint);

    const std::vector<Weight>& weights() const { return weights_; }  // in file order
    const Weight* find(std::string_view name) const;                 // null when absent

    /// Adds a weight, or replaces the one of that name.
    void set(const std::string& name, RowsPtr rows);
    /// Takes out tensors that are part of another weight and stand for none themselves. Linear in all
    /// weights.
    void remove(const std::unordered_set<std::string>& names);

  private:
    std::vector<Weight> weights_;
    std::unordered_map<std::string, size_t> by_name_;  // into weights_
};

}  // namespace ingot::converters
