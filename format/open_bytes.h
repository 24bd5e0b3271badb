#pragma once
#include <filesystem>
#include <string_view>

#include "format/mapped_file.h"

namespace ingot {

/// A file, mapped; or what stands for one: "-" is standard input, http:// and https:// are read by ranges,
/// and a file that zstd packed (SPEC.md, section 8) is unpacked.
MappedFile open_bytes(const std::filesystem::path& path);

/// Whether the path is a URL.
bool is_remote(std::string_view path);

}  // namespace ingot
