#pragma once
#include "format/gguf_model.h"
#include "format/json_writer.h"
#include "inspect/selection.h"
#include "inspect/summary.h"

namespace ingot::inspect {

/// The number of the JSON form, raised when a member changes its meaning or goes away (new members do not).
inline constexpr int kReportVersion = 1;

struct ReportParts {
    bool summary = true;
    bool metadata = true;
    bool tensors = true;
    bool blocks = false;
    bool tokens = false;
    bool full = false;  // arrays whole; otherwise only their first kShortArray elements
};
inline constexpr size_t kShortArray = 8;

/// A metadata value: arrays as arrays, of which only the first `max_elements` are written.
void write_value(JsonWriter& json, const Value& value, size_t max_elements);
/// Whether an array, or one inside it, has more than `max_elements`.
bool is_shortened(const Value& value, size_t max_elements);

/// The document that `ingot inspect --json` prints; README describes its members.
/// The selection is for tensors and blocks; its pattern for tokens too.
void write_report(JsonWriter& json, const GgufModel& model, const Selection& selection,
                  const ReportParts& parts);

}  // namespace ingot::inspect
