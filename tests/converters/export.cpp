// From a GGUF file back to a checkpoint: what went in comes out.
#include "converters/export/export.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "converters/convert.h"
#include "converters/rows/inverse.h"
#include "converters/rows/transforms.h"
#include "converters/sources/json.h"
#include "converters/sources/safetensors.h"
#include "converters/vocabulary/sentencepiece_model.h"
#include "format/mapped_file.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

const std::string kDemo = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";

void convert_to(const std::string& source, const char* type, const std::string& output) {
    ConvertOptions options;
    options.output = output;
    convert(plan_checkpoint(source, *find_recipe(type)), options);
}

ExportPlan exported(const std::string& source, const std::string& folder, uint64_t max_file_bytes = 1 << 30) {
    ExportRequest request;
    request.source = source;
    request.folder = folder;
    request.max_file_bytes = max_file_bytes;
    ExportPlan plan = plan_export(request);
    export_checkpoint(plan, {});
    return plan;
}

/// Tensors by name, of all safetensors of a folder.
std::map<std::string, std::string> tensors_of(const fs::path& folder) {
    std::map<std::string, std::string> tensors;
    for (const auto& entry : fs::directory_iterator(folder)) {
        if (entry.path().extension() != ".safetensors") continue;
        const MappedFile file(entry.path());
        for (const SourceTensor& tensor : parse_safetensors(file.bytes(), entry.path().string())) {
            tensors[fmt::format("{} {} [{}]", tensor.name, name(tensor.type),
                                fmt::join(tensor.shape, ", "))] =
                std::string(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
        }
    }
    return tensors;
}

/// Element i has the value i.
RowsPtr counting(const std::vector<uint64_t>& shape) {
    std::vector<float> values(n_elements(shape));
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i);
    return computed_rows("counting", shape, values);
}

std::string error_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("The demo checkpoint comes back, byte for byte, in one file or in shards") {
    const TemporaryFolder folder;
    convert_to(kDemo, "BF16", folder / "demo.gguf");
    const auto expected = tensors_of(kDemo);
    REQUIRE(expected.size() == 56);
    const ExportPlan whole = exported(folder / "demo.gguf", folder / "whole");
    CHECK(whole.family == "Llama");
    CHECK(whole.findings.all().empty());
    CHECK(tensors_of(folder / "whole") == expected);

    const ExportPlan shards = exported(folder / "demo.gguf", folder / "shards", 3'000'000);
    CHECK(shards.layout.files.size() == 4);
    CHECK(tensors_of(folder / "shards") == expected);
    const Json index = Json::read_file(folder / "shards/model.safetensors.index.json");
    CHECK(index.get_object("weight_map")->members().size() == 56);
    for (const auto& file : shards.layout.files)
        CHECK(fs::file_size(folder / ("shards/" + file.name)) == file.size_bytes);

    const auto before = parse_sentencepiece_model(MappedFile(kDemo + "/tokenizer.model").bytes(), "before");
    const auto after =
        parse_sentencepiece_model(MappedFile(folder / "whole/tokenizer.model").bytes(), "after");
    REQUIRE(after.pieces.size() == before.pieces.size());
    for (size_t i = 0; i < before.pieces.size(); ++i) {
        CHECK(after.pieces[i].text == before.pieces[i].text);
        CHECK(after.pieces[i].score == before.pieces[i].score);
        CHECK(after.pieces[i].type == before.pieces[i].type);
    }
    CHECK(after.byte_fallback == before.byte_fallback);
    CHECK(after.add_dummy_prefix == before.add_dummy_prefix);
}

TEST_CASE("A checkpoint made of an export converts to the same tensors again") {
    const TemporaryFolder folder;
    TinyModel model;
    model.qkv_biases = true;
    fs::create_directory(folder / "source");
    const TemporaryFolder source;
    model.write(source);
    convert_to(source.path().string(), "Q8_0", folder / "once.gguf");
    exported(folder / "once.gguf", folder / "back");
    convert_to(folder / "back", "F32", folder / "again.gguf");
    const GgufFile once(folder / "once.gguf"), again(folder / "again.gguf");
    REQUIRE(once.header().tensors().size() == again.header().tensors().size());
    for (const TensorInfo& tensor : once.header().tensors()) CHECK(again.header().find_tensor(tensor.name));
    const Json config = Json::read_file(folder / "back/config.json");
    CHECK(config.get_string("torch_dtype") == "bfloat16");
    CHECK(config.get_uint("num_key_value_heads") == 2);
}

TEST_CASE("Rows that moved, transposed and split matrices, and changed values are undone") {
    const std::vector<uint64_t> shape{8, 12};
    const RowsPtr source = counting(shape);
    const auto check = [&](const std::vector<std::function<RowsPtr(RowsPtr)>>& all) {
        std::vector<Derived> derived;
        for (const auto& steps : all) derived.push_back({steps(source), steps});
        const RowsPtr back = invert("source", shape, derived);
        CHECK(back->shape() == shape);
        CHECK(read_all(*back) == read_all(*source));
    };
    const auto transposed = [](RowsPtr rows) { return transpose(std::move(rows)); };
    const auto plus_one = [](RowsPtr rows) {
        return map_values(std::move(rows), [](std::span<float> values) {
            for (float& value : values) value += 1;
        });
    };
    SECTION("nothing") {
        check({[](RowsPtr rows) { return rows; }});
    }
    SECTION("heads interleaved") {
        check({[](RowsPtr rows) { return interleave_heads(std::move(rows), 3); }});
    }
    SECTION("a fused matrix taken apart") {
        check({[](RowsPtr rows) { return slice_rows(rows, 0, 6); },
               [](RowsPtr rows) { return slice_rows(rows, 6, 3); },
               [](RowsPtr rows) { return slice_rows(rows, 9, 3); }});
    }
    SECTION("transposed") {
        check({transposed});
    }
    SECTION("transposed, then taken apart") {
        check({[&](RowsPtr rows) { return slice_rows(transposed(rows), 0, 5); },
               [&](RowsPtr rows) { return slice_rows(transposed(rows), 5, 3); }});
    }
    SECTION("one added") {
        check({plus_one});
    }
    SECTION("moved and one added") {
        check({[&](RowsPtr rows) { return plus_one(interleave_heads(std::move(rows), 2)); }});
    }
    SECTION("one half transposed, the other not") {
        check({[&](RowsPtr rows) { return transposed(slice_rows(rows, 0, 4)); },
               [&](RowsPtr rows) { return slice_rows(rows, 4, 8); }});
    }
    SECTION("elements of each row taken apart") {
        const auto every_second = [](RowsPtr rows, uint64_t first) {
            const RowsPtr elements = reshape(rows, {rows->n_elements()});
            return reshape(select_rows(elements, 48, [first](uint64_t i) { return 2 * i + first; }), {4, 12});
        };
        check({[&](RowsPtr rows) { return every_second(rows, 0); },
               [&](RowsPtr rows) { return every_second(rows, 1); }});
    }
}

TEST_CASE("What cannot be undone says why") {
    const std::vector<uint64_t> shape{4, 6};
    const RowsPtr source = counting(shape);
    const auto part = [](RowsPtr rows) { return slice_rows(std::move(rows), 0, 5); };
    CHECK_THAT(error_of([&] {
                   invert("source", shape, {{part(source), part}});
               }),
               ContainsSubstring("some of its"));
    const auto squared = [](RowsPtr rows) {
        return map_values(std::move(rows), [](std::span<float> values) {
            for (float& value : values) value *= value;
        });
    };
    CHECK_THAT(error_of([&] {
                   invert("source", shape, {{squared(source), squared}});
               }),
               ContainsSubstring("no inverse"));
    const auto nothing = [](RowsPtr rows) { return rows; };
    CHECK_THAT(error_of([&] {
                   invert("source", {4, 7}, {{source, nothing}});
               }),
               ContainsSubstring("but the file has"));
}

TEST_CASE("An export does not touch a folder with files in it, and names tensors without a place") {
    const TemporaryFolder folder;
    convert_to(kDemo, "Q8_0", folder / "demo.gguf");
    CHECK_THAT(error_of([&] { exported(folder / "demo.gguf", folder.path().string()); }),
               ContainsSubstring("is not empty"));
    CHECK(folder.names().size() == 1);
    // Another architecture's tensors under Llama's name.
    const GgufFile file(folder / "demo.gguf");
    Metadata metadata;
    for (const KeyValue& entry : file.header().metadata())
        metadata.set(std::string(entry.key), Metadata::copy_of(entry.value));
    const GgufLayout layout(metadata, {{"blk.0.surprise.weight", TensorType::F32, {4}}});
    const auto header = layout.encode_header();
    write_file(folder / "odd.gguf", std::string(reinterpret_cast<const char*>(header.data()), header.size()) +
                                        std::string(16, '\0'));
    CHECK_THAT(error_of([&] { exported(folder / "odd.gguf", folder / "odd"); }),
               ContainsSubstring("blk.0.surprise.weight has no place in a Llama checkpoint"));
    CHECK_FALSE(fs::exists(folder / "odd"));
}
