#pragma once
// Importance matrices: which columns of a model's matrices matter, measured while a text ran through it. The
// files are llama.cpp's (SPEC.md, section 5).
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

/// What the matrices of one tensor were multiplied by: for each column the sum of the squares of its inputs,
/// and how many inputs there were.
struct ImportanceEntry {
    std::vector<float> sums;       // (n_matrices, n_columns); experts' matrices lie behind each other
    std::vector<uint64_t> counts;  // (n_matrices), inputs; or one that holds for all matrices

    /// Whether it can be that of a tensor of these rows.
    bool fits(uint64_t n_columns, uint64_t n_matrices) const;
    /// The sums of one matrix, (n_columns): a view. Empty when it had no input.
    std::span<const float> columns(uint64_t matrix, uint64_t n_columns) const;
    /// The mean square of each column, (n_matrices, n_columns); zeros for a matrix that had no input.
    std::vector<float> mean_squares() const;
};

/// Entries by the tensor's name in the model. Not thread-safe while it changes.
class ImportanceMatrix {
  public:
    using Entries = std::map<std::string, ImportanceEntry, std::less<>>;

    std::vector<std::string> datasets;  // the texts: names of files, as they were given
    uint64_t n_chunks = 0;              // of text
    uint64_t chunk_size = 0;            // tokens; 0: not known

    const Entries& entries() const { return entries_; }
    const ImportanceEntry* find(std::string_view tensor) const;
    /// Adds an entry, or adds its sums and counts to those of the same name. Throws Error when the two have
    /// different shapes.
    void add(std::string_view tensor, ImportanceEntry entry);
    /// Adds all of `other`, as though both texts had been one.
    void add(const ImportanceMatrix& other);

    /// Reads llama.cpp's GGUF form, or its older binary form, whichever the bytes are: sums are finite and
    /// not negative. The older form says neither the number of matrices nor the length of a chunk;
    /// kDefaultChunk stands for the latter, so that it can be added to others. Throws Error prefixed with the
    /// path.
    static ImportanceMatrix read(const std::filesystem::path& path);
    static ImportanceMatrix parse(std::span<const std::byte> bytes);

    static constexpr uint64_t kDefaultChunk = 512;  // tokens; llama.cpp's

    /// Writes the GGUF form, whole or not at all. Throws Error.
    void write(const std::filesystem::path& path, bool overwrite) const;

  private:
    Entries entries_;
};

}  // namespace ingot
