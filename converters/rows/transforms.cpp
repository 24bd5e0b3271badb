#include "converters/rows/transforms.h"

#include <algorithm>

#include "format/error.h"

namespace ingot::converters {

namespace {

class SelectedRows final : public TensorRows {
  public:
    SelectedRows(RowsPtr rows, uint64_t n_rows, std::function<uint64_t(uint64_t)> source_row)
        : TensorRows(rows->name(), rows->encoding(), {rows->row_elements(), n_rows}),
          rows_(std::move(rows)),
          source_row_(std::move(source_row)) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        for_each_run(first_row, n_rows, [&](uint64_t source, uint64_t n, uint64_t at) {
            rows_->read(source, n, values + at * row_elements());
        });
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        for_each_run(first_row, n_rows, [&](uint64_t source, uint64_t n, uint64_t at) {
            rows_->read_columns(source, n, first_column, n_columns, values + at * n_columns);
        });
    }
    Place place(uint64_t row, uint64_t column) const override {
        return rows_->place(source_row_(row), column);
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        if (n_rows == 0) return;
        // Rows that are only out of order within a stretch are named as the stretch.
        uint64_t least = UINT64_MAX, greatest = 0;
        for (uint64_t row = first_row; row < first_row + n_rows; ++row) {
            least = std::min(least, source_row_(row));
            greatest = std::max(greatest, source_row_(row));
        }
        if (greatest - least < 4 * n_rows) return rows_->append_extents(least, greatest - least + 1, extents);
        for_each_run(first_row, n_rows, [&](uint64_t source, uint64_t n, uint64_t) {
            rows_->append_extents(source, n, extents);
        });
    }
    bool holds(TensorType type) const override { return rows_->holds(type); }
    void copy_blocks(TensorType type, uint64_t first_row, uint64_t n_rows, uint64_t first_column,
                     uint64_t n_columns, std::byte* blocks) const override {
        const uint64_t size_bytes = row_bytes(type, n_columns);
        for_each_run(first_row, n_rows, [&](uint64_t source, uint64_t n, uint64_t at) {
            rows_->copy_blocks(type, source, n, first_column, n_columns, blocks + at * size_bytes);
        });
    }

  private:
    /// How many rows from `row` on follow each other in the source too.
    uint64_t run_length(uint64_t row, uint64_t n_rows) const {
        const uint64_t source = source_row_(row);
        uint64_t n = 1;
        while (n < n_rows && source_row_(row + n) == source + n) ++n;
        return n;
    }
    template <typename Action>  // (first row of the source, rows, first row relative to first_row)
    void for_each_run(uint64_t first_row, uint64_t n_rows, const Action& action) const {
        for (uint64_t at = 0; at < n_rows;) {
            const uint64_t n = run_length(first_row + at, n_rows - at);
            action(source_row_(first_row + at), n, at);
            at += n;
        }
    }

    const RowsPtr rows_;
    const std::function<uint64_t(uint64_t)> source_row_;
};

/// Another shape over the same elements in the same order.
class ReshapedRows final : public TensorRows {
  public:
    ReshapedRows(RowsPtr rows, std::vector<uint64_t> shape)
        : TensorRows(rows->name(), rows->encoding(), std::move(shape)), rows_(std::move(rows)) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        read_elements(first_row * row_elements(), n_rows * row_elements(), values);
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        for (uint64_t row = 0; row < n_rows; ++row) {
            read_elements((first_row + row) * row_elements() + first_column, n_columns,
                          values + row * n_columns);
        }
    }
    Place place(uint64_t row, uint64_t column) const override {
        const uint64_t element = row * row_elements() + column;
        return rows_->place(element / rows_->row_elements(), element % rows_->row_elements());
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        const uint64_t width = rows_->row_elements();
        if (n_rows == 0 || width == 0) return;
        const uint64_t first = first_row * row_elements() / width;
        const uint64_t last = ((first_row + n_rows) * row_elements() - 1) / width;
        rows_->append_extents(first, last - first + 1, extents);
    }
    bool holds(TensorType type) const override {
        return rows_->row_elements() == row_elements() && rows_->holds(type);
    }
    void copy_blocks(TensorType type, uint64_t first_row, uint64_t n_rows, uint64_t first_column,
                     uint64_t n_columns, std::byte* blocks) const override {
        rows_->copy_blocks(type, first_row, n_rows, first_column, n_columns, blocks);
    }

  private:
    void read_elements(uint64_t first, uint64_t n, float* values) const {
        const uint64_t width = rows_->row_elements();
        while (n > 0) {
            const uint64_t row = first / width, column = first % width;
            uint64_t taken = 0;
            if (column == 0 && n >= width) {
                taken = n - n % width;
                rows_->read(row, taken / width, values);
            } else {
                taken = std::min(n, width - column);
                rows_->read_columns(row, 1, column, taken, values);
            }
            first += taken, n -= taken, values += taken;
        }
    }

    const RowsPtr rows_;
};

class ConcatenatedRows final : public TensorRows {
  public:
    ConcatenatedRows(std::string name, std::vector<uint64_t> shape, std::vector<RowsPtr> parts)
        : TensorRows(std::move(name), parts.at(0)->encoding(), std::move(shape)), parts_(std::move(parts)) {
        uint64_t end = 0;
        for (const RowsPtr& part : parts_) ends_.push_back(end += part->n_rows());
    }

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        for_each_part(first_row, n_rows,
                      [&](const TensorRows& part, uint64_t first, uint64_t n, uint64_t at) {
                          part.read(first, n, values + at * row_elements());
                      });
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        for_each_part(first_row, n_rows,
                      [&](const TensorRows& part, uint64_t first, uint64_t n, uint64_t at) {
                          part.read_columns(first, n, first_column, n_columns, values + at * n_columns);
                      });
    }
    Place place(uint64_t row, uint64_t column) const override {
        Place found;
        for_each_part(row, 1, [&](const TensorRows& part, uint64_t first, uint64_t, uint64_t) {
            found = part.place(first, column);
        });
        return found;
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        for_each_part(first_row, n_rows, [&](const TensorRows& part, uint64_t first, uint64_t n, uint64_t) {
            part.append_extents(first, n, extents);
        });
    }
    bool holds(TensorType type) const override {
        return std::ranges::all_of(parts_, [&](const RowsPtr& part) { return part->holds(type); });
    }
    void copy_blocks(TensorType type, uint64_t first_row, uint64_t n_rows, uint64_t first_column,
                     uint64_t n_columns, std::byte* blocks) const override {
        const uint64_t size_bytes = row_bytes(type, n_columns);
        for_each_part(first_row, n_rows,
                      [&](const TensorRows& part, uint64_t first, uint64_t n, uint64_t at) {
                          part.copy_blocks(type, first, n, first_column, n_columns, blocks + at * size_bytes);
                      });
    }

  private:
    template <typename Action>  // (part, its first row, rows, first row relative to first_row)
    void for_each_part(uint64_t first_row, uint64_t n_rows, const Action& action) const {
        size_t part = size_t(std::ranges::upper_bound(ends_, first_row) - ends_.begin());
        for (uint64_t at = 0; at < n_rows; ++part) {
            const uint64_t begin = part == 0 ? 0 : ends_[part - 1];
            const uint64_t n = std::min(n_rows - at, ends_[part] - (first_row + at));
            action(*parts_[part], first_row + at - begin, n, at);
            at += n;
        }
    }

    const std::vector<RowsPtr> parts_;
    std::vector<uint64_t> ends_;  // by part: rows up to its end
};

class TransposedRows final : public TensorRows {
  public:
    TransposedRows(RowsPtr rows, std::vector<uint64_t> shape)
        : TensorRows(rows->name(), rows->encoding(), std::move(shape)), rows_(std::move(rows)) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        read_columns(first_row, n_rows, 0, row_elements(), values);
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        const uint64_t height = rows_->row_elements();  // rows of one transposed matrix
        std::vector<float> columns;
        for (uint64_t at = 0; at < n_rows;) {
            const uint64_t matrix = (first_row + at) / height, row = (first_row + at) % height;
            const uint64_t n = std::min(n_rows - at, height - row);
            columns.resize(n_columns * n);
            rows_->read_columns(matrix * row_elements() + first_column, n_columns, row, n, columns.data());
            for (uint64_t j = 0; j < n_columns; ++j) {
                for (uint64_t i = 0; i < n; ++i) values[(at + i) * n_columns + j] = columns[j * n + i];
            }
            at += n;
        }
    }
    Place place(uint64_t row, uint64_t column) const override {
        const uint64_t height = rows_->row_elements();
        return rows_->place(row / height * row_elements() + column, row % height);
    }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        // Every row needs its matrix from end to end; it is named with the last.
        const uint64_t height = rows_->row_elements();
        if (height == 0) return;
        const uint64_t first = first_row / height, last = (first_row + n_rows) / height;
        rows_->append_extents(first * row_elements(), (last - first) * row_elements(), extents);
    }
    const RowsPtr& source() const { return rows_; }

  private:
    const RowsPtr rows_;
};

class MappedValues final : public TensorRows {
  public:
    MappedValues(RowsPtr rows, std::function<void(std::span<float>)> function)
        : TensorRows(rows->name(), rows->encoding(), rows->shape()),
          rows_(std::move(rows)),
          function_(std::move(function)) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        rows_->read(first_row, n_rows, values);
        function_({values, n_rows * row_elements()});
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        rows_->read_columns(first_row, n_rows, first_column, n_columns, values);
        function_({values, n_rows * n_columns});
    }
    Place place(uint64_t row, uint64_t column) const override { return rows_->place(row, column); }
    void append_extents(uint64_t first_row, uint64_t n_rows, std::vector<Extent>& extents) const override {
        rows_->append_extents(first_row, n_rows, extents);
    }

  private:
    const RowsPtr rows_;
    const std::function<void(std::span<float>)> function_;
};

bool is_vector(const TensorRows& rows) {
    return rows.shape().size() <= 1;
}

}  // namespace

RowsPtr select_rows(RowsPtr rows, uint64_t n_rows, std::function<uint64_t(uint64_t)> source_row) {
    if (!is_vector(*rows))
        return std::make_shared<SelectedRows>(std::move(rows), n_rows, std::move(source_row));
    const uint64_t n_elements = rows->n_elements();
    RowsPtr column = reshape(std::move(rows), {1, n_elements});
    return reshape(select_rows(std::move(column), n_rows, std::move(source_row)), {n_rows});
}

RowsPtr slice_rows(RowsPtr rows, uint64_t first, uint64_t n) {
    const uint64_t available = is_vector(*rows) ? rows->n_elements() : rows->n_rows();
    if (first > available || n > available - first) {
        fail("tensor \"{}\" has {} rows; rows {} to {} were expected in it", rows->name(), available, first,
             first + n);
    }
    return select_rows(std::move(rows), n, [first](uint64_t row) { return first + row; });
}

RowsPtr interleave_heads(RowsPtr rows, uint64_t n_heads) {
    const uint64_t n_rows = is_vector(*rows) ? rows->n_elements() : rows->n_rows();
    if (n_heads == 0 || n_rows % (2 * n_heads) != 0) {
        fail("tensor \"{}\" has {} rows, which are no {} heads of an even number of rows", rows->name(),
             n_rows, n_heads);
    }
    const uint64_t head_rows = n_rows / n_heads;
    return select_rows(std::move(rows), n_rows,
                       [head_rows](uint64_t row) { return interleaved_source_row(row, head_rows); });
}

RowsPtr concatenate(std::string name, std::vector<RowsPtr> parts) {
    const bool vectors = is_vector(*parts.at(0));
    if (vectors) {
        for (RowsPtr& part : parts) part = reshape(part, {1, part->n_elements()});
    }
    uint64_t n_rows = 0;
    for (const RowsPtr& part : parts) {
        if (part->row_elements() != parts[0]->row_elements()) {
            fail("tensors \"{}\" and \"{}\" have rows of {} and {} elements; expected the same",
                 parts[0]->name(), part->name(), parts[0]->row_elements(), part->row_elements());
        }
        n_rows += part->n_rows();
    }
    const uint64_t row_elements = parts[0]->row_elements();
    RowsPtr whole = std::make_shared<ConcatenatedRows>(
        std::move(name), std::vector<uint64_t>{row_elements, n_rows}, std::move(parts));
    return vectors ? reshape(std::move(whole), {n_rows}) : whole;
}

RowsPtr stack(std::string name, std::vector<RowsPtr> parts) {
    std::vector<uint64_t> shape = parts.at(0)->shape();
    for (const RowsPtr& part : parts) {
        if (part->shape() == shape) continue;
        fail("tensors \"{}\" and \"{}\" have the shapes [{}] and [{}]; expected the same", parts[0]->name(),
             part->name(), fmt::join(shape, ", "), fmt::join(part->shape(), ", "));
    }
    shape.push_back(parts.size());
    return std::make_shared<ConcatenatedRows>(std::move(name), std::move(shape), std::move(parts));
}

RowsPtr transpose(RowsPtr rows) {
    std::vector<uint64_t> shape = rows->shape();
    if (shape.size() < 2) fail("tensor \"{}\" is no matrix", rows->name());
    if (const auto* transposed = dynamic_cast<const TransposedRows*>(rows.get())) return transposed->source();
    std::swap(shape[0], shape[1]);
    return std::make_shared<TransposedRows>(std::move(rows), std::move(shape));
}

RowsPtr reshape(RowsPtr rows, std::vector<uint64_t> shape) {
    if (rows->shape() == shape) return rows;
    auto reshaped = std::make_shared<ReshapedRows>(rows, std::move(shape));
    if (reshaped->n_elements() != rows->n_elements()) {
        fail("tensor \"{}\" has the shape [{}]; expected {} elements", rows->name(),
             fmt::join(rows->shape(), ", "), reshaped->n_elements());
    }
    return reshaped;
}

RowsPtr map_values(RowsPtr rows, std::function<void(std::span<float>)> function) {
    return std::make_shared<MappedValues>(std::move(rows), std::move(function));
}

}  // namespace ingot::converters
