#pragma once
#include <optional>
#include <string>
#include <vector>

#include "format/gguf_model.h"
#include "inspect/measure.h"
#include "inspect/statistics.h"

namespace ingot::inspect {

/// What is shown beyond the header.
struct HtmlParts {
    struct Values {
        const TensorInfo* tensor = nullptr;
        Statistics statistics;
        Histogram histogram;
    };
    std::vector<Values> values;         // of some tensors, or none
    std::optional<Measurement> errors;  // of this file's tensors against those of `reference`
    std::string reference;              // its name
};

/// One page that needs nothing else: no network, no other file. Texts of the model are data in it, never
/// markup.
std::string html_page(const GgufModel& model, const HtmlParts& parts);

}  // namespace ingot::inspect
