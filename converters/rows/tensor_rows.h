#pragma once
// A tensor on its way into the file, as rows of floats, whatever the checkpoint stores it as and whatever is
// done to it on the way: nothing is read or computed before a tile asks for it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "converters/sources/checkpoint.h"

namespace ingot::converters {

/// Bytes of the checkpoint that some rows are made of.
struct Extent {
    const SourceTensor* tensor = nullptr;
    uint64_t offset = 0, size_bytes = 0;  // within the tensor

    /// Tells the system that these bytes will soon be read, or were consumed: reading runs ahead, and
    /// resident memory stays bounded.
    void will_need() const;
    void release() const;
};

/// Immutable and thread-safe. Whatever it reads from must outlive it.
class TensorRows {
  public:
    virtual ~TensorRows() = default;
    const std::string& name() const { return name_; }              // in the checkpoint: for messages
    const std::string& encoding() const { return encoding_; }      // what it is stored as: "BF16", "computed"
    const std::vector<uint64_t>& shape() const { return shape_; }  // GGUF order: shape[0] is the row length
    uint64_t row_elements() const { return shape_.empty() ? 1 : shape_[0]; }
    uint64_t n_rows() const;  // the other dimensions' product; a vector is one row
    uint64_t n_elements() const { return row_elements() * n_rows(); }

    /// Rows first_row … first_row + n_rows - 1: values (n_rows, row_elements).
    virtual void read(uint64_t first_row, uint64_t n_rows, float* values) const = 0;
    /// Some columns of them: values (n_rows, n_columns). Unless a class knows better, whole rows are read for
    /// it.
    virtual void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                              float* values) const;
    /// What reading these rows touches, appended to `extents`; in a transform that reads in another order, at
    /// least everything is named once over all rows.
    virtual void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const = 0;
    /// Where the checkpoint has this element, for messages.
    struct Place {
        std::string tensor;
        uint64_t row = 0, column = 0;
    };
    virtual Place place(uint64_t row, uint64_t column) const { return {name_, row, column}; }
    /// Whether the checkpoint has these very values in this block layout: bits move, nothing is rounded.
    virtual bool holds(TensorType) const { return false; }
    /// Then: the blocks of some columns (whole blocks) of some rows, row after row.
    virtual void copy_blocks(TensorType type, uint64_t first_row, uint64_t n_rows, uint64_t first_column,
                             uint64_t n_columns, std::byte* blocks) const;

  protected:
    TensorRows(std::string name, std::string encoding, std::vector<uint64_t> shape)
        : name_(std::move(name)), encoding_(std::move(encoding)), shape_(std::move(shape)) {}

  private:
    std::string name_, encoding_;
    std::vector<uint64_t> shape_;
};

using RowsPtr = std::shared_ptr<const TensorRows>;

/// A tensor as it is stored, its rows put in order. Reading one whose block layout cannot be decoded is an
/// Error; copying its bytes is not. Throws Error when its elements have no TensorType (see
/// SourceTensor::unreadable).
RowsPtr plain_rows(const SourceTensor& tensor);
/// Values that no checkpoint holds; `values` has the shape's number of elements.
RowsPtr computed_rows(std::string name, std::vector<uint64_t> shape, std::vector<float> values);

/// Bytes of the checkpoint that these rows are made of.
uint64_t source_bytes_of(const TensorRows& rows);

/// All values; for tensors that are small.
std::vector<float> read_all(const TensorRows& rows);

}  // namespace ingot::converters
