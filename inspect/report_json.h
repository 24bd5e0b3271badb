#pragma once
#include "format/gguf_model.h"
#include "format/json_writer.h"
#include "inspect/summary.h"

namespace ingot::inspect {

/// The number of the JSON form, raised when a member changes its meaning or goes away (new members do not).
inline constexpr int kReportVersion = 1;

struct ReportParts {
    bool summary = true;
    bool metadata = true;
    bool tensors = true;
    bool full = false;  // arrays whole; otherwise only their first kShortArray elements
};
inline constexpr size_t kShortArray = 8;

/// The document that `ingot inspect --json` prints; README describes its members.
void write_report(JsonWriter& json, const GgufModel& model, const ReportParts& parts);

}  // namespace ingot::inspect
