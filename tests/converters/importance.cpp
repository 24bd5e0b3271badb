// --imatrix: which tensors get which weights, and what is said when they cannot.
#include "converters/quantize/importance.h"

#include "converters/convert.h"
#include "converters/quantize/quantize.h"
#include "format/gguf.h"
#include "format/ingot_keys.h"
#include "format/output_file.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

constexpr uint64_t kColumns = 64, kRows = 6, kExperts = 3;

std::vector<float> values_of(size_t n, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> values(n);
    for (float& value : values) value = (float(random() % 2001) - 1000) / 1024;
    return values;
}

/// Squares that differ between columns, as those of a run do.
ImportanceEntry entry_of(size_t n_columns, size_t n_matrices, uint32_t seed) {
    std::vector<float> sums = values_of(n_columns * n_matrices, seed);
    for (float& sum : sums) sum = sum * sum * 100;
    return {std::move(sums), std::vector<uint64_t>(n_matrices, 10)};
}

/// A file of F32 tensors: an embedding, a matrix and a tensor of experts.
struct Source {
    std::vector<std::string> names{"token_embd.weight", "blk.0.ffn_down.weight", "blk.0.ffn_up_exps.weight"};
    std::vector<std::vector<uint64_t>> shapes{{kColumns, 8}, {kColumns, kRows}, {kColumns, kRows, kExperts}};
    std::vector<std::vector<float>> values;

    void write(const std::string& path) {
        Metadata metadata;
        metadata.set("general.architecture", "llama");
        metadata.set("llama.block_count", uint32_t(1));
        std::vector<TensorPlan> tensors;
        for (size_t i = 0; i < names.size(); ++i) tensors.push_back({names[i], TensorType::F32, shapes[i]});
        const GgufLayout layout(metadata, tensors);
        OutputFile file(path, layout.file_size_bytes(), true);
        file.write_at(0, layout.encode_header());
        for (size_t i = 0; i < names.size(); ++i) {
            values.push_back(values_of(layout.tensors()[i].n_elements, uint32_t(i)));
            file.write_at(layout.tensors()[i].offset, std::as_bytes(std::span(values.back())));
        }
        file.commit();
    }
};

ConversionPlan plan_with(const std::string& source, const std::vector<std::string>& importance,
                         const char* type = "Q4_0") {
    ConvertRequest request;
    request.source = source;
    request.recipe = find_recipe(type);
    request.importance_files = importance;
    return plan_conversion(request);
}

std::string all_messages(const ConversionPlan& plan, Severity severity) {
    return fmt::format("{}", fmt::join(plan.findings.messages(severity), "\n"));
}

std::string bytes_of(const GgufFile& file, const char* tensor) {
    const auto bytes = file.tensor_bytes(*file.header().find_tensor(tensor));
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string quantized(std::span<const float> values, std::span<const float> importance) {
    std::string bytes(values.size() / kColumns * row_bytes(TensorType::Q4_0, kColumns), '\0');
    quantize_rows(TensorType::Q4_0, values, std::as_writable_bytes(std::span(bytes)), kColumns, importance);
    return bytes;
}

}  // namespace

TEST_CASE("each matrix is quantized with the importance of its own columns") {
    const TemporaryFolder folder;
    Source source;
    source.write(folder / "in.gguf");
    ImportanceMatrix matrix;
    matrix.datasets = {"peace.txt"};
    matrix.n_chunks = 4;
    matrix.chunk_size = 512;
    const ImportanceEntry down = entry_of(kColumns, 1, 7);
    ImportanceEntry experts = entry_of(kColumns, kExperts, 8);
    experts.counts[1] = 0;  // no token came to this one
    matrix.add("blk.0.ffn_down.weight", down);
    matrix.add("blk.0.ffn_up_exps.weight", experts);
    matrix.write(folder / "m.gguf", false);

    const ConversionPlan plan = plan_with(folder / "in.gguf", {folder / "m.gguf"});
    CHECK_THAT(all_messages(plan, Severity::Warning),
               ContainsSubstring("no token came to some experts") &&
                   ContainsSubstring("blk.0.ffn_up_exps.weight (1 of 3)"));
    CHECK(plan.findings.count(Severity::Warning) == 1);  // the embedding may lack an entry
    ConvertOptions options;
    options.output = folder / "out.gguf";
    options.n_threads = 2;
    convert(plan, options);

    const GgufFile file(folder / "out.gguf");
    const std::string with = quantized(source.values[1], down.mean_squares());
    CHECK(bytes_of(file, "blk.0.ffn_down.weight") == with);
    CHECK(with != quantized(source.values[1], {}));
    std::string expected;
    const std::vector<float> means = experts.mean_squares();
    for (size_t e = 0; e < kExperts; ++e) {
        const auto importance = std::span(means).subspan(e * kColumns, e == 1 ? 0 : kColumns);
        expected += quantized(std::span(source.values[2]).subspan(e * kRows * kColumns, kRows * kColumns),
                              importance);
    }
    CHECK(bytes_of(file, "blk.0.ffn_up_exps.weight") == expected);

    const GgufHeader& header = file.header();
    CHECK(header.require_string("quantize.imatrix.file") == "m.gguf");
    CHECK(header.require_string("quantize.imatrix.dataset") == "peace.txt");
    CHECK(header.find("quantize.imatrix.entries_count")->type() == ValueType::Uint32);
    CHECK(header.require_uint("quantize.imatrix.entries_count") == 2);
    CHECK(header.require_uint("quantize.imatrix.chunks_count") == 4);
    CHECK(header.strings(keys::kImportanceChecksums).size() == 1);
}

TEST_CASE("importance survives neither a second quantization without it nor its keys") {
    const TemporaryFolder folder;
    Source().write(folder / "in.gguf");
    ImportanceMatrix matrix;
    matrix.add("blk.0.ffn_down.weight", entry_of(kColumns, 1, 7));
    matrix.write(folder / "m.gguf", false);
    ConvertOptions options;
    options.output = folder / "once.gguf";
    convert(plan_with(folder / "in.gguf", {folder / "m.gguf"}, "Q8_0"), options);
    ConvertRequest request;
    request.source = options.output;
    request.recipe = find_recipe("Q4_0");
    request.allow_requantize = true;
    const ConversionPlan again = plan_conversion(request);
    CHECK(again.metadata().find("quantize.imatrix.file") == nullptr);
    CHECK(again.metadata().find(keys::kImportanceChecksums) == nullptr);
}

TEST_CASE("several importance matrices add up") {
    const TemporaryFolder folder;
    Source source;
    source.write(folder / "in.gguf");
    ImportanceMatrix a, b;
    a.add("blk.0.ffn_down.weight", entry_of(kColumns, 1, 1));
    b.add("blk.0.ffn_down.weight", entry_of(kColumns, 1, 2));
    a.write(folder / "a.gguf", false);
    b.write(folder / "b.gguf", false);
    ConvertOptions options;
    options.output = folder / "out.gguf";
    convert(plan_with(folder / "in.gguf", {folder / "a.gguf", folder / "b.gguf"}), options);
    a.add(b);
    CHECK(bytes_of(GgufFile(options.output), "blk.0.ffn_down.weight") ==
          quantized(source.values[1], a.find("blk.0.ffn_down.weight")->mean_squares()));
}

TEST_CASE("tensors without importance are named before the work starts") {
    const TemporaryFolder folder;
    Source().write(folder / "in.gguf");
    ImportanceMatrix matrix;
    matrix.add("blk.0.ffn_down.weight", entry_of(kColumns, 1, 7));
    matrix.write(folder / "m.gguf", false);
    const ConversionPlan plan = plan_with(folder / "in.gguf", {folder / "m.gguf"});
    CHECK_FALSE(plan.findings.has_problems());
    CHECK_THAT(all_messages(plan, Severity::Warning),
               ContainsSubstring("has no importance for blk.0.ffn_up_exps.weight"));
    CHECK_THAT(all_messages(plan, Severity::Warning), !ContainsSubstring("token_embd"));
    CHECK_THAT(all_messages(plan_with(folder / "in.gguf", {folder / "m.gguf"}, "F16"), Severity::Warning),
               ContainsSubstring("no tensor is quantized"));
}

TEST_CASE("importance of other shapes, of another model, or that cannot be read is a problem") {
    const TemporaryFolder folder;
    Source().write(folder / "in.gguf");
    const auto problems_of = [&](const std::string& name, const ImportanceEntry& entry) {
        ImportanceMatrix matrix;
        matrix.add(name, entry);
        matrix.write(folder / "m.gguf", true);
        return all_messages(plan_with(folder / "in.gguf", {folder / "m.gguf"}), Severity::Problem);
    };
    CHECK_THAT(problems_of("blk.0.ffn_down.weight", entry_of(kColumns / 2, 1, 1)),
               ContainsSubstring("blk.0.ffn_down.weight: 32 sums and 1 count; its rows of 64 need 64"));
    CHECK_THAT(problems_of("blk.0.ffn_up_exps.weight", entry_of(kColumns, 2, 1)),
               ContainsSubstring("128 sums and 2 counts; its 3 matrices with rows of 64 need 192"));
    CHECK_THAT(problems_of("blk.9.ffn_down.weight", entry_of(kColumns, 1, 1)),
               ContainsSubstring("none of its 1 entries (blk.9.ffn_down.weight …)"));
    write_file(folder / "m.gguf", "no importance matrix");
    CHECK_THAT(all_messages(plan_with(folder / "in.gguf", {folder / "m.gguf"}), Severity::Problem),
               ContainsSubstring("m.gguf: byte 0"));
    CHECK_THAT(all_messages(plan_with(folder / "in.gguf", {folder / "none.gguf"}), Severity::Problem),
               ContainsSubstring("none.gguf"));
}
