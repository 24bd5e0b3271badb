#include "cli/runnable_model.h"

#include <filesystem>

#include "cli/signals.h"
#include "converters/convert.h"
#include "format/output_file.h"

namespace ingot::cli {

using namespace converters;

RunnableModel::RunnableModel(const ConversionPlan& plan, const std::string& output, int n_threads) {
    if (plan.family.empty()) {
        path_ = plan.source();
        return;
    }
    ConvertRequest request = plan.request;
    request.recipe = find_recipe("BF16");
    request.rules = {};
    request.importance_files.clear();
    request.max_file_bytes = 0;
    const ConversionPlan plain = plan_conversion(request);
    path_ = output + ".calibration.gguf";
    ConvertOptions convert_options;
    convert_options.output = path_;
    convert_options.overwrite = true;
    convert_options.n_threads = n_threads;
    convert_options.cancel = &interrupted;
    try {
        convert(plain, convert_options);
    } catch (const Cancelled&) {
        std::error_code ignored;
        std::filesystem::remove(OutputFile::unfinished_path_of(path_), ignored);
        throw Cancelled("interrupted; nothing was written");
    }
    is_temporary_ = true;
}

RunnableModel::~RunnableModel() {
    std::error_code ignored;
    if (is_temporary_) std::filesystem::remove(path_, ignored);
}

}  // namespace ingot::cli
