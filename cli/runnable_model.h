#pragma once
#include <string>

#include "converters/plan.h"

namespace ingot::cli {

/// A model that the runtime can map, to measure a conversion on before it begins: the source itself, or, of a
/// checkpoint's folder, a BF16 file made of it for the time being. Not thread-safe.
class RunnableModel {
  public:
    /// The file is `output` with another ending, and is removed with this. Throws converters::Cancelled, and
    /// Error when there is no space.
    RunnableModel(const converters::ConversionPlan& plan, const std::string& output, int n_threads);
    ~RunnableModel();
    RunnableModel(const RunnableModel&) = delete;
    RunnableModel& operator=(const RunnableModel&) = delete;

    const std::string& path() const { return path_; }

  private:
    std::string path_;
    bool is_temporary_ = false;
};

}  // namespace ingot::cli
