#include "runtime/importance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "format/error.h"
#include "runtime/forward.h"
#include "runtime/perplexity.h"

namespace ingot::runtime {
namespace {

/// Adds up the squares. A product's rows are summed as doubles first: floats that grow over millions of
/// tokens would swallow single ones.
class Collector final : public ProductObserver {
  public:
    bool on_product(const ProductInput& input) override {
        const size_t n_in = size_t(input.n_in), n_matrices = size_t(input.n_matrices);
        auto at = entries_.find(input.tensor);
        if (at == entries_.end()) {
            ImportanceEntry empty{std::vector<float>(n_in * n_matrices), std::vector<uint64_t>(n_matrices)};
            at = entries_.emplace(input.tensor, std::move(empty)).first;
        }
        ImportanceEntry& entry = at->second;
        const size_t n_rows = input.x.size() / n_in;
        sort_rows(input, n_rows);
        for (size_t begin = 0; begin < n_rows;) {
            const size_t matrix = matrix_of(input, rows_[begin]);
            size_t end = begin;
            squares_.assign(n_in, 0.0);
            for (; end < n_rows && matrix_of(input, rows_[end]) == matrix; ++end)
                add_squares(input.x.subspan(rows_[end] * n_in, n_in));
            add_to(entry, matrix, end - begin, input.tensor);
            begin = end;
        }
        return true;
    }

    ImportanceMatrix take() {
        ImportanceMatrix matrix;
        for (auto& [tensor, entry] : entries_) matrix.add(tensor, std::move(entry));
        entries_.clear();
        return matrix;
    }

  private:
    static size_t matrix_of(const ProductInput& input, size_t row) {
        return input.matrices.empty() ? 0 : size_t(input.matrices[row]);
    }

    /// Rows of one matrix behind each other, in their order.
    void sort_rows(const ProductInput& input, size_t n_rows) {
        rows_.resize(n_rows);
        for (size_t i = 0; i < n_rows; ++i) rows_[i] = i;
        if (!input.matrices.empty())
            std::ranges::stable_sort(rows_, {}, [&](size_t row) { return matrix_of(input, row); });
    }

    void add_squares(std::span<const float> row) {
        for (size_t i = 0; i < row.size(); ++i) squares_[i] += double(row[i]) * double(row[i]);
    }

    void add_to(ImportanceEntry& entry, size_t matrix, size_t n_rows, std::string_view tensor) const {
        float* const sums = entry.sums.data() + matrix * squares_.size();
        for (size_t i = 0; i < squares_.size(); ++i) {
            sums[i] += float(squares_[i]);
            if (!(sums[i] <= std::numeric_limits<float>::max()))
                fail(
                    "tensor {}: its column {} was multiplied by values that are no numbers, or too large; "
                    "the model's weights are damaged, or it cannot run on this text",
                    tensor, i);
        }
        entry.counts[matrix] += n_rows;
    }

    std::map<std::string, ImportanceEntry, std::less<>> entries_;
    std::vector<size_t> rows_;     // of a product, in the order of their matrices
    std::vector<double> squares_;  // (n_in): of the rows of one matrix in a product
};

/// Lets nothing be collected once the collector is gone.
class Observation {
  public:
    Observation(ObservedBackend& backend, const Model& model, ProductObserver& observer)
        : backend_(backend), model_(model) {
        backend_.observe(model_, &observer);
    }
    ~Observation() { backend_.observe(model_, nullptr); }
    Observation(const Observation&) = delete;
    Observation& operator=(const Observation&) = delete;

  private:
    ObservedBackend& backend_;
    const Model& model_;
};

}  // namespace

MeasuredImportance measure_importance(const Model& model, ObservedBackend& backend,
                                      std::span<const Token> tokens, const ImportanceOptions& options) {
    const int64_t n_context = options.n_context;
    if (n_context < 4) fail("a context of {} tokens is too short; expected 4 or more", n_context);
    int64_t n_chunks = int64_t(tokens.size()) / n_context;
    if (n_chunks == 0)
        fail(
            "the text has {} tokens; chunks of {} need at least that many: give a longer text or a smaller "
            "--context",
            tokens.size(), n_context);
    if (options.n_chunks > 0) n_chunks = std::min(n_chunks, options.n_chunks);

    // Only tokens whose logits are wanted go through all of the last layer, so all are; some at a time.
    const int64_t n_vocab = model.hyperparameters().n_vocab;
    Collector collector;
    const Observation observation(backend, model, collector);
    ForwardPass forward(model, n_context, kScoredBatch);
    MeasuredImportance result;
    double sum = 0;  // nats
    int64_t n_scored = 0, n_done = 0;
    while (n_done < n_chunks && !result.cancelled) {
        const std::span<const Token> chunk = tokens.subspan(size_t(n_done * n_context), size_t(n_context));
        std::vector<Token> input(chunk.begin(), chunk.end());
        if (options.bos) input[0] = *options.bos;
        forward.cache().truncate(0);
        for (int64_t begin = 0; begin < n_context; begin += kScoredBatch) {
            const int64_t n = std::min(kScoredBatch, n_context - begin);
            forward.run(std::span(input).subspan(size_t(begin), size_t(n)), n);
            for (int64_t i = 0; i < n; ++i) {
                const int64_t position = begin + i;
                if (position < n_context / 2 || position + 1 == n_context) continue;
                const auto logits = forward.logits().subspan(size_t(i * n_vocab), size_t(n_vocab));
                sum += negative_log_likelihood(logits, chunk[size_t(position) + 1]);
                ++n_scored;
            }
        }
        ++n_done;
        result.perplexity = std::exp(sum / double(n_scored));
        if (options.on_progress) options.on_progress(n_done, n_chunks, result.perplexity);
        result.cancelled = options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed);
    }
    if (n_done == n_chunks) result.cancelled = false;
    result.matrix = collector.take();
    result.matrix.n_chunks = uint64_t(n_done);
    result.matrix.chunk_size = uint64_t(n_context);
    return result;
}

}  // namespace ingot::runtime
