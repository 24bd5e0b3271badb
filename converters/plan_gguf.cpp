// From a GGUF file to a plan: the same model in another encoding.
#include <algorithm>

#include "converters/metadata_file.h"
#include "converters/planners.h"
#include "converters/quantize/header_types.h"
#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::converters {

namespace {

/// All metadata but what is about to change: the encoding, the checksums, which file it came from.
Metadata copied_metadata(const GgufHeader& header) {
    Metadata metadata;
    for (const KeyValue& entry : header.metadata()) {
        const bool replaced = entry.key == keys::kChecksums || entry.key == keys::kMethod ||
                              entry.key == keys::kCalibration || entry.key == keys::kRecipeText ||
                              entry.key == keys::kSourceFormat || entry.key == keys::kSourceFiles ||
                              entry.key == keys::kSourceSizes || entry.key == keys::kImportanceChecksums ||
                              entry.key.starts_with("quantize.imatrix.") || entry.key.starts_with("split.");
        if (!replaced) metadata.set(std::string(entry.key), Metadata::copy_of(entry.value));
    }
    return metadata;
}

std::string first_of(const std::vector<std::string>& names) {
    return names.size() == 1 ? names.front() : fmt::format("{} and {} more", names.front(), names.size() - 1);
}

}  // namespace

void plan_from_gguf(ConversionPlan& plan) {
    auto opened = open_gguf(plan.source());
    const GgufCheckpoint& checkpoint = *opened;
    const GgufHeader& header = checkpoint.header();
    plan.checkpoint = std::move(opened);
    plan.architecture = header.get_string("general.architecture").value_or("");
    plan.source_form = "gguf";
    plan.model_name = checkpoint.model_name();
    const Recipe& recipe = plan.recipe();

    std::vector<TensorPlan> targets;
    std::vector<TensorShape> shapes;
    for (const SourceTensor& tensor : checkpoint.tensors()) {
        targets.push_back({tensor.name, tensor.type, tensor.shape});
    }
    for (const TensorPlan& target : targets) shapes.push_back(shape_for_recipe(target));
    const std::vector<TypeChoice> choices =
        choose_types(recipe, plan.request.rules, shape_of(header), shapes, plan.findings);
    std::vector<std::string> again, unreadable;
    for (size_t i = 0; i < targets.size(); ++i) {
        const SourceTensor& tensor = checkpoint.tensors()[i];
        TensorSource source{plain_rows(tensor), choices[i].fallback_reason};
        const bool may_change = is_float(tensor.type) || plan.request.allow_requantize;
        source.is_free = may_change && is_quantizable(shapes[i]) && !choices[i].by_rule;
        if (!is_float(tensor.type) && !info(tensor.type).quantized) {
            source.fallback_reason.clear();  // integers are tables, not weights
        } else {
            targets[i].type = choices[i].type;
            if (choices[i].type != tensor.type && info(tensor.type).quantized) {
                again.push_back(fmt::format("{} ({})", tensor.name, name(tensor.type)));
                if (!info(tensor.type).decodable) unreadable.push_back(again.back());
            }
        }
        plan.source_bytes += source_bytes_of(*source.rows);
        plan.tensors.push_back(std::move(source));
    }
    if (!unreadable.empty()) {
        plan.findings.problem("block layouts",
                              fmt::format("the layouts of {} tensors cannot be decoded yet: {}",
                                          unreadable.size(), first_of(unreadable)),
                              "start from the original checkpoint");
    }
    if (!again.empty()) {
        const std::string cost = fmt::format(
            "{} tensors are quantized already: {}; quantizing them again keeps the rounding errors of their "
            "type and adds those of the new one",
            again.size(), first_of(again));
        const char* action =
            "start from the original checkpoint or an F16, BF16 or F32 file for the best result, or accept "
            "the loss with --allow-requantize";
        if (plan.request.allow_requantize) {
            plan.findings.warn("weights", cost);
        } else {
            plan.findings.problem("weights", cost, action);
        }
    }

    Metadata metadata = copied_metadata(header);
    metadata.set("general.file_type", recipe.file_type);
    metadata.set("general.quantization_version", kQuantizationVersion);
    write_provenance(&checkpoint, plan.request, metadata);
    plan.findings.attempt("metadata", [&] {
        apply_metadata_file(plan.request.metadata_file, metadata);
        plan.lay_out(std::move(metadata), std::move(targets));
    });
}

}  // namespace ingot::converters
