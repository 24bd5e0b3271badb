#include "converters/rows/tensor_rows.h"

#include <algorithm>
#include <cstring>

#include "format/decode.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

size_t offset_in_file(const Extent& extent) {
    return size_t(extent.tensor->data.data() - extent.tensor->file->bytes().data()) + extent.offset;
}

class PlainRows final : public TensorRows {
  public:
    explicit PlainRows(const SourceTensor& tensor)
        : TensorRows(tensor.name, std::string(ingot::name(tensor.type)), tensor.shape),
          tensor_(tensor),
          row_bytes_(row_bytes(tensor.type, row_elements())) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        decode_row(tensor_.type, tensor_.data.data() + first_row * row_bytes_, values,
                   n_rows * row_elements());
    }

    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        const TensorTypeInfo& type = info(tensor_.type);
        if (first_column % type.block_elements != 0 || n_columns % type.block_elements != 0) {
            return TensorRows::read_columns(first_row, n_rows, first_column, n_columns, values);
        }
        const std::byte* column = tensor_.data.data() + row_bytes(tensor_.type, first_column);
        for (uint64_t row = 0; row < n_rows; ++row) {
            decode_row(tensor_.type, column + (first_row + row) * row_bytes_, values + row * n_columns,
                       n_columns);
        }
    }

    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        extents.push_back({&tensor_, first_row * row_bytes_, n_rows * row_bytes_});
    }

    bool holds(TensorType type) const override { return type == tensor_.type; }
    void copy_blocks(TensorType, uint64_t first_row, uint64_t n_rows, uint64_t first_column,
                     uint64_t n_columns, std::byte* blocks) const override {
        const std::byte* column = tensor_.data.data() + row_bytes(tensor_.type, first_column);
        const uint64_t size_bytes = row_bytes(tensor_.type, n_columns);
        for (uint64_t row = 0; row < n_rows; ++row) {
            std::memcpy(blocks + row * size_bytes, column + (first_row + row) * row_bytes_, size_bytes);
        }
    }

  private:
    const SourceTensor& tensor_;
    const uint64_t row_bytes_;
};

/// A PyTorch view whose elements are not in order: most often a transposed matrix.
class StridedRows final : public TensorRows {
  public:
    explicit StridedRows(const SourceTensor& tensor)
        : TensorRows(tensor.name, std::string(ingot::name(tensor.type)), tensor.shape),
          tensor_(tensor),
          element_bytes_(info(tensor.type).block_bytes) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        read_columns(first_row, n_rows, 0, row_elements(), values);
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        const uint64_t to_next_column = tensor_.strides[0];
        if (to_next_column == 1) {
            for (uint64_t row = 0; row < n_rows; ++row)
                decode(offset(first_row + row) + first_column, n_columns, values + row * n_columns);
            return;
        }
        // In a transposed matrix the rows' elements of one column are neighbours.
        const bool rows_adjoin = tensor_.strides.size() == 2 && tensor_.strides[1] == 1;
        std::vector<float> column(n_rows);
        for (uint64_t j = 0; j < n_columns; ++j) {
            const uint64_t at = (first_column + j) * to_next_column;
            if (rows_adjoin) decode(at + first_row, n_rows, column.data());
            for (uint64_t row = 0; row < n_rows; ++row) {
                if (!rows_adjoin) decode(offset(first_row + row) + at, 1, &column[row]);
                values[row * n_columns + j] = column[row];
            }
        }
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        // Every row may touch all of it; it is named with the last.
        if (first_row + n_rows == this->n_rows()) extents.push_back({&tensor_, 0, tensor_.data.size()});
    }

  private:
    void decode(uint64_t element, uint64_t n, float* values) const {
        decode_row(tensor_.type, tensor_.data.data() + element * element_bytes_, values, n);
    }
    /// Elements from the tensor's first to a row's first.
    uint64_t offset(uint64_t row) const {
        uint64_t at = 0;
        for (size_t i = 1; i < shape().size(); row /= shape()[i], ++i)
            at += row % shape()[i] * tensor_.strides[i];
        return at;
    }

    const SourceTensor& tensor_;
    const uint64_t element_bytes_;
};

class ComputedRows final : public TensorRows {
  public:
    ComputedRows(std::string name, std::vector<uint64_t> shape, std::vector<float> values)
        : TensorRows(std::move(name), "computed", std::move(shape)), values_(std::move(values)) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        std::copy_n(values_.data() + first_row * row_elements(), n_rows * row_elements(), values);
    }
    void append_extents(uint64_t, uint64_t, std::vector<Extent>&) const override {}

  private:
    const std::vector<float> values_;
};

}  // namespace

void Extent::will_need() const {
    if (tensor->file && size_bytes > 0) tensor->file->will_need(offset_in_file(*this), size_bytes);
}

void Extent::release() const {
    if (tensor->file && size_bytes > 0) tensor->file->dont_need(offset_in_file(*this), size_bytes);
}

uint64_t TensorRows::n_rows() const {
    // The product of all dimensions was found to fit into 64 bits when the source was opened.
    uint64_t rows = 1;
    for (size_t i = 1; i < shape_.size(); ++i) rows *= shape_[i];
    return rows;
}

void TensorRows::read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                              float* values) const {
    std::vector<float> row(row_elements());
    for (uint64_t i = 0; i < n_rows; ++i) {
        read(first_row + i, 1, row.data());
        std::copy_n(row.data() + first_column, n_columns, values + i * n_columns);
    }
}

void TensorRows::copy_blocks(TensorType type, uint64_t, uint64_t, uint64_t, uint64_t, std::byte*) const {
    fail("tensor \"{}\" is stored as {}, not in blocks of {}", name_, encoding_, ingot::name(type));
}

RowsPtr plain_rows(const SourceTensor& tensor) {
    if (!tensor.unreadable.empty()) {
        fail("tensor \"{}\" has elements of type {}, which cannot be read as numbers by themselves",
             tensor.name, tensor.unreadable);
    }
    if (!tensor.strides.empty()) return std::make_shared<StridedRows>(tensor);
    return std::make_shared<PlainRows>(tensor);
}

RowsPtr computed_rows(std::string name, std::vector<uint64_t> shape, std::vector<float> values) {
    return std::make_shared<ComputedRows>(std::move(name), std::move(shape), std::move(values));
}

uint64_t source_bytes_of(const TensorRows& rows) {
    std::vector<Extent> extents;
    rows.append_extents(0, rows.n_rows(), extents);
    uint64_t total = 0;
    for (const Extent& extent : extents) total += extent.size_bytes;
    return total;
}

std::vector<float> read_all(const TensorRows& rows) {
    std::vector<float> values(rows.n_elements());
    rows.read(0, rows.n_rows(), values.data());
    return values;
}

}  // namespace ingot::converters
