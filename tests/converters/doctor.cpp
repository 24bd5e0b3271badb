// All that is in the way of a conversion, at once; and what a user may set.
#include "converters/doctor.h"

#include <algorithm>

#include "converters/convert.h"
#include "format/gguf.h"
#include "tests/catch.h"
#include "tests/converters/pytorch_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

ConvertRequest request_for(const TemporaryFolder& folder, const char* type = "Q8_0") {
    ConvertRequest request;
    request.source = folder.path().string();
    request.recipe = find_recipe(type);
    return request;
}

std::string problems_of(const Diagnosis& diagnosis) {
    return fmt::format("{}", fmt::join(diagnosis.findings.messages(Severity::Problem), "\n"));
}

/// The tensors as torch.save would write them, each with a storage of its own.
std::string pytorch_weights(const std::vector<Tensor>& tensors) {
    std::vector<std::pair<std::string, std::string>> members, storages;
    for (const Tensor& tensor : tensors) {
        const std::string key = std::to_string(storages.size());
        std::vector<uint64_t> strides(tensor.shape.size(), 1);
        for (size_t i = strides.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * tensor.shape[i];
        const std::string storage = pickled::storage("BFloat16Storage", key, n_elements(tensor.shape));
        members.emplace_back(tensor.name, pickled::tensor(storage, 0, tensor.shape, strides));
        storages.emplace_back(key, tensor.data);
    }
    return pytorch_file(pickled::program(pickled::dict(members)), storages);
}

}  // namespace

TEST_CASE("A checkpoint without faults has no problems, and its needs are known") {
    const TemporaryFolder folder;
    TinyModel().write(folder);
    const ConversionPlan plan = plan_conversion(request_for(folder));
    const Diagnosis diagnosis = examine(plan, folder / "out.gguf", false, 4);
    CHECK(diagnosis.ok());
    CHECK(plan.family == "Llama");
    CHECK_THAT(plan.source_form, ContainsSubstring("safetensors, 1 file, BF16"));
    CHECK(diagnosis.disk.needed_bytes == plan.output_bytes());
    CHECK(diagnosis.disk.available_bytes > 0u);
    CHECK(diagnosis.needed_memory_bytes > 0);
    CHECK(needed_memory_bytes(plan, 8) > needed_memory_bytes(plan, 4));
    CHECK(folder.names().size() == 5);  // nothing was written
}

TEST_CASE("A PyTorch archive with a flipped bit among its weights is found by its checksum") {
    const TemporaryFolder folder;
    const TinyModel model;
    model.write(folder);
    fs::remove(folder / "model.safetensors");
    std::string archive = pytorch_weights(model.tensors());
    write_file(folder / "pytorch_model.bin", archive);
    CHECK(examine(plan_conversion(request_for(folder)), folder / "out.gguf", false, 1).ok());

    const std::string weights = model.tensors().at(3).data;
    archive[archive.find(weights) + weights.size() / 2] ^= 1;
    write_file(folder / "pytorch_model.bin", archive);
    const ConversionPlan plan = plan_conversion(request_for(folder));
    CHECK_FALSE(plan.findings.has_problems());  // a plan reads no weights
    const Diagnosis diagnosis = examine(plan, folder / "out.gguf", false, 1);
    CHECK(diagnosis.findings.count(Severity::Problem) == 1);
    CHECK_THAT(problems_of(diagnosis), ContainsSubstring("pytorch_model.bin") &&
                                           ContainsSubstring("archive/data/3") &&
                                           ContainsSubstring("download the file again"));
}

TEST_CASE("Tensors, tokenizer, metadata and output: every fault is found in one run") {
    const TemporaryFolder folder;
    const TinyModel model;
    auto tensors = model.tensors();
    std::erase_if(tensors, [](const Tensor& tensor) { return tensor.name == "model.norm.weight"; });
    tensors.push_back(random_tensor("model.layers.0.surprise.weight", {64}));
    model.write(folder, tensors);
    fs::remove(folder / "tokenizer.model");
    const Diagnosis diagnosis = examine(plan_conversion(request_for(folder)), folder / "out.gguf", false, 1);
    CHECK_FALSE(diagnosis.ok());
    const std::string problems = problems_of(diagnosis);
    CHECK_THAT(problems, ContainsSubstring("missing: model.norm.weight"));
    CHECK_THAT(problems, ContainsSubstring("unknown tensor: model.layers.0.surprise.weight"));
    CHECK_THAT(problems, ContainsSubstring("tokenizer"));
    CHECK(diagnosis.findings.count(Severity::Problem) == 3);
    CHECK_THROWS_WITH(convert(plan_conversion(request_for(folder)), {folder / "out.gguf"}),
                      ContainsSubstring("3 problems"));
    CHECK_FALSE(fs::exists(folder / "out.gguf"));
}

TEST_CASE("Without weights the tokenizer is still looked at, and the other way round") {
    const TemporaryFolder folder;
    TinyModel().write(folder);
    fs::remove(folder / "model.safetensors");
    fs::remove(folder / "tokenizer.model");
    const std::string problems =
        problems_of(examine(plan_conversion(request_for(folder)), folder / "out.gguf", false, 1));
    CHECK_THAT(problems, ContainsSubstring("no weights"));
    CHECK_THAT(problems, ContainsSubstring("tokenizer"));
}

TEST_CASE("An output that exists and a vocabulary larger than the embedding are problems") {
    const TemporaryFolder folder;
    TinyModel model;
    model.write(folder);
    write_file(folder / "out.gguf", "x");
    const Diagnosis exists = examine(plan_conversion(request_for(folder)), folder / "out.gguf", false, 1);
    CHECK_THAT(problems_of(exists), ContainsSubstring("exists already"));
    CHECK(examine(plan_conversion(request_for(folder)), folder / "out.gguf", true, 1).ok());
    std::string config = model.config();
    config.replace(config.find("2048"), 4, "1000");
    write_file(folder / "config.json", config);
    const Diagnosis small = examine(plan_conversion(request_for(folder)), folder / "new.gguf", false, 1);
    CHECK_THAT(problems_of(small), ContainsSubstring("2048"));
    CHECK(small.findings.count(Severity::Problem) >= 2);  // the embedding's shape and the tokenizer
}

TEST_CASE("A file of metadata sets, types and removes keys") {
    const TemporaryFolder folder;
    TinyModel().write(folder);
    write_file(folder / "keys.json", R"({
        "general.name": "Another", "llama.context_length": 77, "my.flag": true, "my.count": 3, "my.below": -3,
        "my.ratio": 0.5, "my.wide": {"type": "uint64", "value": 3}, "my.list": ["a", "b"],
        "my.numbers": {"type": "float32", "value": [1, 2]}, "general.size_label": null})");
    ConvertRequest request = request_for(folder);
    request.metadata_file = folder / "keys.json";
    convert(plan_conversion(request), {folder / "out.gguf"});
    const GgufFile file(folder / "out.gguf");
    const GgufHeader& header = file.header();
    CHECK(header.require_string("general.name") == "Another");
    CHECK(header.require_uint("llama.context_length") == 77);
    CHECK(header.find("llama.context_length")->type() == ValueType::Uint32);
    CHECK(header.find("my.flag")->as_bool());
    CHECK(header.find("my.count")->type() == ValueType::Uint32);
    CHECK(header.find("my.below")->type() == ValueType::Int32);
    CHECK(header.find("my.below")->as_int() == -3);
    CHECK(header.find("my.ratio")->type() == ValueType::Float32);
    CHECK(header.find("my.wide")->type() == ValueType::Uint64);
    CHECK(header.strings("my.list") == std::vector<std::string_view>{"a", "b"});
    CHECK(header.floats("my.numbers") == std::vector<float>{1, 2});
    CHECK(header.find("general.size_label") == nullptr);
}

TEST_CASE("A file of metadata with faults names each of them") {
    const TemporaryFolder folder;
    TinyModel().write(folder);
    write_file(folder / "keys.json", R"({
        "llama.context_length": "long", "llama.block_count": -1, "my.mixed": [1, "a"], "my.empty": [],
        "split.count": 3, "my.type": {"type": "uint33", "value": 3}, "my.half": {"value": 3},
        "my.small": {"type": "uint8", "value": 300}})");
    ConvertRequest request = request_for(folder);
    request.metadata_file = folder / "keys.json";
    const ConversionPlan plan = plan_conversion(request);
    CHECK(plan.findings.count(Severity::Problem) == 8);
    const std::string problems = problems_of(examine(plan, folder / "out.gguf", false, 1));
    CHECK_THAT(problems, ContainsSubstring("key my.small: expected a whole number from 0 to 255"));
    CHECK_THAT(problems, ContainsSubstring("key my.type: uint33 is no type"));
}

TEST_CASE("A vocabulary alone has all keys and no tensors") {
    const TemporaryFolder folder;
    TinyModel().write(folder);
    fs::remove(folder / "model.safetensors");
    ConvertRequest request = request_for(folder);
    request.vocab_only = true;
    convert(plan_conversion(request), {folder / "vocab.gguf"});
    const GgufFile file(folder / "vocab.gguf");
    CHECK(file.header().tensors().empty());
    CHECK(file.header().strings("tokenizer.ggml.tokens").size() == 2048);
    CHECK(file.header().require_uint("llama.block_count") == 2);
}

TEST_CASE("An unknown class whose tensors are a family's is offered to be read as that, and then is") {
    const TemporaryFolder folder;
    TinyModel model;
    model.write(folder);
    ConvertRequest request = request_for(folder);
    convert(plan_conversion(request), {folder / "llama.gguf"});
    model.class_name = "FineTunedForCausalLM";
    write_file(folder / "config.json", model.config());
    const ConversionPlan refused = plan_conversion(request);
    REQUIRE(refused.findings.count(Severity::Problem) == 1);
    CHECK_THAT(refused.findings.messages(Severity::Problem)[0],
               ContainsSubstring("FineTunedForCausalLM") && ContainsSubstring("convert with --as llama"));
    request.family = "llama";
    convert(plan_conversion(request), {folder / "fine.gguf"});
    const GgufFile llama(folder / "llama.gguf"), fine(folder / "fine.gguf");
    for (const TensorInfo& tensor : llama.header().tensors()) {
        CHECK(std::ranges::equal(llama.tensor_bytes(tensor),
                                 fine.tensor_bytes(*fine.header().find_tensor(tensor.name))));
    }
    request.family = "nonsense";
    CHECK_THAT(problems_of(examine(plan_conversion(request), folder / "x.gguf", false, 1)),
               ContainsSubstring("--as nonsense: no such family; the families are Llama, Mistral"));
}
