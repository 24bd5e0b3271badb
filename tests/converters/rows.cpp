// Views over a checkpoint's rows: each against the same thing done to the whole array at once.
#include <cmath>
#include <numeric>

#include "converters/rows/transforms.h"
#include "tests/catch.h"

using namespace ingot::converters;

namespace {

std::vector<float> counted(uint64_t n, float from = 0) {
    std::vector<float> values(n);
    std::iota(values.begin(), values.end(), from);
    return values;
}

RowsPtr counted_rows(std::vector<uint64_t> shape, float from = 0) {
    uint64_t n = 1;
    for (const uint64_t dimension : shape) n *= dimension;
    return computed_rows("counted", std::move(shape), counted(n, from));
}

/// read() and read_columns() over every split of the rows give `expected`; so does each element's place.
void check_reads(const TensorRows& rows, const std::vector<float>& expected) {
    REQUIRE(rows.n_elements() == expected.size());
    const uint64_t width = rows.row_elements();
    for (uint64_t first = 0; first < rows.n_rows(); ++first) {
        for (uint64_t n = 1; first + n <= rows.n_rows(); ++n) {
            std::vector<float> values(n * width);
            rows.read(first, n, values.data());
            REQUIRE(std::equal(values.begin(), values.end(), expected.begin() + long(first * width)));
            for (uint64_t column = 0; column < width; column += 2) {
                const uint64_t n_columns = std::min<uint64_t>(3, width - column);
                std::vector<float> some(n * n_columns);
                rows.read_columns(first, n, column, n_columns, some.data());
                for (uint64_t i = 0; i < n; ++i) {
                    for (uint64_t j = 0; j < n_columns; ++j) {
                        REQUIRE(some[i * n_columns + j] == expected[(first + i) * width + column + j]);
                    }
                }
            }
        }
    }
}

}  // namespace

TEST_CASE("Slices of rows are the rows; of a vector, its elements") {
    check_reads(*slice_rows(counted_rows({5, 7}), 2, 3), counted(15, 10));
    check_reads(*slice_rows(counted_rows({7}), 2, 3), counted(3, 2));
    CHECK_THROWS_WITH(slice_rows(counted_rows({5, 7}), 5, 3), ContainsSubstring("has 7 rows; rows 5 to 8"));
    CHECK_THROWS_WITH(slice_rows(counted_rows({5, 7}), UINT64_MAX, 3), ContainsSubstring("has 7 rows"));
}

TEST_CASE("Interleaved heads have the halves of a head side by side, biases too") {
    // (heads, 2, 3) -> (heads, 3, 2), rows of 2
    std::vector<float> expected, bias;
    for (uint64_t head = 0; head < 2; ++head) {
        for (const uint64_t row : {0u, 3u, 1u, 4u, 2u, 5u}) {
            const float source = float(head * 6 + row);
            bias.push_back(source);
            expected.insert(expected.end(), {2 * source, 2 * source + 1});
        }
    }
    check_reads(*interleave_heads(counted_rows({2, 12}), 2), expected);
    check_reads(*interleave_heads(counted_rows({12}), 2), bias);
    CHECK(interleave_heads(counted_rows({2, 12}), 2)->place(7, 1).row == 9);
    CHECK_THROWS_WITH(interleave_heads(counted_rows({2, 12}), 4), ContainsSubstring("no 4 heads"));
}

TEST_CASE("Parts are concatenated below each other and stacked behind each other") {
    check_reads(*concatenate("both", {counted_rows({3, 2}), counted_rows({3, 4}, 6)}), counted(18));
    const RowsPtr vector = concatenate("both", {counted_rows({3}), counted_rows({4}, 3)});
    CHECK(vector->shape() == std::vector<uint64_t>{7});
    check_reads(*vector, counted(7));
    const RowsPtr experts =
        stack("experts", {counted_rows({3, 2}), counted_rows({3, 2}, 6), counted_rows({3, 2}, 12)});
    CHECK(experts->shape() == std::vector<uint64_t>{3, 2, 3});
    check_reads(*experts, counted(18));
    CHECK_THROWS_WITH(stack("experts", {counted_rows({3, 2}), counted_rows({2, 3})}),
                      ContainsSubstring("[3, 2] and [2, 3]"));
    CHECK_THROWS_WITH(concatenate("both", {counted_rows({3, 2}), counted_rows({2, 3})}),
                      ContainsSubstring("rows of 3 and 2 elements"));
}

TEST_CASE("A transposed matrix has its columns as rows, in each matrix of a stack") {
    // Two matrices of 4 rows of 3.
    std::vector<float> expected;
    for (uint64_t matrix = 0; matrix < 2; ++matrix) {
        for (uint64_t row = 0; row < 3; ++row) {
            for (uint64_t column = 0; column < 4; ++column)
                expected.push_back(float(matrix * 12 + column * 3 + row));
        }
    }
    const RowsPtr transposed = transpose(counted_rows({3, 4, 2}));
    CHECK(transposed->shape() == std::vector<uint64_t>{4, 3, 2});
    check_reads(*transposed, expected);
    CHECK(transposed->place(4, 2).row == 6);
    CHECK(transposed->place(4, 2).column == 1);
}

TEST_CASE("Another shape has the same elements in the same order") {
    check_reads(*reshape(counted_rows({6, 4}), {4, 6}), counted(24));
    check_reads(*reshape(counted_rows({24}), {4, 3, 2}), counted(24));
    CHECK(reshape(counted_rows({6, 4}), {4, 6})->place(3, 1).row == 2);
    CHECK_THROWS_WITH(reshape(counted_rows({6, 4}), {5, 5}), ContainsSubstring("expected 25 elements"));
}

TEST_CASE("Values are changed when they are read") {
    const auto plus_one = [](std::span<float> values) {
        for (float& value : values) value += 1;
    };
    check_reads(*map_values(counted_rows({5, 3}), plus_one), counted(15, 1));
}

TEST_CASE("Blocks are copied through views that keep rows whole, and only then") {
    std::vector<std::byte> bytes(4 * 34);  // 4 rows of one Q8_0 block
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i % 50);
    SourceTensor tensor;
    tensor.name = "blocks";
    tensor.type = ingot::TensorType::Q8_0;
    tensor.shape = {32, 4};
    tensor.data = bytes;
    const RowsPtr rows = plain_rows(tensor);
    // The rows of `bytes` that two rows of `view` consist of.
    const auto blocks = [&](const RowsPtr& view, uint64_t first_row) {
        REQUIRE(view->holds(ingot::TensorType::Q8_0));
        std::vector<std::byte> copied(2 * 34);
        view->copy_blocks(ingot::TensorType::Q8_0, first_row, 2, 0, 32, copied.data());
        std::vector<size_t> found;
        for (size_t i = 0; i < 2; ++i) {
            for (size_t row = 0; row < 4; ++row) {
                if (std::equal(bytes.begin() + long(row * 34), bytes.begin() + long(row * 34 + 34),
                               copied.begin() + long(i * 34))) {
                    found.push_back(row);
                }
            }
        }
        return found;
    };
    CHECK(blocks(rows, 1) == std::vector<size_t>{1, 2});
    CHECK(blocks(slice_rows(rows, 1, 3), 1) == std::vector<size_t>{2, 3});
    CHECK(blocks(interleave_heads(rows, 1), 0) == std::vector<size_t>{0, 2});
    CHECK(blocks(stack("all", {rows, rows}), 3) == std::vector<size_t>{3, 0});
    CHECK(blocks(transpose(transpose(rows)), 2) == std::vector<size_t>{2, 3});
    CHECK_FALSE(rows->holds(ingot::TensorType::Q4_0));
    CHECK_FALSE(transpose(rows)->holds(ingot::TensorType::Q8_0));
    CHECK_FALSE(reshape(rows, {64, 2})->holds(ingot::TensorType::Q8_0));
    CHECK_THROWS_WITH(counted_rows({32, 4})->copy_blocks(ingot::TensorType::Q8_0, 0, 1, 0, 32, bytes.data()),
                      ContainsSubstring("not in blocks of Q8_0"));
}
