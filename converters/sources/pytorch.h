#pragma once
// A file that torch.save wrote (.bin, .pt, .pth): since PyTorch 1.6 a zip archive with a pickle that
// describes the tensors (data.pkl) and one stored record for each storage (data/<key>).
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "converters/sources/checkpoint.h"

namespace ingot::converters {

/// Whether the content, whatever its name, is for parse_pytorch(): an archive, or an older form of
/// torch.save, which that refuses with a word on what to do.
bool is_pytorch(std::span<const std::byte> file);

/// The tensors of a whole file in memory, in the order of their bytes; `data` are views into `file`. Tensors
/// may share storages, and may be views with strides. Throws Error when the archive or the pickle is
/// malformed, when the pickle wants anything but tensors, or when a storage has another size than its record.
/// Messages start with `name`.
std::vector<SourceTensor> parse_pytorch(std::span<const std::byte> file, const std::string& name);

/// Compares every record with the archive's CRC. Reads the whole file.
void check_pytorch_checksums(std::span<const std::byte> file, const std::string& name);

}  // namespace ingot::converters
