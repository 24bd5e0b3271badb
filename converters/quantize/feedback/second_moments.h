#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace ingot::converters::feedback {

/// Σ x xᵀ over the rows x that a matrix is multiplied by; or, where that is too large to keep, its diagonal.
/// Not thread-safe, but adds with all threads of the caller's arena; the sums don't depend on how many.
class SecondMoments {
  public:
    enum class Form : uint8_t { Full, Diagonal };
    SecondMoments(uint64_t n_columns, Form form);

    static uint64_t size_bytes(uint64_t n_columns, Form form) {
        return n_columns * (form == Form::Full ? n_columns : 1) * sizeof(float);
    }

    /// rows (n_rows, n_columns). `reference`: what these rows were if nothing before them were quantized, or
    /// empty when that is not known.
    void add(std::span<const float> rows, std::span<const float> reference = {});

    Form form() const { return form_; }
    uint64_t n_columns() const { return n_columns_; }
    uint64_t n_rows() const { return n_rows_; }  // that were added
    /// (n_columns, n_columns), of which the upper triangle counts: row i from column i on; or (n_columns).
    std::span<const float> sums() const { return sums_; }
    /// Σ (reference - x) xᵀ, (n_columns, n_columns); empty where both were the same. Full form only.
    std::span<const float> drift() const { return drift_; }
    /// Σ |reference - x|².
    double drift_energy() const { return drift_energy_; }
    /// Sums of squares, (n_columns).
    std::vector<float> diagonal() const;

  private:
    uint64_t n_columns_;
    Form form_;
    uint64_t n_rows_ = 0;
    std::vector<float> sums_;
    std::vector<float> drift_;
    double drift_energy_ = 0;
};

}  // namespace ingot::converters::feedback
