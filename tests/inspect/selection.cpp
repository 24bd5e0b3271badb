#include "inspect/selection.h"

#include "inspect/tokens.h"
#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using namespace ingot::inspect;

namespace {

const std::vector<TensorPlan> kPlans = {{"token_embd.weight", TensorType::Q8_0, {64, 4}},
                                        {"blk.10.attn_q.weight", TensorType::Q4_0, {64, 8}},
                                        {"blk.2.attn_q.weight", TensorType::Q4_0, {64, 2}},
                                        {"blk.2.attn_norm.weight", TensorType::F32, {64}},
                                        {"v.blk.2.attn_q.weight", TensorType::F32, {32}}};

std::vector<std::string_view> names(const std::vector<const TensorInfo*>& tensors) {
    std::vector<std::string_view> result;
    for (const TensorInfo* tensor : tensors) result.push_back(tensor->name);
    return result;
}

using Names = std::vector<std::string_view>;

}  // namespace

TEST_CASE("selection: a pattern is found anywhere in the name, and types are alternatives") {
    const auto bytes = encode_file({}, kPlans);
    const GgufHeader header = GgufHeader::parse(bytes);
    Selection selection;
    CHECK(select(header, selection).size() == 5);
    selection.match.emplace("^blk\\.\\d+\\.attn_q");
    CHECK(names(select(header, selection)) == Names{"blk.10.attn_q.weight", "blk.2.attn_q.weight"});
    Selection typed;
    typed.types = {TensorType::F32, TensorType::Q8_0};
    CHECK(names(select(header, typed)) ==
          Names{"token_embd.weight", "blk.2.attn_norm.weight", "v.blk.2.attn_q.weight"});
}

TEST_CASE("selection: names are sorted as people count, sizes from large to small") {
    const auto bytes = encode_file({}, kPlans);
    const GgufHeader header = GgufHeader::parse(bytes);
    Selection selection;
    selection.order = Order::Name;
    CHECK(names(select(header, selection)) == Names{"blk.2.attn_norm.weight", "blk.2.attn_q.weight",
                                                    "blk.10.attn_q.weight", "token_embd.weight",
                                                    "v.blk.2.attn_q.weight"});
    selection.reverse = true;
    CHECK(select(header, selection).front()->name == "v.blk.2.attn_q.weight");
    selection.order = Order::Size;  // bytes: 272, 288, 72, 256, 128
    selection.reverse = false;
    CHECK(names(select(header, selection)) == Names{"blk.10.attn_q.weight", "token_embd.weight",
                                                    "blk.2.attn_norm.weight", "v.blk.2.attn_q.weight",
                                                    "blk.2.attn_q.weight"});
    selection.order = Order::Type;  // equal types stay in the file's order
    CHECK(names(select(header, selection)) == Names{"blk.2.attn_norm.weight", "v.blk.2.attn_q.weight",
                                                    "token_embd.weight", "blk.10.attn_q.weight",
                                                    "blk.2.attn_q.weight"});
}

TEST_CASE("selection: digits are compared as numbers of any length") {
    CHECK(counts_before("a2", "a10"));
    CHECK_FALSE(counts_before("a10", "a2"));
    CHECK(counts_before("a99999999999999999999998", "a99999999999999999999999"));
    CHECK_FALSE(counts_before("a1", "a1"));
    CHECK(counts_before("a", "a1"));
}

TEST_CASE("blocks: each adds up its tensors; what is in no block of the decoder comes last") {
    const auto bytes = encode_file({}, kPlans);
    const GgufHeader header = GgufHeader::parse(bytes);
    const auto shares = shares_by_block(select(header, {}));
    REQUIRE(shares.size() == 3);
    CHECK(shares[0].block == 2u);
    CHECK(shares[0].n_tensors == 2);
    CHECK(shares[0].n_elements == 64 + 128);
    CHECK(shares[0].size_bytes == 256 + 72);
    REQUIRE(shares[0].types.size() == 2);
    CHECK(shares[0].types[0].type == TensorType::F32);
    CHECK(shares[1].block == 10u);
    CHECK_FALSE(shares[2].block);
    CHECK(shares[2].size_bytes == 272 + 128);
    for (const char* name : {"blk.", "blk.x.a", "blk.7", "blk.99999999999999999999999.a", "blk.-1.a"})
        CHECK_FALSE(block_of(name));
    CHECK(block_of("blk.07.a") == 7u);
}

TEST_CASE("tokens: text, score and kind; lists of another length count as absent") {
    Metadata metadata;
    metadata.set("tokenizer.ggml.tokens", MetadataArray{std::vector<std::string>{"<s>", "a", "b"}});
    metadata.set("tokenizer.ggml.scores", MetadataArray{std::vector<float>{0, -1.5f, -2}});
    metadata.set("tokenizer.ggml.token_type", MetadataArray{std::vector<int32_t>{3, 1, 99}});
    const auto bytes = encode_file(metadata, {});
    const GgufHeader header = GgufHeader::parse(bytes);
    const auto rows = tokens_of(header);
    REQUIRE(rows.size() == 3);
    CHECK(rows[1].id == 1);
    CHECK(rows[1].text == "a");
    CHECK(rows[1].score == -1.5);
    CHECK(rows[0].kind == "control");
    CHECK(rows[2].kind == "");
    metadata.set("tokenizer.ggml.scores", MetadataArray{std::vector<float>{0}});
    metadata.set("tokenizer.ggml.token_type", MetadataArray{std::vector<std::string>{"x", "y", "z"}});
    const auto odd = encode_file(metadata, {});
    const GgufHeader odd_header = GgufHeader::parse(odd);
    const auto odd_rows = tokens_of(odd_header);
    REQUIRE(odd_rows.size() == 3);
    CHECK_FALSE(odd_rows[1].score);
    CHECK(odd_rows[0].kind.empty());
}
