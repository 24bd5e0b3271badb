#pragma once
#include <memory>
#include <string>
#include <vector>

#include "format/gguf_model.h"
#include "runtime/backend.h"
#include "runtime/weights.h"

namespace ingot::runtime {

/// Finds tensors by name, checks their shapes and hands them to the backend. Errors name the tensor, what was
/// found and what was expected.
class TensorLoader {
  public:
    /// `replacement` may be null, and `memory`: the bytes are then in the mapped file.
    TensorLoader(const GgufModel& file, Backend& backend, const Replacement* replacement,
                 const WeightMemory* memory = nullptr);

    bool has(const std::string& name) const { return file_.header().find_tensor(name) != nullptr; }

    /// Rows of a matrix, 0 when it is absent.
    int64_t rows(const std::string& name) const;

    /// Rows of a tensor that holds several matrices (n_out, n_in) behind each other.
    struct Slice {
        int64_t first = 0;
        int64_t n_all = 0;  // rows of the tensor; 0: those of the matrix
    };
    std::unique_ptr<Weight> matrix(const std::string& name, int64_t n_out, int64_t n_in, Slice slice);
    std::unique_ptr<Weight> matrix(const std::string& name, int64_t n_out, int64_t n_in) {
        return matrix(name, n_out, n_in, {});
    }
    /// A vector (n) as a matrix of one row.
    std::unique_ptr<Weight> row(const std::string& name, int64_t n);
    /// (n_matrices, n_out, n_in) as one weight of n_matrices * n_out rows.
    std::unique_ptr<Weight> matrices(const std::string& name, int64_t n_matrices, int64_t n_out,
                                     int64_t n_in);

    /// `name`.weight and `name`.bias, which may be absent unless it is required.
    Linear linear(const std::string& name, int64_t n_out, int64_t n_in, bool bias_required, Slice slice);
    Linear linear(const std::string& name, int64_t n_out, int64_t n_in, bool bias_required) {
        return linear(name, n_out, n_in, bias_required, {});
    }
    /// `name`.weight, and for layer norms `name`.bias where the file has it.
    NormWeights norm(const std::string& name, NormKind kind, int64_t n, int64_t n_groups = 1);

    /// A vector is small: it is decoded to floats whatever its type. Shape [n] or [n, n_rows].
    std::vector<float> floats(const std::string& name, int64_t n, int64_t n_rows = 1);
    std::unique_ptr<Buffer> vector(const std::string& name, int64_t n, int64_t n_rows = 1) {
        return upload(floats(name, n, n_rows));
    }
    std::unique_ptr<Buffer> optional_vector(const std::string& name, int64_t n, int64_t n_rows = 1) {
        return has(name) ? vector(name, n, n_rows) : nullptr;
    }
    std::unique_ptr<Buffer> upload(std::span<const float> values);
    std::unique_ptr<Buffer> constant(float value, int64_t n) {
        return upload(std::vector<float>(size_t(n), value));
    }

  private:
    const TensorInfo& require(const std::string& name) const;
    std::span<const std::byte> bytes_of(const TensorInfo& tensor) const;
    std::span<const std::byte> resident_bytes_of(const TensorInfo& tensor) const;

    const GgufModel& file_;
    Backend& backend_;
    const Replacement* replacement_;
    const WeightMemory* memory_;
    TensorInfo replaced_;  // the file's entry with the replacement's type, where there is one
};

}  // namespace ingot::runtime
