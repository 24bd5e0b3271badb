// ingot inspect --html, and files behind URLs, as far as both can be tested without a browser and a network.
#include "tests/catch.h"
#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

size_t count(const std::string& text, const std::string& part) {
    size_t n = 0;
    for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++n;
    return n;
}

}  // namespace

TEST_CASE("inspect --html: one page that names no address; texts of the file cannot leave their element") {
    const TemporaryFolder folder;
    const std::string model = folder / "t.gguf", page = folder / "page.html";
    std::filesystem::copy_file(demo_model("Q4_0"), model);
    const std::string hostile = "</script><script>alert(1)</script><!--";
    REQUIRE(run_ingot({"edit", model, "--set", "general.description=" + hostile}).exit_code == 0);
    const Outcome outcome =
        run_ingot({"inspect", model, "--html", page, "--histograms", "--reference", demo_model("F32")});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    const std::string text = read_file(page);
    CHECK(text.starts_with("<!doctype html>"));
    CHECK(text.ends_with("</html>\n"));
    CHECK(count(text, "</script>") == 2);
    CHECK(count(text, "<script") == 2);
    CHECK(count(text, "<!--") == 0);
    CHECK(count(text, "src=") == 0);
    CHECK(count(text, "http://") == 1);  // the name of SVG's elements
    CHECK_THAT(text, ContainsSubstring("\\u003c/script>") && ContainsSubstring("\"blk.3.ffn_up.weight\"") &&
                         ContainsSubstring("\"snr\"") && ContainsSubstring("\"deviation\""));
    CHECK(run_ingot({"inspect", model, "--html", page}).exit_code == 1);  // it is there
    CHECK(run_ingot({"inspect", model, "--html", page, "--force"}).exit_code == 0);
}

TEST_CASE("inspect: a URL where nobody listens, and a protocol that is none, are one error") {
    for (const char* url :
         {"http://127.0.0.1:1/model.gguf", "https://127.0.0.1:1/model.gguf", "ftp://127.0.0.1/x.gguf"}) {
        const Outcome outcome = run_ingot({"inspect", url});
        CAPTURE(url, outcome.err);
        CHECK(outcome.exit_code == 1);
        CHECK_THAT(outcome.err, ContainsSubstring(std::string("ingot: error: ") + url));
        CHECK(count(outcome.err, "\n") == 1);
    }
}

TEST_CASE("edit --recover: nothing to finish where nothing was cut short") {
    CHECK_THAT(run_ingot({"edit", demo_model("Q4_0"), "--recover"}).out,
               ContainsSubstring("nothing to finish"));
}
