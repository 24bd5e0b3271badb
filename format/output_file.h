#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace ingot {

/// A file that appears whole or not at all: bytes go to a temporary file beside the target; commit() syncs
/// it, renames it over the target and syncs the folder. Destroyed without commit(), it removes the temporary
/// file and the target is as it was. write_at() may be called from several threads at once; the rest may not.
/// Every failed system call throws Error with the path and the reason.
class OutputFile {
  public:
    /// `size_bytes` is reserved at once, so that a full disk is found before the work. An existing target is
    /// an error unless `overwrite`.
    OutputFile(std::filesystem::path target, uint64_t size_bytes, bool overwrite);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    void write_at(uint64_t offset, std::span<const std::byte> bytes);
    void commit();

  private:
    void discard() noexcept;

    std::filesystem::path target_;
    bool overwrite_ = false;
    std::string temporary_;  // path; empty once it has become the target
    int descriptor_ = -1;
};

}  // namespace ingot
