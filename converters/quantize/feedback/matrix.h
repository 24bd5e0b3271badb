#pragma once
// Eigen, as this folder uses it: row-major floats, and no threads of its own.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

namespace ingot::converters::feedback {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Index = Eigen::Index;

}  // namespace ingot::converters::feedback
