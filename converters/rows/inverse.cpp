#include "converters/rows/inverse.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "converters/rows/transforms.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

constexpr uint64_t kMostExact = uint64_t(1) << 24;  // whole numbers up to here are exact as float

/// Elements that say where they are.
class Probe final : public TensorRows {
  public:
    enum class Kind { Row, Column, Element, Constant };
    Probe(Kind kind, std::vector<uint64_t> shape, float constant = 0)
        : TensorRows("probe", "probe", std::move(shape)), kind_(kind), constant_(constant) {}

    void read(uint64_t first_row, uint64_t n_rows, float* values) const override {
        read_columns(first_row, n_rows, 0, row_elements(), values);
    }
    void read_columns(uint64_t first_row, uint64_t n_rows, uint64_t first_column, uint64_t n_columns,
                      float* values) const override {
        for (uint64_t row = first_row; row < first_row + n_rows; ++row) {
            for (uint64_t column = first_column; column < first_column + n_columns; ++column) {
                *values++ = value(row, column);
            }
        }
    }
    void append_extents(uint64_t, uint64_t, std::vector<Extent>&) const override {}

  private:
    float value(uint64_t row, uint64_t column) const {
        switch (kind_) {
            case Kind::Row:
                return float(row);
            case Kind::Column:
                return float(column);
            case Kind::Element:
                return float(row * row_elements() + column);
            case Kind::Constant:
                return constant_;
        }
        return 0;
    }
    const Kind kind_;
    const float constant_;
};

/// What the steps do to values.
struct ValueMap {
    enum class Kind { Affine, MinusExponential };
    Kind kind = Kind::Affine;
    double factor = 1, addend = 0;

    bool is_identity() const { return kind == Kind::Affine && factor == 1 && addend == 0; }
    double inverse(double value) const {
        return kind == Kind::Affine ? (value - addend) / factor : std::log(-value);
    }
};

float element(const TensorRows& rows, uint64_t row, uint64_t column) {
    float value = 0;
    rows.read_columns(row, 1, column, 1, &value);
    return value;
}

ValueMap value_map_of(const Derived& derived, const std::vector<uint64_t>& shape) {
    double at[3];
    for (int x = 0; x < 3; ++x) {
        const RowsPtr made = derived.steps(std::make_shared<Probe>(Probe::Kind::Constant, shape, float(x)));
        at[x] = made->n_elements() ? element(*made, 0, 0) : x;
    }
    if (at[1] != at[0] && at[2] - at[1] == at[1] - at[0])
        return {ValueMap::Kind::Affine, at[1] - at[0], at[0]};
    if (at[0] == -1 && std::fabs(at[1] + std::exp(1.0)) < 1e-6 && std::fabs(at[2] + std::exp(2.0)) < 1e-5)
        return {ValueMap::Kind::MinusExponential, 1, 0};
    fail("values are changed in a way that has no inverse here (0, 1 and 2 become {}, {} and {})", at[0],
         at[1], at[2]);
}

/// Where the elements of one derived tensor come from.
class Positions {
  public:
    Positions(const Derived& derived, const std::vector<uint64_t>& shape)
        : map_(value_map_of(derived, shape)),
          row_(derived.steps(std::make_shared<Probe>(Probe::Kind::Row, shape))),
          column_(derived.steps(std::make_shared<Probe>(Probe::Kind::Column, shape))),
          element_(derived.steps(std::make_shared<Probe>(Probe::Kind::Element, shape))) {
        if (row_->shape() != derived.rows->shape()) {
            fail("a source of shape [{}] becomes [{}], but the file has [{}]",
                 fmt::join(shape.rbegin(), shape.rend(), ", "),
                 fmt::join(row_->shape().rbegin(), row_->shape().rend(), ", "),
                 fmt::join(derived.rows->shape().rbegin(), derived.rows->shape().rend(), ", "));
        }
        if (!map_.is_identity()) {
            values_ = map_values(derived.rows, [map = map_](std::span<float> values) {
                for (float& value : values) value = float(map.inverse(value));
            });
        } else {
            values_ = derived.rows;
        }
    }

    uint64_t n_rows() const { return row_->n_rows(); }
    uint64_t row_elements() const { return row_->row_elements(); }
    const RowsPtr& values() const { return values_; }  // of the source

    /// The source's row and column of one element.
    uint64_t source_row(uint64_t row, uint64_t column) const { return position(*row_, row, column); }
    uint64_t source_column(uint64_t row, uint64_t column) const { return position(*column_, row, column); }
    std::vector<uint64_t> source_elements() const {
        std::vector<uint64_t> positions;
        for (const float value : read_all(*element_)) positions.push_back(whole(value));
        return positions;
    }

    /// Whole rows of the source, moved.
    bool moves_rows(uint64_t source_row_elements) const {
        const uint64_t last = row_elements() - 1;
        if (row_elements() != source_row_elements) return false;
        return every_row([&](uint64_t row) {
                   return source_column(row, 0) == 0 && source_column(row, last) == last &&
                          source_row(row, 0) == source_row(row, last);
               }) &&
               some_rows([&](uint64_t row, uint64_t column) {
                   return source_column(row, column) == column &&
                          source_row(row, column) == source_row(row, 0);
               });
    }
    /// Columns of the source's matrices, from top to bottom, as rows.
    bool transposes() const {
        const uint64_t last = row_elements() - 1;
        return every_row([&](uint64_t row) {
                   return source_column(row, 0) == source_column(row, last) &&
                          source_row(row, 0) % row_elements() == 0 &&
                          source_row(row, last) == source_row(row, 0) + last;
               }) &&
               some_rows([&](uint64_t row, uint64_t column) {
                   return source_column(row, column) == source_column(row, 0) &&
                          source_row(row, column) == source_row(row, 0) + column;
               });
    }

  private:
    uint64_t whole(float value) const { return uint64_t(std::max(0.0, std::round(map_.inverse(value)))); }
    uint64_t position(const TensorRows& rows, uint64_t row, uint64_t column) const {
        return whole(element(rows, row, column));
    }
    template <typename Condition>
    bool every_row(const Condition& holds) const {
        for (uint64_t row = 0; row < n_rows(); ++row) {
            if (!holds(row)) return false;
        }
        return true;
    }
    template <typename Condition>
    bool some_rows(const Condition& holds) const {
        for (const uint64_t row : {uint64_t(0), n_rows() / 3, n_rows() / 2, n_rows() - 1}) {
            for (uint64_t column = 0; column < row_elements(); ++column) {
                if (!holds(row, column)) return false;
            }
        }
        return true;
    }

    ValueMap map_;
    RowsPtr row_, column_, element_, values_;
};

constexpr uint64_t kNowhere = UINT64_MAX;

/// The derived tensors one below the other; row i of the result is row at[i] of them.
RowsPtr gather(const std::string& name, const std::vector<Positions>& all, std::vector<uint64_t> at) {
    if (std::ranges::find(at, kNowhere) != at.end()) fail("some of its rows are not in the file");
    std::vector<RowsPtr> parts;
    for (const Positions& positions : all) {
        parts.push_back(reshape(positions.values(), {positions.row_elements(), positions.n_rows()}));
    }
    const uint64_t n_rows = at.size();
    return select_rows(concatenate(name, std::move(parts)), n_rows,
                       [at = std::move(at)](uint64_t row) { return at[row]; });
}

RowsPtr invert_rows(const std::string& name, uint64_t n_source_rows, const std::vector<Positions>& all) {
    std::vector<uint64_t> at(n_source_rows, kNowhere);
    uint64_t offset = 0;
    for (const Positions& positions : all) {
        for (uint64_t row = 0; row < positions.n_rows(); ++row) {
            const uint64_t source = positions.source_row(row, 0);
            if (source < n_source_rows) at[source] = offset + row;
        }
        offset += positions.n_rows();
    }
    return gather(name, all, std::move(at));
}

/// Of matrices (height rows, width columns).
RowsPtr invert_columns(const std::string& name, uint64_t width, uint64_t n_source_rows,
                       const std::vector<Positions>& all) {
    const uint64_t height = all[0].row_elements(), n_matrices = n_source_rows / height;
    std::vector<uint64_t> at(width * n_matrices, kNowhere);
    uint64_t offset = 0;
    for (const Positions& positions : all) {
        if (positions.row_elements() != height) fail("its parts have columns of different heights");
        for (uint64_t row = 0; row < positions.n_rows(); ++row) {
            const uint64_t source =
                positions.source_row(row, 0) / height * width + positions.source_column(row, 0);
            if (source < at.size()) at[source] = offset + row;
        }
        offset += positions.n_rows();
    }
    return transpose(reshape(gather(name, all, std::move(at)), {height, width, n_matrices}));
}

RowsPtr invert_elements(const std::string& name, uint64_t n_elements, const std::vector<Positions>& all) {
    if (n_elements > kMostExact) fail("its elements are in an order that is only undone in small tensors");
    std::vector<float> values(n_elements, NAN);
    for (const Positions& positions : all) {
        const std::vector<uint64_t> at = positions.source_elements();
        const std::vector<float> written = read_all(*positions.values());
        for (size_t i = 0; i < at.size(); ++i) {
            if (at[i] < n_elements) values[at[i]] = written[i];
        }
    }
    if (std::ranges::any_of(values, [](float value) { return std::isnan(value); }))
        fail("some of its elements are not in the file");
    return computed_rows(name, {n_elements}, std::move(values));
}

}  // namespace

RowsPtr invert(const std::string& name, const std::vector<uint64_t>& shape,
               const std::vector<Derived>& derived) {
    const Probe source(Probe::Kind::Constant, shape);
    if (source.n_elements() == 0) return computed_rows(name, shape, {});
    const bool exact = source.n_rows() <= kMostExact && source.row_elements() <= kMostExact;
    std::vector<Positions> all, by_rows;
    for (const Derived& one : derived) {
        all.emplace_back(one, shape);
        if (!exact || shape.size() == 1) continue;
        if (all.back().moves_rows(source.row_elements())) {
            by_rows.push_back(all.back());
        } else if (one.rows->shape().size() > 1) {
            const Derived turned{transpose(one.rows),
                                 [&](RowsPtr rows) { return transpose(one.steps(rows)); }};
            Positions positions(turned, shape);
            if (positions.moves_rows(source.row_elements())) by_rows.push_back(std::move(positions));
        }
    }
    RowsPtr rows;
    if (by_rows.size() == derived.size()) {
        rows = invert_rows(name, source.n_rows(), by_rows);
    } else if (exact && shape.size() > 1 &&
               std::ranges::all_of(all, [](const Positions& one) { return one.transposes(); })) {
        rows = invert_columns(name, source.row_elements(), source.n_rows(), all);
    } else {
        rows = invert_elements(name, source.n_elements(), all);
    }
    return reshape(std::move(rows), shape);
}

}  // namespace ingot::converters
