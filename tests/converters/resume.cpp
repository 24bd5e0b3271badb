// A conversion that was stopped goes on where it stopped, and ends in the very same bytes.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "converters/convert.h"
#include "converters/model_writer.h"
#include "format/output_file.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

const std::string kDemo = INGOT_SOURCE_DIR "/tests/data/tolstoy-5m";

ConvertOptions options_for(const std::string& output) {
    ConvertOptions options;
    options.output = output;
    options.n_threads = 2;
    return options;
}

std::string converted(const std::string& source, const char* type, const std::string& output) {
    convert(plan_checkpoint(source, *find_recipe(type)), options_for(output));
    return read_file(output);
}

/// Converts until `n_calls` tiles were written, then stops as Ctrl-C does.
void convert_and_cancel(const ConversionPlan& plan, const std::string& output, int n_calls) {
    std::atomic<bool> cancel{false};
    ConvertOptions options = options_for(output);
    options.cancel = &cancel;
    options.progress = [&](uint64_t, uint64_t) { cancel = --n_calls <= 0; };
    CHECK_THROWS_AS(convert(plan, options), Cancelled);
}

/// The same in a process of its own that is killed at once.
void convert_and_kill(const ConversionPlan& plan, const std::string& output, int n_calls) {
    const pid_t child = ::fork();
    if (child == 0) {
        ConvertOptions options = options_for(output);
        options.n_threads = 1;
        options.progress = [&](uint64_t, uint64_t) {
            if (--n_calls <= 0) ::raise(SIGKILL);
        };
        try {
            convert(plan, options);
        } catch (const std::exception&) {
        }
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
}

std::string partial(const std::string& output) {
    return OutputFile::unfinished_path_of(output).string();
}

}  // namespace

TEST_CASE("Stopped after any number of tiles, the same conversion goes on and ends in the same bytes") {
    const TemporaryFolder folder;
    const std::string expected = converted(kDemo, "Q4_0", folder / "whole.gguf");
    const ConversionPlan plan = plan_checkpoint(kDemo, *find_recipe("Q4_0"));
    const std::string output = folder / "out.gguf";
    for (const int n_calls : {2, 9, 25, 50}) {
        CAPTURE(n_calls);
        convert_and_cancel(plan, output, n_calls);
        CHECK_FALSE(fs::exists(output));
        CHECK(fs::exists(partial(output)));
        const ConversionResult result = convert(plan, options_for(output));
        CHECK(result.n_resumed > 0);
        CHECK(result.n_resumed < plan.tensors.size());
        CHECK(read_file(output) == expected);
        CHECK_FALSE(fs::exists(partial(output)));
        fs::remove(output);
    }
}

TEST_CASE("Killed again and again, a conversion still ends in the same bytes") {
    const TemporaryFolder folder;
    const std::string expected = converted(kDemo, "Q8_0", folder / "whole.gguf");
    const ConversionPlan plan = plan_checkpoint(kDemo, *find_recipe("Q8_0"));
    const std::string output = folder / "out.gguf";
    for (const int n_calls : {1, 3, 20, 30}) {
        convert_and_kill(plan, output, n_calls);
        CHECK_FALSE(fs::exists(output));
    }
    CHECK(convert(plan, options_for(output)).n_resumed > 30);
    CHECK(read_file(output) == expected);
    CHECK(folder.names().size() == 2);
}

TEST_CASE("Bytes that did not reach the disk are noticed and written again") {
    const TemporaryFolder folder;
    const std::string expected = converted(kDemo, "Q8_0", folder / "whole.gguf");
    const ConversionPlan plan = plan_checkpoint(kDemo, *find_recipe("Q8_0"));
    const std::string output = folder / "out.gguf";
    convert_and_cancel(plan, output, 50);
    {
        std::fstream file(partial(output), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(long(plan.target(1).offset));
        file.write("\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    }
    convert(plan, options_for(output));
    CHECK(read_file(output) == expected);
}

TEST_CASE("What another conversion left is not gone on with") {
    const TemporaryFolder folder;
    TinyModel().write(folder);
    const std::string source = folder.path().string(), output = folder / "out.gguf";
    const auto plan_of = [&](const char* type) { return plan_checkpoint(source, *find_recipe(type)); };
    SECTION("of another type of the same size") {
        convert_and_cancel(plan_of("F16"), output, 4);
        CHECK(convert(plan_of("BF16"), options_for(output)).n_resumed == 0);
        CHECK(read_file(output) == converted(source, "BF16", folder / "whole.gguf"));
    }
    SECTION("of the same files, since changed") {
        convert_and_cancel(plan_of("F16"), output, 4);
        TinyModel model;
        auto tensors = model.tensors();
        tensors[0].data[0] = char(tensors[0].data[0] ^ 1);
        write_file(folder / "model.safetensors", safetensors_file(tensors));
        fs::last_write_time(folder / "model.safetensors",
                            fs::file_time_type::clock::now() + std::chrono::seconds(2));
        CHECK(convert(plan_of("F16"), options_for(output)).n_resumed == 0);
        CHECK(read_file(output) == converted(source, "F16", folder / "whole.gguf"));
    }
    SECTION("of nobody") {
        write_file(partial(output), "what is this?");
        CHECK(convert(plan_of("F16"), options_for(output)).n_resumed == 0);
        CHECK(read_file(output) == converted(source, "F16", folder / "whole.gguf"));
    }
}

TEST_CASE(
    "Killed while its files took their names, the first last, the same conversion makes the set whole") {
    const TemporaryFolder folder;
    ConvertRequest request;
    request.source = kDemo;
    request.recipe = find_recipe("Q8_0");
    request.max_file_bytes = 2'000'000;
    const ConversionPlan plan = plan_conversion(request);
    const std::vector<std::string> files = convert(plan, options_for(folder / "out.gguf")).outputs;
    REQUIRE(files.size() > 2);
    std::vector<std::string> expected;
    for (const std::string& file : files) expected.push_back(read_file(file));
    fs::remove(files[0]);
    fs::remove(files[1]);
    CHECK(convert(plan, options_for(folder / "out.gguf")).outputs == files);
    for (size_t i = 0; i < files.size(); ++i) CHECK(read_file(files[i]) == expected[i]);

    // Whole, it is not replaced; nor are files of another conversion.
    CHECK_THROWS_WITH(convert(plan, options_for(folder / "out.gguf")), ContainsSubstring("exists already"));
    fs::remove(files[0]);
    std::string other = expected[2];
    other[200] = char(other[200] ^ 1);
    write_file(files[2], other);
    CHECK_THROWS_WITH(convert(plan, options_for(folder / "out.gguf")), ContainsSubstring(files[2]));
}

TEST_CASE("Two conversions to the same file at once are refused, to different files not") {
    const TemporaryFolder folder;
    const ConversionPlan plan = plan_checkpoint(kDemo, *find_recipe("Q8_0"));
    {
        const ModelWriter first(plan, folder / "out.gguf", false);
        CHECK_THROWS_WITH(ModelWriter(plan, folder / "out.gguf", false),
                          ContainsSubstring("another process is writing it just now"));
        ModelWriter(plan, folder / "other.gguf", false);
    }
    CHECK(folder.names().empty());
    ModelWriter(plan, folder / "out.gguf", false);
}

TEST_CASE("A finished file that still has its unfinished name is not written to") {
    const TemporaryFolder folder;
    const std::string expected = converted(kDemo, "Q8_0", folder / "out.gguf");
    fs::create_hard_link(folder / "out.gguf", partial(folder / "out.gguf"));
    {
        OutputFile(folder / "out.gguf", expected.size(), true)
            .write_at(0, std::as_bytes(std::span("junk", 4)));
    }
    CHECK(read_file(folder / "out.gguf") == expected);
}

TEST_CASE("Split into files of a largest size, each is whole and the first has the metadata") {
    const TemporaryFolder folder;
    ConvertRequest request;
    request.source = kDemo;
    request.recipe = find_recipe("Q8_0");
    request.max_file_bytes = 2'500'000;
    const ConversionPlan plan = plan_conversion(request);
    REQUIRE(plan.files.size() > 2);
    convert_and_cancel(plan, folder / "out.gguf", 20);
    CHECK(folder.names().size() == plan.files.size());  // unfinished
    const ConversionResult result = convert(plan, options_for(folder / "out.gguf"));
    CHECK(result.n_resumed > 0);
    REQUIRE(result.outputs.size() == plan.files.size());
    CHECK(fs::path(result.outputs[1]).filename().string() ==
          fmt::format("out-00002-of-{:05}.gguf", plan.files.size()));
    CHECK(folder.names().size() == plan.files.size());
    const std::string whole = converted(kDemo, "Q8_0", folder / "whole.gguf");
    const GgufFile one(folder / "whole.gguf");
    size_t n_tensors = 0;
    for (size_t i = 0; i < result.outputs.size(); ++i) {
        const GgufFile file(result.outputs[i]);
        CHECK(file.bytes().size() <= request.max_file_bytes);
        CHECK(file.header().require_uint("split.no") == i);
        CHECK(file.header().require_uint("split.count") == result.outputs.size());
        CHECK(file.header().require_uint("split.tensors.count") == plan.tensors.size());
        CHECK((file.header().find("general.architecture") != nullptr) == (i == 0));
        for (const TensorInfo& tensor : file.header().tensors()) {
            const TensorInfo* same = one.header().find_tensor(tensor.name);
            REQUIRE(same);
            CHECK(std::ranges::equal(file.tensor_bytes(tensor), one.tensor_bytes(*same)));
            ++n_tensors;
        }
    }
    CHECK(n_tensors == plan.tensors.size());
}
