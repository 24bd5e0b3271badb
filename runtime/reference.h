#pragma once
// What one model predicts on a text, kept so that others can be compared with it: for every scored position
// the most likely tokens, and what remains. SPEC.md, section 6, has the bytes.
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "format/output_file.h"
#include "runtime/backend.h"

namespace ingot::runtime {

struct ReferenceInfo {
    std::string model, text;  // names of files
    int64_t n_vocab = 0;
    int64_t n_context = 0;     // tokens of a chunk
    int64_t top_k = 0;         // tokens that are kept for a position
    std::optional<Token> bos;  // replaces the first token of each chunk
};

/// One prediction. Natural logarithms of probabilities; the most likely token comes first.
struct ReferencePosition {
    std::span<const Token> tokens;           // (top_k)
    std::span<const float> log_likelihoods;  // (top_k)
    float rest_log_likelihood;               // of all other tokens together; -infinity when there are none
    float negative_log_likelihood;           // of the token that came
};

/// Positions that are scored in a text of `n_chunks`: those of measure_perplexity().
int64_t n_scored_positions(int64_t n_chunks, int64_t n_context);

/// Writes a reference, one position after the other. The file appears with commit().
class ReferenceWriter {
  public:
    /// `tokens`: the text, whole chunks. Throws Error when there is a file already, unless `overwrite`.
    ReferenceWriter(const std::filesystem::path& path, const ReferenceInfo& info,
                    std::span<const Token> tokens, bool overwrite);
    /// `logits` (n_vocab) of the next position, and the token that came.
    void add(std::span<const float> logits, Token next);
    /// Throws Error unless every position was added.
    void commit();

  private:
    void flush();
    void write(size_t tensor, int64_t first_row, std::span<const std::byte> bytes);

    ReferenceInfo info_;
    GgufLayout layout_;
    OutputFile file_;
    int64_t n_positions_, n_added_ = 0, n_written_ = 0;
    std::vector<Token> ranking_;  // scratch: (n_vocab)
    // Positions n_written_ … n_added_ - 1, on their way to the file.
    std::vector<Token> tokens_;
    std::vector<float> log_likelihoods_, rests_, negatives_;
};

/// A reference file, mapped. Immutable; views stay valid while it lives.
class Reference {
  public:
    /// Throws Error, prefixed with the path, unless all of it is as SPEC.md says.
    explicit Reference(const std::filesystem::path& path);

    const ReferenceInfo& info() const { return info_; }
    std::span<const Token> tokens() const { return tokens_; }  // whole chunks
    int64_t n_positions() const { return int64_t(rests_.size()); }
    ReferencePosition operator[](int64_t position) const;

  private:
    void read();
    template <typename T>
    std::span<const T> view(const char* name, TensorType type, std::array<uint64_t, 2> shape) const;

    GgufFile file_;
    ReferenceInfo info_;
    std::span<const Token> tokens_, top_tokens_;
    std::span<const float> log_likelihoods_, rests_, negatives_;
};

}  // namespace ingot::runtime
