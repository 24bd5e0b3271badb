// ingot edit, as a program.
#include "format/gguf.h"
#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

std::string copy_of_demo(const TemporaryFolder& folder) {
    const std::string path = folder / "t.gguf";
    std::filesystem::copy_file(demo_model("Q4_0"), path);
    return path;
}

}  // namespace

TEST_CASE("edit: types are those of the keys, or what values look like") {
    const TemporaryFolder folder;
    const std::string path = copy_of_demo(folder);
    const uint64_t size = std::filesystem::file_size(path);
    const Outcome outcome =
        run_ingot({"edit", path, "--set", "general.name=12", "--set", "llama.context_length=512", "--set",
                   "my.ratio=0.5", "--set", "my.text=a=b", "--set", "my.list=[1, 2]", "--delete",
                   "general.size_label"});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("in place") && ContainsSubstring("256 → 512"));
    CHECK(std::filesystem::file_size(path) == size);
    const ingot::GgufFile file(path);
    CHECK(file.header().require_string("general.name") == "12");
    CHECK(file.header().require_uint("llama.context_length") == 512);
    CHECK(file.header().find("my.ratio")->type() == ingot::ValueType::Float32);
    CHECK(file.header().require_string("my.text") == "a=b");
    CHECK(file.header().find("my.list")->element_type() == ingot::ValueType::Uint32);
    CHECK(file.header().find("general.size_label") == nullptr);
    CHECK(run_ingot({"verify", path}).exit_code == 0);
}

TEST_CASE("edit: --dry-run shows the difference and writes nothing") {
    const TemporaryFolder folder;
    const std::string path = copy_of_demo(folder);
    const std::string bytes = read_file(path);
    const Outcome outcome = run_ingot({"edit", path, "--set", "general.name=Other", "--dry-run"});
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.out,
               ContainsSubstring("Tolstoy 5M → Other") && ContainsSubstring("would be written in place"));
    CHECK(read_file(path) == bytes);
}

TEST_CASE("edit: a new key that looks like one of the file's is noted") {
    const TemporaryFolder folder;
    const std::string path = copy_of_demo(folder);
    const auto notes = [&](const std::string& pair) {
        return run_ingot({"edit", path, "--set", pair, "--dry-run"}).err;
    };
    CHECK_THAT(notes("general.nmae=x"),
               ContainsSubstring("general.nmae is a new key; the file has general.name"));
    CHECK_THAT(notes("lama.context_length=1"), ContainsSubstring("the file has llama.context_length"));
    CHECK(notes("general.name=x") == "");
    CHECK(notes("my.very.own.key=x") == "");
}

TEST_CASE("edit: what does not fit is written anew, and runs as before") {
    const TemporaryFolder folder;
    const std::string path = copy_of_demo(folder), text = folder / "template.jinja";
    const std::string prompt = "The prince";
    const std::string before = run_ingot({"run", path, "-p", prompt, "-n", "12", "--temperature", "0"}).out;
    write_file(text, "{% for m in messages %}" + std::string(20000, 'x') + "{% endfor %}");
    const Outcome outcome = run_ingot({"edit", path, "--chat-template", text});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("as a new file"));
    CHECK(run_ingot({"verify", path}).exit_code == 0);
    CHECK(run_ingot({"run", path, "-p", prompt, "-n", "12", "--temperature", "0"}).out == before);
    CHECK(folder.names().size() == 2);  // nothing else was left
}

TEST_CASE("edit: what would break the model needs --force; wrong values are one error") {
    const TemporaryFolder folder;
    const std::string path = copy_of_demo(folder), text = folder / "template.jinja";
    const std::string bytes = read_file(path);
    write_file(text, "{% if a %}");
    const std::pair<std::vector<std::string>, const char*> cases[] = {
        {{"--set", "llama.attention.head_count=7"}, "could not run the model"},
        {{"--chat-template", text}, "never closed"},
        {{"--set", "llama.context_length=many"}, "is no uint32"},
        {{"--set", "llama.context_length=-1"}, "whole number"},
        {{"--set", "general.name"}, "KEY=VALUE"},
        {{"--set", "x=1", "--type", "int7"}, "is no type"},
        {{"--delete", "absent"}, "is not in the file"},
        {{"--set", "general.alignment=64"}, "general.alignment"},
        {{}, "nothing to change"},
    };
    for (const auto& [arguments, expected] : cases) {
        std::vector<std::string> all = {"edit", path};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const Outcome outcome = run_ingot(all);
        CAPTURE(expected, outcome.err);
        CHECK(outcome.exit_code == 1);
        CHECK_THAT(outcome.err, ContainsSubstring(expected));
        CHECK(read_file(path) == bytes);
    }
    CHECK(run_ingot({"edit", path, "--chat-template", text, "--force"}).exit_code == 0);
}

TEST_CASE("edit: of a split model, the first shard is edited, whichever was given") {
    const TemporaryFolder folder;
    REQUIRE(run_ingot({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "-t", "Q8_0", "-o",
                       folder / "t.gguf", "--split-max-size", "2MB"})
                .exit_code == 0);
    const std::string third = folder / "t-00003-of-00003.gguf";
    const Outcome outcome = run_ingot({"edit", third, "--set", "general.name=Split"});
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("t-00001-of-00003.gguf: written in place"));
    CHECK_THAT(run_ingot({"inspect", third}).out, ContainsSubstring("Split · llama"));
}
