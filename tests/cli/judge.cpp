// imatrix, --imatrix, --kl-divergence and measure, as a user calls them, on the demo model.
#include <filesystem>

#include "tests/cli/process.h"

using namespace ingot::test;

namespace {

const std::string kText = INGOT_SOURCE_DIR "/README.md";

Outcome succeed(const std::vector<std::string>& arguments) {
    const Outcome outcome = run_ingot(arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome;
}

}  // namespace

TEST_CASE("an importance matrix is measured, merged, and quantized with") {
    const TemporaryFolder folder;
    const std::string a = folder / "a.gguf", b = folder / "b.gguf", sum = folder / "sum.gguf";
    const Outcome one =
        succeed({"imatrix", demo_model(), "-f", kText, "--chunks", "2", "-o", a, "--threads", "1"});
    CHECK_THAT(one.out, ContainsSubstring("43 tensors") && ContainsSubstring("2 chunks of 256 tokens"));
    succeed({"imatrix", demo_model(), "-f", kText, "--chunks", "2", "-o", b, "--threads", "2"});
    CHECK(read_file(a) == read_file(b));
    const Outcome merged = succeed({"imatrix", "--in", a, "--in", b, "-o", sum});
    CHECK_THAT(merged.out, ContainsSubstring("4 chunks of 256 tokens"));
    CHECK(run_ingot({"imatrix", "--in", a, "-o", sum}).exit_code == 1);  // it exists already
    succeed({"verify", sum});

    const std::string plain = folder / "plain.gguf", with = folder / "with.gguf";
    succeed({"quantize", demo_model(), "-t", "Q4_0", "-o", plain});
    const Outcome outcome = succeed({"quantize", demo_model(), "-t", "Q4_0", "-o", with, "--imatrix", sum});
    CHECK_THAT(outcome.out, ContainsSubstring("of 43 tensors, from " + sum));
    CHECK(outcome.err.empty());
    CHECK(read_file(plain) != read_file(with));

    const Outcome other = run_ingot(
        {"quantize", demo_model(), "-t", "Q4_0", "-o", folder / "no.gguf", "--imatrix", demo_model()});
    CHECK(other.exit_code == 1);
    CHECK_THAT(other.err, ContainsSubstring("general.type is \"model\"; expected \"imatrix\""));
    CHECK_FALSE(std::filesystem::exists(folder / "no.gguf"));
}

TEST_CASE("imatrix needs a model, or matrices to add") {
    const TemporaryFolder folder;
    CHECK(run_ingot({"imatrix", "-o", folder / "m.gguf"}).exit_code == 2);
    CHECK(run_ingot({"imatrix", "-f", kText, "-o", folder / "m.gguf"}).exit_code == 2);
    CHECK(folder.names().empty());
}

TEST_CASE("a model is compared with the predictions of another") {
    const TemporaryFolder folder;
    const std::string reference = folder / "reference.gguf", text = folder / "text";
    write_file(text, read_file(kText).substr(0, 4000));
    const Outcome saved =
        succeed({"perplexity", demo_model(), "-f", text, "--save-reference", reference, "--top-k", "64"});
    CHECK_THAT(saved.out, ContainsSubstring("perplexity"));
    const Outcome same = succeed({"perplexity", demo_model(), "--kl-divergence", reference});
    CHECK_THAT(same.out, ContainsSubstring("0.000000 ± 0.000000 nats") &&
                             ContainsSubstring("100.00 ± 0.00 %") && ContainsSubstring("1.00000 ± 0.00000"));
    const Outcome other = succeed({"perplexity", demo_model("Q4_0"), "--kl-divergence", reference, "--json"});
    for (const char* member : {"\"mean\": 0.", "\"percentile_99\"", "\"top_k\": 64", "\"standard_error\""})
        CHECK_THAT(other.out, ContainsSubstring(member));
    CHECK(run_ingot({"perplexity", demo_model(), "--kl-divergence", reference, "-f", text}).exit_code == 2);
    const Outcome wrong = run_ingot({"perplexity", demo_model(), "--kl-divergence", demo_model()});
    CHECK(wrong.exit_code == 1);
    CHECK_THAT(wrong.err, ContainsSubstring("--save-reference writes"));
}

TEST_CASE("the weights of two files are measured, tensor by tensor") {
    const Outcome same = succeed({"measure", demo_model(), demo_model()});
    CHECK_THAT(same.out, ContainsSubstring("all of 56 tensors") && ContainsSubstring("exact"));
    const Outcome other = succeed({"measure", demo_model(), demo_model("Q4_0"), "--json"});
    for (const char* member :
         {"\"ingot_measure\": 1", "\"rmse\"", "\"signal_to_noise_db\"", "\"cosine\": 0.99"})
        CHECK_THAT(other.out, ContainsSubstring(member));
    const TemporaryFolder folder;
    succeed({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "--vocab-only", "-o", folder / "v.gguf"});
    const Outcome none = run_ingot({"measure", demo_model(), folder / "v.gguf"});
    CHECK(none.exit_code == 1);
    CHECK_THAT(none.out, ContainsSubstring("only in the first"));
}
