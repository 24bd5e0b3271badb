#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace ingot {

/// A file that appears whole or not at all: bytes go to `<target>.ingot-partial` beside the target; commit()
/// syncs it, renames it over the target and syncs the folder. Destroyed without commit() or keep(), it
/// removes the unfinished file, and the target is as it was. A killed process leaves the unfinished file,
/// which the next one takes over; two processes cannot write the same target at once. read_at() and
/// write_at() may be called from several threads at once; the rest may not. Every failed system call throws
/// Error with the path and the reason.
class OutputFile {
  public:
    /// `size_bytes` is reserved at once, so that a full disk is found before the work. An existing target is
    /// an error unless `overwrite`. `journal_bytes` more follow the file's end while it is unfinished: notes
    /// for whoever goes on with it. A file that a killed process left keeps its bytes only when both sizes
    /// are the same and there is a journal.
    /// With Space::Sparse nothing is reserved: the file takes what is written.
    enum class Space { Reserved, Sparse };
    OutputFile(std::filesystem::path target, uint64_t size_bytes, bool overwrite, uint64_t journal_bytes = 0,
               Space space = Space::Reserved);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    /// An earlier process left bytes of this size. What they are, only the journal can tell.
    bool has_earlier_bytes() const { return has_earlier_bytes_; }
    const std::string& unfinished_path() const { return unfinished_; }

    void read_at(uint64_t offset, std::span<std::byte> bytes) const;
    void write_at(uint64_t offset, std::span<const std::byte> bytes);
    /// Copies bytes of another file, where the file system can without moving them (reflinks, server-side
    /// copies).
    void copy_from(const std::filesystem::path& source, uint64_t source_offset, uint64_t offset,
                   uint64_t size_bytes);
    /// The file will have only these bytes. For files without a journal.
    void shorten(uint64_t size_bytes) { size_bytes_ = size_bytes; }
    /// What was written so far survives the machine.
    void sync();
    void commit();
    /// Leaves the unfinished file for another process to go on with.
    void keep() noexcept { kept_ = true; }

    /// Where the bytes of an unfinished `target` are.
    static std::filesystem::path unfinished_path_of(const std::filesystem::path& target);

  private:
    void open();
    void discard() noexcept;

    std::filesystem::path target_;
    uint64_t size_bytes_ = 0;
    bool has_journal_ = false;
    bool overwrite_ = false;
    std::string unfinished_;  // path; empty once it has become the target
    int descriptor_ = -1;
    bool has_earlier_bytes_ = false;
    bool kept_ = false;
};

}  // namespace ingot
