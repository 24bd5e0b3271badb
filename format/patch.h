#pragma once
// Changing some bytes of a large file without writing the rest, so that no crash leaves half of them.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace ingot {

/// Writes `now` over `old`, as many bytes, at `offset`. First a journal with both appears beside the file and
/// is made durable; it goes when the bytes are. A process that is killed leaves the file as it was or as it
/// shall be: one system call writes all. When the machine itself stops while the disk takes the bytes, the
/// journal is there to finish_patch(). Throws Error when another process patches the file, when it does not
/// hold the old bytes any more, and when an earlier patch was not finished.
void patch_file(const std::filesystem::path& file, uint64_t offset, std::span<const std::byte> old,
                std::span<const std::byte> now);

/// "<file>.ingot-edit"; SPEC.md, section 1.7.
std::filesystem::path journal_of(const std::filesystem::path& file);

/// What a patch that was cut short has left: no journal; a journal, and the old bytes, the new ones, or some
/// of each.
enum class UnfinishedPatch { None, Old, New, Torn };

/// Costs a look for the journal. Throws Error when the journal is damaged or of another file.
UnfinishedPatch unfinished_patch(const std::filesystem::path& file);
/// Writes the new bytes of a patch that was cut short, and removes its journal. Returns whether there was
/// one.
bool finish_patch(const std::filesystem::path& file);

}  // namespace ingot
