#pragma once
#include <string_view>

namespace ingot::inspect {

/// page.html, put into the program when it is built (inspect/CMakeLists.txt).
extern const std::string_view kPageText;

}  // namespace ingot::inspect
