#include "converters/tiles.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace ingot::converters {

void Tile::read(const TensorRows& rows, float* values) const {
    if (n_columns == rows.row_elements()) {
        rows.read(first_row, n_rows, values);
    } else {
        rows.read_columns(first_row, n_rows, first_column, n_columns, values);
    }
}

bool TileCursor::next(Tile& tile) {
    while (tensor_ < tensors_.size() && element_ == tensors_[tensor_]->n_elements()) {
        ++tensor_;
        element_ = 0;
    }
    if (tensor_ == tensors_.size()) return false;
    const TensorRows& rows = *tensors_[tensor_];
    const uint64_t row_elements = rows.row_elements();
    tile.tensor = tensor_;
    tile.first_row = element_ / row_elements;
    tile.first_column = element_ % row_elements;
    tile.n_rows = 1;
    tile.n_columns = std::min(kTileElements, row_elements - tile.first_column);
    if (row_elements <= kTileElements) {
        tile.n_rows = std::min(kTileElements / row_elements, rows.n_rows() - tile.first_row);
    }
    element_ += tile.n_elements();
    tile.is_last = element_ == rows.n_elements();
    tile.extents.clear();
    if (tile.first_column + tile.n_columns == row_elements) {
        rows.append_extents(tile.first_row, tile.n_rows, tile.extents);
    }
    for (const Extent& extent : tile.extents) extent.will_need();
    return true;
}

std::vector<size_t> reading_order(const std::vector<const TensorRows*>& tensors) {
    // Files in the order in which they first come up; within a file, by address: it is mapped as one piece.
    using Place = std::tuple<size_t, const std::byte*>;
    std::vector<const MappedFile*> files;
    std::vector<Place> places;
    std::vector<Extent> extents;
    for (const TensorRows* rows : tensors) {
        extents.clear();
        rows->append_extents(0, rows->n_rows(), extents);
        Place first{0, nullptr};  // computed values come before all that is read
        if (!extents.empty()) {
            const MappedFile* file = extents[0].tensor->file;
            auto at = std::ranges::find(files, file);
            if (at == files.end()) at = files.insert(at, file);
            const auto number = size_t(at - files.begin());
            first = {number, extents[0].tensor->data.data() + extents[0].offset};
        }
        places.push_back(first);
    }
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::ranges::stable_sort(order, {}, [&](size_t tensor) { return places[tensor]; });
    return order;
}

}  // namespace ingot::converters
