#pragma once
// How a conversion is told about: to people and to programs.
#include <optional>
#include <string>

#include "cli/console.h"
#include "cli/target.h"
#include "converters/convert.h"
#include "converters/doctor.h"
#include "converters/plan.h"
#include "converters/quantize/target/target.h"
#include "converters/verification.h"

namespace ingot::cli {

/// Everything that is known of one run.
struct ConversionReport {
    const converters::ConversionPlan& plan;
    std::string output;
    std::optional<converters::ConversionResult> result;          // none: nothing was written
    std::optional<converters::VerificationReport> verification;  // --verify
    std::optional<converters::TargetChoice> target;              // --target-size, --target-bpw
};

/// --check: what was looked at, what was found.
std::string check_text(const converters::ConversionPlan& plan, const std::string& output,
                       const converters::Diagnosis& diagnosis, const Painter& paint);
std::string check_json(const converters::ConversionPlan& plan, const std::string& output,
                       const converters::Diagnosis& diagnosis);

/// --dry-run: every group of tensors.
std::string plan_text(const converters::ConversionPlan& plan, const Painter& paint);
std::string summary_text(const ConversionReport& report, const Painter& paint);
/// The objects that README documents. Members are added, never renamed.
std::string report_json(const ConversionReport& report);

}  // namespace ingot::cli
