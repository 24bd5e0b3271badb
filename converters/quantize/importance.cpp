#include "converters/quantize/importance.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "format/checksum.h"
#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::converters {
namespace {

constexpr const char* kSubject = "--imatrix";

/// "a, b, c and 14 more"
std::string list_of(const std::vector<std::string>& names) {
    constexpr size_t kShown = 12;
    const size_t n = std::min(names.size(), kShown);
    std::string text = fmt::format("{}", fmt::join(names.begin(), names.begin() + long(n), ", "));
    if (names.size() > n) text += fmt::format(" and {} more", names.size() - n);
    return text;
}

/// Matrices of a tensor behind each other (experts), and the rows of each.
struct Matrices {
    uint64_t n = 1, n_columns = 1;
    explicit Matrices(const TensorPlan& tensor) : n_columns(tensor.shape.empty() ? 1 : tensor.shape[0]) {
        for (size_t i = 2; i < tensor.shape.size(); ++i) n *= tensor.shape[i];
    }
};

/// Tables of vectors that are looked up, and the output.
bool may_lack_importance(std::string_view tensor) {
    return tensor.find("_embd.") != tensor.npos || tensor == "token_types.weight" ||
           tensor == "output.weight";
}

/// What an entry does not fit, as a sentence.
std::string misfit(const TensorPlan& tensor, const ImportanceEntry& entry) {
    const Matrices matrices(tensor);
    return fmt::format("{}: {} sums and {}; its {} of {} need {}", tensor.name, entry.sums.size(),
                       entry.counts.size() == 1 ? "1 count" : fmt::format("{} counts", entry.counts.size()),
                       matrices.n == 1 ? "rows" : fmt::format("{} matrices with rows", matrices.n),
                       matrices.n_columns, matrices.n_columns * matrices.n);
}

void write_metadata(ConversionPlan& plan, size_t n_entries) {
    const ImportanceMatrix& matrix = *plan.importance;
    std::vector<std::string> names, checksums;
    for (const std::string& file : plan.request.importance_files) {
        names.push_back(std::filesystem::path(file).filename().string());
        checksums.push_back(xxh3_128_hex(MappedFile(std::filesystem::path(file)).bytes()));
    }
    // These are the keys of llama.cpp's quantizer.
    plan.set_metadata("quantize.imatrix.file", fmt::format("{}", fmt::join(names, ", ")));
    if (!matrix.datasets.empty())
        plan.set_metadata("quantize.imatrix.dataset", fmt::format("{}", fmt::join(matrix.datasets, ", ")));
    plan.set_metadata("quantize.imatrix.entries_count", uint32_t(n_entries));
    if (matrix.n_chunks > 0)
        plan.set_metadata("quantize.imatrix.chunks_count",
                          uint32_t(std::min<uint64_t>(matrix.n_chunks, UINT32_MAX)));
    plan.set_metadata(std::string(keys::kImportanceChecksums), MetadataArray{std::move(checksums)});
}

}  // namespace

void read_importance(ConversionPlan& plan) {
    if (plan.request.importance_files.empty()) return;
    plan.findings.attempt(kSubject, [&] {
        auto sum = std::make_shared<ImportanceMatrix>();
        for (const std::string& file : plan.request.importance_files) {
            const ImportanceMatrix matrix = ImportanceMatrix::read(file);
            try {
                sum->add(matrix);
            } catch (const Error& error) {
                fail("{}: {}", file, error.what());
            }
        }
        plan.importance = std::move(sum);
    });
}

void assign_importance(ConversionPlan& plan) {
    if (!plan.importance || plan.files.empty()) return;
    std::vector<std::string> missing, misfits, partial;
    size_t n_assigned = 0, n_quantized = 0;
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        const TensorPlan& tensor = plan.target(i);
        TensorSource& source = plan.tensors[i];
        const ImportanceEntry* entry = plan.importance->find(tensor.name);
        const Matrices matrices(tensor);
        if (entry && entry->fits(matrices.n_columns, matrices.n)) source.importance = entry;
        if (!info(tensor.type).quantized || source.rows->holds(tensor.type)) continue;
        ++n_quantized;
        if (!entry) {
            if (!may_lack_importance(tensor.name)) missing.push_back(tensor.name);
        } else if (!source.importance) {
            misfits.push_back(misfit(tensor, *entry));
        } else {
            ++n_assigned;
            const auto n_unseen = std::ranges::count(entry->counts, uint64_t(0));
            if (n_unseen > 0)
                partial.push_back(fmt::format("{} ({} of {})", tensor.name, n_unseen, entry->counts.size()));
        }
    }
    if (n_quantized == 0) {
        plan.findings.warn(kSubject, "no tensor is quantized, so importance is of no use");
    } else if (n_assigned == 0 && misfits.empty()) {
        plan.findings.problem(
            kSubject,
            fmt::format("none of its {} entries ({} …) is of a tensor that is quantized here",
                        plan.importance->entries().size(), plan.importance->entries().begin()->first),
            "measure one for this model: ingot imatrix");
    } else if (!missing.empty()) {
        plan.findings.warn(
            kSubject, fmt::format("has no importance for {}; their columns count alike", list_of(missing)));
    }
    if (!misfits.empty())
        plan.findings.problem(kSubject, list_of(misfits), "measure one for this model: ingot imatrix");
    if (!partial.empty())
        plan.findings.warn(
            kSubject, fmt::format("no token came to some experts, whose columns count alike: {}; measure "
                                  "it with more text, or add another matrix",
                                  list_of(partial)));
    if (n_assigned > 0) write_metadata(plan, n_assigned);
}

std::span<const float> importance_of_row(const ConversionPlan& plan, size_t tensor, uint64_t row) {
    const ImportanceEntry* entry = plan.tensors[tensor].importance;
    if (!entry) return {};
    const std::vector<uint64_t>& shape = plan.target(tensor).shape;
    return entry->columns(shape.size() > 2 ? row / shape[1] : 0, shape[0]);
}

}  // namespace ingot::converters
