// One tensor of a file: statistics, histogram, first values.
#include <algorithm>
#include <cmath>

#include "cli/inspect_views.h"
#include "format/json_writer.h"
#include "inspect/statistics.h"
#include "inspect/value_text.h"

namespace ingot::cli {

namespace {

using inspect::escaped;
using inspect::Histogram;
using inspect::Statistics;

/// The number of the JSON form, raised when a member changes its meaning or goes away.
constexpr int kTensorVersion = 1;
constexpr size_t kShownBins = 17, kJsonBins = 64;
constexpr uint64_t kShownValues = 6, kShownRows = 3;

std::string number(double x) {
    return fmt::format("{:.6g}", x);
}

std::string histogram_text(const Histogram& histogram, const Painter& paint, size_t columns) {
    uint64_t largest = 1;
    for (const uint64_t count : histogram.bins) largest = std::max(largest, count);
    const size_t bar_columns = std::clamp<size_t>(columns > 50 ? columns - 50 : 0, 10, 60);
    Table table(
        {{"values from", Table::kRight}, {"", Table::kLeft, Tone::Accent}, {"", Table::kRight, Tone::Dim}});
    if (histogram.n_below > 0) table.add({"below", "", grouped(histogram.n_below)});
    for (size_t i = 0; i < histogram.bins.size(); ++i) {
        const uint64_t count = histogram.bins[i];
        table.add({number(histogram.low + double(i) * histogram.width),
                   pad_right(bar(double(count) / double(largest), bar_columns), bar_columns),
                   grouped(count)});
        if (histogram.width == 0) break;  // all values are one
    }
    if (histogram.n_above > 0) table.add({"above", "", grouped(histogram.n_above)});
    return table.text(paint);
}

std::string values_text(const GgufModel& model, const TensorInfo& tensor, const Painter& paint) {
    std::vector<Table::Column> columns = {{"", Table::kRight, Tone::Dim}};
    for (uint64_t i = 0; i <= kShownValues; ++i) columns.push_back({"", Table::kRight});
    Table table(columns);
    const uint64_t n_values = std::min(tensor.row_elements(), kShownValues);
    for (uint64_t row = 0; row < std::min(tensor.n_rows(), kShownRows); ++row) {
        std::vector<std::string> cells = {fmt::format("row {}", row)};
        for (const float value : inspect::values(model, tensor, row * tensor.row_elements(), n_values))
            cells.push_back(fmt::format("{:.5g}", value));
        if (n_values < tensor.row_elements()) cells.push_back("…");
        table.add(cells);
    }
    return table.text(paint);
}

}  // namespace

const TensorInfo& require_tensor(const GgufModel& model, const std::string& name) {
    if (const TensorInfo* tensor = model.header().find_tensor(name)) return *tensor;
    std::vector<std::string_view> names;
    for (const TensorInfo& tensor : model.header().tensors()) names.push_back(tensor.name);
    std::vector<std::string> nearest;
    for (const std::string& near : nearest_names(name, names)) nearest.push_back(escaped(near));
    fail("{}: has no tensor {}{}{}", model.path().string(), printable(name),
         nearest.empty() ? "" : "; the nearest names are ", fmt::join(nearest, ", "));
}

std::string tensor_view(const GgufModel& model, const TensorInfo& tensor, int n_threads, const Painter& paint,
                        size_t columns) {
    const Statistics statistics = inspect::statistics(model, tensor, n_threads);
    const double n = double(std::max<uint64_t>(statistics.n_finite(), 1));
    std::string text =
        paint(Tone::Heading, escaped(tensor.name)) +
        fmt::format(" · {} · {} · {} elements · {} at byte {} of {}\n\n",
                    paint(tone_of(tensor.type), name(tensor.type)), shape_text(tensor),
                    grouped(tensor.n_elements), human_bytes(tensor.size_bytes), grouped(tensor.offset),
                    escaped(model.file_of(tensor).path().filename().string()));
    Table facts({{"", Table::kLeft, Tone::Key}, {""}});
    facts.add({"least, largest", fmt::format("{}, {}", number(statistics.min), number(statistics.max))});
    facts.add({"mean", number(statistics.mean)});
    facts.add({"standard deviation", number(statistics.deviation)});
    facts.add({"root mean square", number(statistics.root_mean_square)});
    facts.add({"mean magnitude", number(statistics.mean_magnitude)});
    facts.add({"zeros", fmt::format("{} ({:.2f} %)", grouped(statistics.n_zero),
                                    100 * double(statistics.n_zero) / n)});
    if (const uint64_t n_odd = statistics.n_nan + statistics.n_infinite; n_odd > 0) {
        facts.add({"not finite", fmt::format("{} NaN, {} infinite; left out of the rest",
                                             grouped(statistics.n_nan), grouped(statistics.n_infinite))});
        facts.tint(1, Tone::Bad);
    }
    text += facts.text(paint);
    if (tensor.n_elements == 0) return text;
    text += "\n" + histogram_text(inspect::histogram(model, tensor, statistics, kShownBins, n_threads), paint,
                                  columns);
    return text + "\n" + values_text(model, tensor, paint);
}

std::string tensor_json(const GgufModel& model, const TensorInfo& tensor, int n_threads) {
    const Statistics statistics = inspect::statistics(model, tensor, n_threads);
    const Histogram histogram = inspect::histogram(model, tensor, statistics, kJsonBins, n_threads);
    JsonWriter json;
    json.begin_object().member("ingot_tensor", kTensorVersion);
    json.member("file", model.file_of(tensor).path().string()).member("name", tensor.name);
    json.member("type", name(tensor.type)).key("shape").begin_array(JsonWriter::kOneLine);
    for (uint32_t i = 0; i < tensor.n_dims; ++i) json.value(tensor.shape[i]);
    json.end_array().member("elements", tensor.n_elements).member("offset", tensor.offset);
    json.member("size_bytes", tensor.size_bytes);
    json.member("nan", statistics.n_nan).member("infinite", statistics.n_infinite);
    json.member("zeros", statistics.n_zero).member("min", statistics.min).member("max", statistics.max);
    json.member("mean", statistics.mean).member("standard_deviation", statistics.deviation);
    json.member("root_mean_square", statistics.root_mean_square);
    json.member("mean_magnitude", statistics.mean_magnitude);
    json.key("histogram").begin_object(JsonWriter::kOneLine).member("low", histogram.low);
    json.member("width", histogram.width).member("below", histogram.n_below);
    json.member("above", histogram.n_above).key("counts").begin_array();
    for (const uint64_t count : histogram.bins) json.value(count);
    json.end_array().end_object().key("first_values").begin_array(JsonWriter::kOneLine);
    for (const float value : inspect::values(model, tensor, 0, std::min<uint64_t>(tensor.n_elements, 16)))
        json.value(value);
    return json.end_array().end_object().text() + "\n";
}

}  // namespace ingot::cli
