// The whole way: a checkpoint in, a GGUF file out, read back and compared with the source.
#include "converters/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "converters/architectures/mapping.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/gguf.h"
#include "format/ingot_keys.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

const std::string kDemo = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";

void convert_folder(const std::string& source, const std::string& type, const std::string& output,
                    int n_threads = 2) {
    ConversionPlan plan = plan_checkpoint(source, *find_recipe(type));
    ConvertOptions options;
    options.output = output;
    options.n_threads = n_threads;
    convert(plan, options);
}

void quantize_file(const std::string& source, const std::string& type, const std::string& output) {
    ConversionPlan plan = plan_gguf(source, *find_recipe(type), /*allow_requantize=*/true);
    ConvertOptions options;
    options.output = output;
    convert(plan, options);
}

std::vector<float> decoded(const GgufFile& file, const TensorInfo& tensor) {
    std::vector<float> values(tensor.n_elements);
    decode_row(tensor.type, file.tensor_bytes(tensor).data(), values.data(), values.size());
    return values;
}

std::vector<float> decoded(const SourceTensor& tensor) {
    std::vector<float> values(tensor.n_elements());
    decode_row(tensor.type, tensor.data.data(), values.data(), values.size());
    return values;
}

/// A BF16 tensor's values with the rows of each head moved, by the definition: (heads, 2, half) -> (heads,
/// half, 2).
std::vector<float> interleaved(const std::vector<float>& rows, uint64_t row_elements, uint64_t n_heads) {
    const uint64_t n_rows = rows.size() / row_elements, half = n_rows / n_heads / 2;
    std::vector<float> result;
    for (uint64_t head = 0; head < n_heads; ++head) {
        for (uint64_t pair = 0; pair < half; ++pair) {
            for (uint64_t side = 0; side < 2; ++side) {
                const auto row = rows.begin() + long(((head * 2 + side) * half + pair) * row_elements);
                result.insert(result.end(), row, row + long(row_elements));
            }
        }
    }
    return result;
}

std::string find_name(const std::string& gguf) {
    // An independent spelling of the names, for the tensors of a layer.
    static const std::vector<std::pair<std::string, std::string>> kNames = {
        {"attn_norm.", "input_layernorm."},    {"attn_q.", "self_attn.q_proj."},
        {"attn_k.", "self_attn.k_proj."},      {"attn_v.", "self_attn.v_proj."},
        {"attn_output.", "self_attn.o_proj."}, {"ffn_norm.", "post_attention_layernorm."},
        {"ffn_gate.", "mlp.gate_proj."},       {"ffn_up.", "mlp.up_proj."},
        {"ffn_down.", "mlp.down_proj."},
    };
    if (gguf == "token_embd.weight") return "model.embed_tokens.weight";
    if (gguf == "output_norm.weight") return "model.norm.weight";
    if (gguf == "output.weight") return "lm_head.weight";
    const size_t dot = gguf.find('.', 4);
    const std::string rest = gguf.substr(dot + 1);
    for (const auto& [from, to] : kNames) {
        if (rest.starts_with(from))
            return "model.layers." + gguf.substr(4, dot - 4) + "." + to + rest.substr(from.size());
    }
    return {};
}

void compare_with_source(const std::string& folder, const std::string& path, uint64_t q_heads,
                         uint64_t k_heads) {
    const GgufFile file(path);
    const auto checkpoint = open_checkpoint(folder);
    CHECK(file.header().tensors().size() == checkpoint->tensors().size());
    for (const TensorInfo& tensor : file.header().tensors()) {
        INFO(tensor.name);
        const SourceTensor* source = checkpoint->find(find_name(std::string(tensor.name)));
        REQUIRE(source);
        CHECK(source->shape ==
              std::vector<uint64_t>(tensor.shape.begin(), tensor.shape.begin() + tensor.n_dims));
        std::vector<float> expected = decoded(*source);
        const uint64_t width = tensor.n_dims > 1 ? tensor.shape[0] : 1;
        if (q_heads && tensor.name.find("attn_q.") != std::string_view::npos)
            expected = interleaved(expected, width, q_heads);
        if (k_heads && tensor.name.find("attn_k.") != std::string_view::npos)
            expected = interleaved(expected, width, k_heads);
        CHECK(decoded(file, tensor) == expected);
    }
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

TEST_CASE(
    "Converted to F32 or BF16, every weight of the demo checkpoint is the source's, element by element") {
    const TemporaryFolder folder;
    for (const char* type : {"F32", "BF16"}) {
        const std::string output = folder / (std::string(type) + ".gguf");
        convert_folder(kDemo, type, output);
        compare_with_source(kDemo, output, 8, 4);
    }
}

TEST_CASE("Qwen2's rows stay in order and its biases come along") {
    TinyModel model;
    model.class_name = "Qwen2ForCausalLM";
    model.qkv_biases = true;
    const TemporaryFolder folder;
    model.write(folder);
    convert_folder(folder.path().string(), "F32", folder / "out.gguf");
    compare_with_source(folder.path().string(), folder / "out.gguf", 0, 0);
    CHECK(GgufFile(folder / "out.gguf").header().find_tensor("blk.1.attn_v.bias"));
}

TEST_CASE("A Llama's biases move with their rows") {
    TinyModel model;
    model.qkv_biases = true;
    const TemporaryFolder folder;
    model.write(folder);
    convert_folder(folder.path().string(), "F16", folder / "out.gguf");
    compare_with_source(folder.path().string(), folder / "out.gguf", 4, 2);
}

TEST_CASE("Llama 3's frequency divisors become the tensor rope_freqs.weight") {
    TinyModel model;
    model.more_config = R"("rope_scaling":{"rope_type":"llama3","factor":8.0},)";
    const TemporaryFolder folder;
    model.write(folder);
    convert_folder(folder.path().string(), "Q8_0", folder / "out.gguf");
    const GgufFile file(folder / "out.gguf");
    const TensorInfo* tensor = file.header().find_tensor("rope_freqs.weight");
    REQUIRE(tensor);
    CHECK(tensor->type == TensorType::F32);
    REQUIRE(tensor->n_elements == 8);
    CHECK(decoded(file, *tensor).front() == 1.0f);
}

TEST_CASE("The bytes of the file do not depend on the number of threads") {
    const TemporaryFolder folder;
    for (const char* type : {"F16", "Q4_K_M"}) {
        convert_folder(kDemo, type, folder / "one.gguf", 1);
        convert_folder(kDemo, type, folder / "four.gguf", 4);
        CHECK(read_file(folder / "one.gguf") == read_file(folder / "four.gguf"));
        fs::remove(folder / "one.gguf");
        fs::remove(folder / "four.gguf");
    }
}

TEST_CASE("From F16 or from the checkpoint, quantized weights are the same; metadata is carried over") {
    const TemporaryFolder folder;
    convert_folder(kDemo, "BF16", folder / "bf16.gguf");
    convert_folder(kDemo, "Q5_K_M", folder / "direct.gguf");
    quantize_file(folder / "bf16.gguf", "Q5_K_M", folder / "twice.gguf");
    const GgufFile direct(folder / "direct.gguf"), twice(folder / "twice.gguf");
    REQUIRE(direct.header().tensors().size() == twice.header().tensors().size());
    for (const TensorInfo& tensor : direct.header().tensors()) {
        const TensorInfo* other = twice.header().find_tensor(tensor.name);
        REQUIRE(other);
        CHECK(other->type == tensor.type);
        CHECK(std::ranges::equal(direct.tensor_bytes(tensor), twice.tensor_bytes(*other)));
    }
    for (const KeyValue& entry : direct.header().metadata()) {
        INFO(entry.key);
        if (entry.key.starts_with("ingot.source.")) continue;
        const Value* other = twice.header().find(entry.key);
        REQUIRE(other);
        CHECK(std::ranges::equal(entry.value.encoded(), other->encoded()));
    }
    CHECK(twice.header().require_string(keys::kSourceFormat) == "gguf");
    CHECK(twice.header().strings(keys::kSourceFiles) == std::vector<std::string_view>{"bf16.gguf"});
}

TEST_CASE("Every tensor's checksum is in the header and is that of its bytes") {
    const TemporaryFolder folder;
    convert_folder(kDemo, "Q4_K_M", folder / "out.gguf", 3);
    const GgufFile file(folder / "out.gguf");
    const auto checksums = file.header().strings(keys::kChecksums);
    REQUIRE(checksums.size() == file.header().tensors().size());
    for (size_t i = 0; i < checksums.size(); ++i) {
        CHECK(xxh3_128_hex(file.tensor_bytes(file.header().tensors()[i])) == checksums[i]);
    }
    CHECK(file.header().require_string(keys::kRecipe) == "Q4_K_M");
    CHECK(file.header().require_string(keys::kSourceFormat) == "safetensors");
    CHECK(file.header().strings(keys::kSourceFiles) == std::vector<std::string_view>{"model.safetensors"});
    CHECK(file.header().require_uint("general.file_type") == 15);
}

TEST_CASE("NaN and infinity are errors that name tensor, row and column, and leave no file") {
    struct Case {
        const char* tensor;
        uint64_t row, column;
        float value;
        const char* expected;
    };
    const Case kCases[] = {
        {"model.layers.1.self_attn.q_proj.weight", 13, 7, NAN,
         "\"model.layers.1.self_attn.q_proj.weight\" has NaN at row 13, column 7"},
        {"model.layers.0.mlp.down_proj.weight", 63, 95, INFINITY, "has infinity at row 63, column 95"},
        {"model.norm.weight", 0, 5, -INFINITY, "\"model.norm.weight\" has -infinity at row 0, column 5"},
    };
    for (const Case& bad : kCases) {
        for (const char* type : {"Q8_0", "BF16"}) {
            const TemporaryFolder folder;
            TinyModel model;
            auto tensors = model.tensors();
            for (Tensor& tensor : tensors) {
                if (tensor.name != bad.tensor) continue;
                const uint64_t at = 2 * (bad.row * tensor.shape.back() + bad.column);
                std::ranges::copy(bf16_bytes({bad.value}), tensor.data.begin() + long(at));
            }
            model.write(folder, tensors);
            const auto before = folder.names().size();
            CHECK_THAT(error_of([&] { convert_folder(folder.path().string(), type, folder / "out.gguf"); }),
                       ContainsSubstring(bad.expected));
            CHECK(folder.names().size() == before);
        }
    }
}

TEST_CASE("A value beyond F16's range is an error for F16 and fine for BF16") {
    const TemporaryFolder folder;
    TinyModel model;
    auto tensors = model.tensors();
    tensors[0].data.replace(2 * (5 * 64 + 3), 2, bf16_bytes({131072.0f}));
    model.write(folder, tensors);
    CHECK_THAT(error_of([&] { convert_folder(folder.path().string(), "F16", folder / "out.gguf"); }),
               ContainsSubstring("131072 at row 5, column 3"));
    CHECK(error_of([&] { convert_folder(folder.path().string(), "BF16", folder / "out.gguf"); }) ==
          "no error");
}

TEST_CASE("A failure in the middle leaves an existing output as it was, byte for byte") {
    const TemporaryFolder folder;
    TinyModel model;
    auto tensors = model.tensors();
    tensors.back().data.replace(tensors.back().data.size() - 2, 2, bf16_bytes({NAN}));
    model.write(folder, tensors);
    write_file(folder / "out.gguf", "precious");
    const auto before = folder.names().size();
    ConversionPlan plan = plan_checkpoint(folder.path().string(), *find_recipe("Q8_0"));
    ConvertOptions options;
    options.output = folder / "out.gguf";
    options.overwrite = true;
    CHECK_THROWS_AS(convert(plan, options), Error);
    CHECK(read_file(folder / "out.gguf") == "precious");
    CHECK(folder.names().size() == before);
}

TEST_CASE("Cancelled before a tensor is whole, a conversion leaves nothing") {
    const TemporaryFolder folder;
    std::atomic<bool> cancel{true};
    ConversionPlan plan = plan_checkpoint(kDemo, *find_recipe("Q4_K_M"));
    ConvertOptions options;
    options.output = folder / "out.gguf";
    options.cancel = &cancel;
    CHECK_THROWS_AS(convert(plan, options), Cancelled);
    CHECK(folder.names().empty());
}

TEST_CASE("Progress ends at the whole source") {
    const TemporaryFolder folder;
    uint64_t last = 0, whole = 0;
    ConversionPlan plan = plan_checkpoint(kDemo, *find_recipe("F16"));
    ConvertOptions options;
    options.output = folder / "out.gguf";
    options.progress = [&](uint64_t done, uint64_t total) {
        CHECK(done >= last);
        last = done;
        whole = total;
    };
    const ConversionResult result = convert(plan, options);
    CHECK(last == whole);
    CHECK(last == result.source_bytes);
    CHECK(result.output_bytes == fs::file_size(folder / "out.gguf"));
}

TEST_CASE("An output that exists, is the input, or cannot be placed is refused before anything is written") {
    const TemporaryFolder folder;
    convert_folder(kDemo, "F16", folder / "in.gguf");
    const std::string before = read_file(folder / "in.gguf");
    fs::create_symlink(folder / "in.gguf", folder / "link.gguf");
    fs::create_hard_link(folder / "in.gguf", folder / "hard.gguf");
    const ConversionPlan plan = plan_gguf(folder / "in.gguf", *find_recipe("Q8_0"), false);
    for (const char* same : {"in.gguf", "link.gguf", "hard.gguf"}) {
        CHECK_THAT(error_of([&] { check_output(plan, folder / same, true); }),
                   ContainsSubstring("the same file as the input"));
    }
    write_file(folder / "there.gguf", "x");
    CHECK_THAT(error_of([&] { check_output(plan, folder / "there.gguf", false); }),
               ContainsSubstring("--force"));
    CHECK(error_of([&] { check_output(plan, folder / "there.gguf", true); }) == "no error");
    CHECK_THAT(error_of([&] { check_output(plan, folder / "no/where.gguf", false); }),
               ContainsSubstring("does not exist"));
    CHECK_THAT(error_of([&] { check_output(plan, folder.path().string(), true); }),
               ContainsSubstring("a folder"));
    CHECK(read_file(folder / "in.gguf") == before);
}

TEST_CASE("Quantizing what is quantized needs permission, and then says what it costs") {
    const TemporaryFolder folder;
    convert_folder(kDemo, "Q8_0", folder / "q8.gguf");
    CHECK_THAT(error_of([&] { plan_gguf(folder / "q8.gguf", *find_recipe("Q4_0"), false); }),
               ContainsSubstring("--allow-requantize") && ContainsSubstring("rounding errors"));
    const ConversionPlan plan = plan_gguf(folder / "q8.gguf", *find_recipe("Q4_0"), true);
    REQUIRE(plan.findings.count(Severity::Warning) == 1);
    CHECK_THAT(plan.findings.messages(Severity::Warning)[0], ContainsSubstring("rounding errors"));
    // To the same type, blocks are carried over as they are: no permission needed, and nothing changes.
    const ConversionPlan same = plan_gguf(folder / "q8.gguf", *find_recipe("Q8_0"), false);
    CHECK(same.findings.all().empty());
    quantize_file(folder / "q8.gguf", "Q8_0", folder / "again.gguf");
    const GgufFile before(folder / "q8.gguf"), after(folder / "again.gguf");
    for (const TensorInfo& tensor : before.header().tensors()) {
        CHECK(std::ranges::equal(before.tensor_bytes(tensor),
                                 after.tensor_bytes(*after.header().find_tensor(tensor.name))));
    }
}

TEST_CASE("Rows that are no multiple of a type's block fall back to another type and say so") {
    const TemporaryFolder folder;
    TinyModel().write(folder);  // rows of 64 and 96
    const ConversionPlan plan = plan_checkpoint(folder.path().string(), *find_recipe("Q4_K_M"));
    size_t n_fallbacks = 0;
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        if (plan.target(i).shape.size() < 2) continue;
        CHECK_THAT(plan.tensors[i].fallback_reason, ContainsSubstring("no multiple of 256"));
        ++n_fallbacks;
    }
    CHECK(n_fallbacks == 16);
}

TEST_CASE("A folder that is no checkpoint is an error that says what is expected") {
    const TemporaryFolder folder;
    const auto plan = [&] { plan_checkpoint(folder.path().string(), *find_recipe("Q8_0")); };
    CHECK_THAT(error_of(plan), ContainsSubstring("no config.json"));
    write_file(folder / "config.json", TinyModel().config());
    CHECK_THAT(error_of(plan), ContainsSubstring("no weights"));
    CHECK_THAT(error_of([&] { plan_checkpoint(folder / "config.json", *find_recipe("Q8_0")); }),
               ContainsSubstring("not a folder"));
}
