#pragma once
// Measures an importance matrix: the sums of squares of what the columns of each matrix are multiplied by.
#include <atomic>
#include <functional>
#include <optional>
#include <span>

#include "format/imatrix.h"
#include "runtime/observed_backend.h"

namespace ingot::runtime {

/// Chunks are cut as measure_perplexity() cuts them, and every token of a chunk counts.
struct ImportanceOptions {
    int64_t n_context = 512;                    // tokens of a chunk
    int64_t n_chunks = 0;                       // the first ones only; 0: all
    std::optional<Token> bos;                   // replaces the first token of each chunk
    const std::atomic<bool>* cancel = nullptr;  // polled after each chunk
    /// Called after each chunk with the number done, of all, and the perplexity of their second halves so
    /// far.
    std::function<void(int64_t n_done, int64_t n_chunks, double perplexity)> on_progress;
};

struct MeasuredImportance {
    ImportanceMatrix matrix;  // without the text's name
    double perplexity = 0;    // of the second halves of the chunks
    bool cancelled = false;   // the matrix is that of the chunks until then
};

/// `model` was loaded on `backend`. The output's matrix has an entry, too; where the embedding serves as it,
/// under the embedding's name. The same numbers for any number of threads. Memory: one float for each column
/// of each matrix. Throws Error when the text is shorter than a chunk, or when a matrix was multiplied by
/// something that is no number.
MeasuredImportance measure_importance(const Model& model, ObservedBackend& backend,
                                      std::span<const Token> tokens, const ImportanceOptions& options);

}  // namespace ingot::runtime
