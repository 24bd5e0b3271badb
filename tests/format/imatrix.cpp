#include "format/imatrix.h"

#include <limits>

#include "format/gguf.h"
#include "tests/catch.h"
#include "tests/files.h"
#include "tests/format/gguf_bytes.h"

namespace ingot::test {
namespace {

/// The older form, field by field.
class OldBytes {
  public:
    OldBytes& i32(int32_t value) {
        bytes_.u32(uint32_t(value));
        return *this;
    }
    OldBytes& text(std::string_view text) {
        i32(int32_t(text.size()));
        bytes_.text(text);
        return *this;
    }
    OldBytes& entry(std::string_view tensor, int32_t n_chunks, const std::vector<float>& values) {
        text(tensor).i32(n_chunks).i32(int32_t(values.size()));
        for (const float value : values) bytes_.f32(value);
        return *this;
    }
    std::vector<std::byte> bytes() const { return bytes_.bytes(); }

  private:
    GgufBytes bytes_;
};

/// Sums of one tensor and its counts as GGUF, in shapes and types as told.
struct GgufParts {
    std::string type = "imatrix";
    std::string sums_name = "w.in_sum2", counts_name = "w.counts";
    uint32_t element_type = 0;  // F32
    std::vector<float> sums{1, 4, 9, 16, 25, 36};
    uint64_t n_columns = 3;
    std::vector<float> counts{2, 4};

    std::vector<std::byte> bytes() const {
        GgufBytes file(2, 1);
        file.key("general.type", ValueType::String).string(type);
        file.tensor(sums_name, {n_columns, sums.size() / n_columns}, element_type, 0);
        file.tensor(counts_name, {1, counts.size()}, 0, 32);
        file.pad();
        for (const float value : sums) file.f32(value);
        file.pad();
        for (const float value : counts) file.f32(value);
        file.pad();
        return file.bytes();
    }
};

void check_refused(const std::vector<std::byte>& bytes, const std::string& part) {
    INFO(part);
    CHECK_THROWS_WITH(ImportanceMatrix::parse(bytes), ContainsSubstring(part));
}

}  // namespace

TEST_CASE("an importance matrix in GGUF has sums and a count for each matrix", "[imatrix]") {
    const ImportanceMatrix matrix = ImportanceMatrix::parse(GgufParts{}.bytes());
    const ImportanceEntry* entry = matrix.find("w");
    REQUIRE(entry);
    CHECK(matrix.entries().size() == 1);
    CHECK(entry->counts == std::vector<uint64_t>{2, 4});
    CHECK(entry->mean_squares() == std::vector<float>{0.5f, 2, 4.5f, 4, 6.25f, 9});
    CHECK(entry->fits(3, 2));
    CHECK_FALSE(entry->fits(2, 3));
    CHECK_FALSE(entry->fits(6, 1));
    CHECK_FALSE(entry->fits(uint64_t(1) << 63, 4));
    CHECK(matrix.find("v") == nullptr);
}

TEST_CASE("a matrix that had no input has no mean squares", "[imatrix]") {
    GgufParts parts;
    parts.sums = {0, 0, 0, 16, 25, 36};
    parts.counts = {0, 4};
    const ImportanceMatrix matrix = ImportanceMatrix::parse(parts.bytes());
    CHECK(matrix.find("w")->mean_squares() == std::vector<float>{0, 0, 0, 4, 6.25f, 9});
}

TEST_CASE("one count holds for the rows of several matrices", "[imatrix]") {
    GgufParts parts;
    parts.n_columns = 6;
    parts.counts = {2};
    const ImportanceMatrix matrix = ImportanceMatrix::parse(parts.bytes());
    CHECK(matrix.find("w")->fits(3, 2));
    CHECK(matrix.find("w")->fits(6, 1));
    CHECK(matrix.find("w")->mean_squares() == std::vector<float>{0.5f, 2, 4.5f, 8, 12.5f, 18});
}

TEST_CASE("the older form of an importance matrix holds means times chunks", "[imatrix]") {
    const auto bytes = OldBytes()
                           .i32(2)
                           .entry("blk.0.w", 4, {2, 6})
                           .entry("v", 0, {3})
                           .i32(5)
                           .text("war-and-peace.txt")
                           .bytes();
    const ImportanceMatrix matrix = ImportanceMatrix::parse(bytes);
    CHECK(matrix.find("blk.0.w")->mean_squares() == std::vector<float>{0.5f, 1.5f});
    CHECK(matrix.find("blk.0.w")->counts == std::vector<uint64_t>{4 * 512});
    CHECK(matrix.find("v")->mean_squares() == std::vector<float>{3});
    CHECK(matrix.n_chunks == 5);
    CHECK(matrix.chunk_size == 512);
    CHECK(matrix.datasets == std::vector<std::string>{"war-and-peace.txt"});

    // The first versions ended after the entries.
    const ImportanceMatrix first = ImportanceMatrix::parse(OldBytes().i32(1).entry("w", 1, {2}).bytes());
    CHECK(first.n_chunks == 0);
    CHECK(first.find("w")->mean_squares() == std::vector<float>{2});
}

TEST_CASE("what is written is read back, and the bytes are those of SPEC.md", "[imatrix]") {
    const TemporaryFolder folder;
    ImportanceMatrix matrix;
    matrix.datasets = {"a.txt", "b.txt"};
    matrix.n_chunks = 7;
    matrix.chunk_size = 256;
    matrix.add("w", {{1, 4, 9, 16, 25, 36}, {2, 4}});
    matrix.add("b", {{5, 6, 7}, {8}});
    matrix.write(folder / "m.gguf", false);
    CHECK(folder.names() == std::vector<std::string>{"m.gguf"});

    const GgufFile file(folder / "m.gguf");
    REQUIRE(file.header().tensors().size() == 4);
    CHECK(file.header().tensors()[0].name == "b.in_sum2");
    CHECK(file.header().tensors()[1].name == "b.counts");
    CHECK(file.header().tensors()[2].name == "w.in_sum2");
    CHECK(file.header().tensors()[2].shape == std::array<uint64_t, 4>{3, 2, 1, 1});
    CHECK(file.header().tensors()[3].shape == std::array<uint64_t, 4>{1, 2, 1, 1});
    CHECK(file.header().require_string("general.type") == "imatrix");

    const ImportanceMatrix again = ImportanceMatrix::read(folder / "m.gguf");
    CHECK(again.datasets == matrix.datasets);
    CHECK(again.n_chunks == 7);
    CHECK(again.chunk_size == 256);
    REQUIRE(again.entries().size() == 2);
    CHECK(again.find("w")->sums == matrix.find("w")->sums);
    CHECK(again.find("w")->counts == matrix.find("w")->counts);
    CHECK_THROWS_WITH(matrix.write(folder / "m.gguf", false), ContainsSubstring("m.gguf"));
}

TEST_CASE("importance matrices add up as though their texts had been one", "[imatrix]") {
    ImportanceMatrix a, b;
    a.datasets = {"a.txt"};
    a.n_chunks = 4;
    a.chunk_size = 512;
    a.add("w", {{1, 2, 3, 4}, {10, 20}});
    a.add("only.a", {{1}, {1}});
    b.datasets = {"b.txt"};
    b.n_chunks = 6;
    b.chunk_size = 256;
    b.add("w", {{10, 20, 30, 40}, {5}});  // one count for both rows
    b.add("only.b", {{2}, {1}});
    a.add(b);
    CHECK(a.datasets == std::vector<std::string>{"a.txt", "b.txt"});
    CHECK(a.n_chunks == 4 + 3);  // in chunks of 512
    CHECK(a.find("w")->sums == std::vector<float>{11, 22, 33, 44});
    CHECK(a.find("w")->counts == std::vector<uint64_t>{15, 25});
    CHECK(a.find("only.a")->sums == std::vector<float>{1});
    CHECK(a.find("only.b")->sums == std::vector<float>{2});

    // The other way round, the single count is spread.
    ImportanceMatrix c;
    c.add("w", {{1, 1, 1, 1}, {5}});
    c.add("w", {{1, 1, 1, 1}, {1, 2}});
    CHECK(c.find("w")->counts == std::vector<uint64_t>{6, 7});
}

TEST_CASE("importance of another shape cannot be added", "[imatrix]") {
    ImportanceMatrix matrix;
    matrix.add("w", {{1, 2, 3, 4}, {1, 1}});
    CHECK_THROWS_WITH(matrix.add("w", {{1, 2}, {1}}), ContainsSubstring("of different models"));
    CHECK_THROWS_WITH(matrix.add("w", {{1, 2, 3, 4}, {1, 1, 1, 1}}), ContainsSubstring("w: 4 sums"));
    const float huge = std::numeric_limits<float>::max();
    matrix.add("v", {{huge}, {1}});
    CHECK_THROWS_WITH(matrix.add("v", {{huge}, {1}}), ContainsSubstring("sum 0 is inf"));
}

TEST_CASE("a model is no importance matrix", "[imatrix]") {
    GgufParts parts;
    parts.type = "model";
    check_refused(parts.bytes(), "general.type is \"model\"; expected \"imatrix\"");
    check_refused(GgufBytes(0, 0).pad().bytes(), "general.type is \"\"");
    check_refused(GgufBytes(0, 1).key("general.type", ValueType::String).string("imatrix").pad().bytes(),
                  "holds no entries");
}

TEST_CASE("sums without counts, and counts without sums", "[imatrix]") {
    GgufParts parts;
    parts.counts_name = "v.counts";
    check_refused(parts.bytes(), "tensor w.in_sum2 has no w.counts beside it");
    parts.sums_name = "w.in_sum";  // not known, left alone
    check_refused(parts.bytes(), "tensor v.counts has no v.in_sum2 beside it");
}

TEST_CASE("counts that do not fit the rows of the sums", "[imatrix]") {
    GgufParts parts;
    parts.counts = {1, 2, 3};
    check_refused(parts.bytes(), "w: has sums of 2 rows of 3, but 3 counts; expected a count for each row");
    parts.counts = {1, 2, 3, 4};
    check_refused(parts.bytes(), "but 4 counts");
}

TEST_CASE("sums and counts that are no numbers of squares", "[imatrix]") {
    for (const float bad : {-1.0f, INFINITY, NAN}) {
        GgufParts parts;
        parts.sums[4] = bad;
        check_refused(parts.bytes(), "w: sum 4 is");
        parts = {};
        parts.counts[1] = bad;
        check_refused(parts.bytes(), "w: count 1 is");
        check_refused(OldBytes().i32(1).entry("w", 1, {1, bad}).bytes(), "w: value 1 is");
    }
    GgufParts parts;
    parts.counts[0] = 1e30f;
    check_refused(parts.bytes(), "expected at most 2^53");
    parts = {};
    parts.element_type = 26;  // I32, as wide
    check_refused(parts.bytes(), "tensor w.in_sum2: type is I32; expected F32");
}

TEST_CASE("an importance matrix of the older form, cut off at every byte", "[imatrix]") {
    const auto whole =
        OldBytes().i32(2).entry("blk.0.w", 4, {2, 6}).entry("v", 1, {3}).i32(5).text("t").bytes();
    const size_t end_of_entries = whole.size() - 4 - 5;
    for (size_t size = 0; size < whole.size(); ++size) {
        const std::vector<std::byte> cut(whole.begin(), whole.begin() + long(size));
        INFO(size);
        if (size == end_of_entries || size == whole.size() - 5) {
            CHECK_NOTHROW(ImportanceMatrix::parse(cut));  // a file of the first versions; no text named
        } else {
            CHECK_THROWS_WITH(ImportanceMatrix::parse(cut), ContainsSubstring("incomplete"));
        }
    }
    auto longer = whole;
    longer.push_back({});
    check_refused(longer, "1 bytes behind the end");
}

TEST_CASE("an importance matrix of the older form whose numbers lie", "[imatrix]") {
    check_refused(OldBytes().i32(0).bytes(), "the number of entries is 0; expected 1 or more");
    check_refused(OldBytes().i32(-7).bytes(), "the number of entries is -7");
    check_refused(OldBytes().i32(2147483647).bytes(), "2,147,483,647 entries");
    check_refused(OldBytes().i32(1).i32(-1).bytes(), "a length is -1");
    check_refused(OldBytes().i32(1).i32(2147483647).bytes(), "a tensor's name takes 2,147,483,647 bytes");
    check_refused(OldBytes().i32(1).text("").i32(1).i32(1).bytes(), "has no tensor's name");
    check_refused(OldBytes().i32(1).text("\xff").i32(1).i32(1).bytes(), "has no tensor's name");
    check_refused(OldBytes().i32(1).text("w").i32(-1).i32(1).bytes(), "a number of chunks is -1");
    check_refused(OldBytes().i32(1).text("w").i32(1).i32(0).bytes(), "a number of values is 0");
    check_refused(OldBytes().i32(1).text("w").i32(1).i32(2147483647).bytes(), "values takes 8,589,934,588");
    check_refused(OldBytes().i32(2).entry("w", 1, {1}).entry("w", 1, {1}).bytes(), "w: has two entries");
}

TEST_CASE("a hostile importance matrix takes little memory", "[imatrix]") {
    OldBytes file;
    constexpr int kEntries = 200'000;
    file.i32(kEntries);
    for (int i = 0; i < kEntries - 1; ++i) file.entry(fmt::format("{:x}", i), 1, {1});
    file.i32(1 << 30);
    const auto bytes = file.bytes();
    const uint64_t before = allocated_bytes();
    check_refused(bytes, "incomplete");
    CHECK(allocated_bytes() - before < (uint64_t(64) << 20) + 4 * bytes.size());
}

}  // namespace ingot::test
