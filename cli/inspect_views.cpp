#include "cli/inspect_views.h"

#include <algorithm>
#include <vector>

#include "inspect/value_text.h"

namespace ingot::cli {

using inspect::escaped;
using inspect::TypeShare;

std::string shape_text(const TensorInfo& tensor) {
    std::string text;
    for (uint32_t i = 0; i < tensor.n_dims; ++i)
        text += (i ? " × " : "") + fmt::format("{}", tensor.shape[i]);
    return tensor.n_dims == 0 ? "scalar" : text;
}

std::string types_view(std::span<const TypeShare> types, const Painter& paint, size_t columns) {
    const size_t bar_columns = std::clamp<size_t>(columns > 70 ? columns - 70 : 0, 10, 40);
    uint64_t tensor_bytes = 0;
    for (const TypeShare& share : types) tensor_bytes += share.size_bytes;
    Table table({{"type"},
                 {"", Table::kLeft, Tone::Accent},
                 {"share", Table::kRight},
                 {"bytes", Table::kRight},
                 {"tensors", Table::kRight},
                 {"bits each", Table::kRight}});
    for (const TypeShare& share : types) {
        const double part = tensor_bytes == 0 ? 0 : double(share.size_bytes) / double(tensor_bytes);
        table.add({std::string(name(share.type)), pad_right(bar(part, bar_columns), bar_columns),
                   fmt::format("{:.1f} %", 100 * part), human_bytes(share.size_bytes),
                   grouped(share.n_tensors), fmt::format("{:.4g}", info(share.type).bits_per_element())});
        table.tint(0, tone_of(share.type));
        table.tint(1, tone_of(share.type));
    }
    return table.text(paint);
}

std::string tensors_view(const GgufModel& model, std::span<const TensorInfo* const> tensors,
                         const Painter& paint, bool limit_columns) {
    const bool is_split = model.files().size() > 1;
    // What the other columns take at most; a name is cut only where it cannot fit.
    constexpr size_t kOtherColumns = 72, kLeastNameColumns = 24;
    const size_t terminal = terminal_columns(stdout);
    const size_t name_columns =
        limit_columns ? std::max(kLeastNameColumns, terminal - std::min(terminal, kOtherColumns))
                      : size_t(-1);
    std::vector<Table::Column> columns = {{"#", Table::kRight, Tone::Dim},
                                          {"tensor", Table::kLeft, Tone::Key},
                                          {"type"},
                                          {"shape", Table::kRight},
                                          {"bytes", Table::kRight},
                                          {"offset", Table::kRight, Tone::Dim}};
    if (is_split) columns.push_back({"shard", Table::kRight, Tone::Dim});
    Table table(columns);
    const TensorInfo* first = model.header().tensors().data();
    for (const TensorInfo* tensor : tensors) {
        std::vector<std::string> cells = {
            fmt::format("{}", tensor - first), cut_middle(escaped(tensor->name), name_columns),
            std::string(name(tensor->type)),   shape_text(*tensor),
            grouped(tensor->size_bytes),       grouped(tensor->offset)};
        if (is_split) cells.push_back(fmt::format("{}", tensor->shard + 1));
        table.add(cells);
        table.tint(2, tone_of(tensor->type));
    }
    return table.text(paint);
}

std::string blocks_view(std::span<const TensorInfo* const> tensors, const Painter& paint, size_t columns) {
    const std::vector<inspect::BlockShare> blocks = inspect::shares_by_block(tensors);
    uint64_t all_bytes = 0, largest = 0, n_elements = 0;
    for (const auto& block : blocks) {
        all_bytes += block.size_bytes;
        n_elements += block.n_elements;
        largest = std::max(largest, block.size_bytes);
    }
    const size_t bar_columns = std::clamp<size_t>(columns > 90 ? columns - 90 : 0, 8, 30);
    Table table({{"block", Table::kRight, Tone::Key},
                 {"tensors", Table::kRight},
                 {"parameters", Table::kRight},
                 {"bytes", Table::kRight},
                 {"share", Table::kRight},
                 {"", Table::kLeft, Tone::Accent},
                 {"bits each", Table::kRight},
                 {"types", Table::kLeft, Tone::Dim}});
    for (const auto& block : blocks) {
        std::vector<std::string> types;
        for (const TypeShare& share : block.types)
            types.push_back(fmt::format("{} {}", share.n_tensors, name(share.type)));
        const double part = all_bytes == 0 ? 0 : double(block.size_bytes) / double(all_bytes);
        const double length = largest == 0 ? 0 : double(block.size_bytes) / double(largest);
        const double bits =
            block.n_elements == 0 ? 0 : 8.0 * double(block.size_bytes) / double(block.n_elements);
        table.add({block.block ? fmt::format("{}", *block.block) : "none", grouped(block.n_tensors),
                   grouped(block.n_elements), human_bytes(block.size_bytes),
                   fmt::format("{:.1f} %", 100 * part), pad_right(bar(length, bar_columns), bar_columns),
                   fmt::format("{:.3f}", bits), fmt::format("{}", fmt::join(types, " + "))});
    }
    const double bits = n_elements == 0 ? 0 : 8.0 * double(all_bytes) / double(n_elements);
    table.add({"all", grouped(tensors.size()), grouped(n_elements), human_bytes(all_bytes), "", "",
               fmt::format("{:.3f}", bits)});
    table.tint(0, Tone::Heading);
    return table.text(paint);
}

std::string tokens_view(const GgufHeader& header, const std::optional<NamePattern>& match,
                        const Painter& paint) {
    const std::vector<inspect::TokenRow> tokens = inspect::tokens_of(header);
    if (tokens.empty()) return "  no vocabulary in this file\n";
    const bool has_scores =
        std::ranges::any_of(tokens, [](const auto& token) { return token.score.has_value(); });
    Table table({{"id", Table::kRight, Tone::Dim},
                 {"token", Table::kLeft, Tone::Key},
                 {has_scores ? "score" : "", Table::kRight},
                 {"kind", Table::kLeft, Tone::Dim}});
    constexpr size_t kMaxColumns = 60;
    for (const auto& token : tokens) {
        if (match && !match->matches(token.text)) continue;
        table.add({fmt::format("{}", token.id), escaped(token.text, kMaxColumns),
                   token.score ? fmt::format("{}", float(*token.score)) : "", std::string(token.kind)});
    }
    return table.text(paint);
}

}  // namespace ingot::cli
