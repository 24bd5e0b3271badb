// Tensors out of torch.save's archives, and rows 49 to 53 of the list of malformed input.
#include "converters/sources/pytorch.h"

#include "converters/rows/tensor_rows.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/pytorch_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;
using namespace ingot::test::pickled;

namespace {

std::span<const std::byte> bytes_of(const std::string& file) {
    return std::as_bytes(std::span(file));
}

std::string error_of(const std::string& file) {
    try {
        parse_pytorch(bytes_of(file), "pytorch_model.bin");
    } catch (const Error& error) {
        CHECK_THAT(error.what(), ContainsSubstring("pytorch_model.bin"));
        return error.what();
    }
    return "accepted";
}

std::string counted(size_t n) {
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = float(i);
    return f32_bytes(values);
}

/// A file with one tensor "w" over a storage of 24 floats, 0 to 23.
std::string one_tensor(const std::string& value) {
    return pytorch_file(program(dict({{"w", value}})), {{"0", counted(24)}});
}
const std::string kStorage = storage("FloatStorage", "0", 24);

std::vector<float> values_of(const std::string& file) {
    const auto tensors = parse_pytorch(bytes_of(file), "pytorch_model.bin");
    REQUIRE(tensors.size() == 1);
    return read_all(*plain_rows(tensors[0]));
}

}  // namespace

TEST_CASE("A tensor is a view of its storage: offset, shape and strides") {
    CHECK(values_of(one_tensor(tensor(kStorage, 2, {2, 3}, {3, 1}))) == std::vector<float>{2, 3, 4, 5, 6, 7});
    // Transposed: (3, 2) over rows of 3.
    CHECK(values_of(one_tensor(tensor(kStorage, 0, {3, 2}, {1, 3}))) == std::vector<float>{0, 3, 1, 4, 2, 5});
    // Every second row and a slice of columns; a permuted stack; an expanded row.
    CHECK(values_of(one_tensor(tensor(kStorage, 1, {2, 2}, {12, 1}))) == std::vector<float>{1, 2, 13, 14});
    CHECK(values_of(one_tensor(tensor(kStorage, 0, {2, 2, 2}, {1, 12, 3}))) ==
          std::vector<float>{0, 3, 12, 15, 1, 4, 13, 16});
    CHECK(values_of(one_tensor(tensor(kStorage, 5, {2, 2}, {0, 1}))) == std::vector<float>{5, 6, 5, 6});
    CHECK(values_of(one_tensor(tensor(kStorage, 23, {}, {}))) == std::vector<float>{23});
    CHECK(values_of(one_tensor(tensor(kStorage, 0, {0, 4}, {4, 1}))).empty());
}

TEST_CASE("Columns of a transposed view are read as columns") {
    const std::string file = one_tensor(tensor(kStorage, 0, {6, 4}, {1, 6}));
    const auto tensors = parse_pytorch(bytes_of(file), "pytorch_model.bin");
    const RowsPtr rows = plain_rows(tensors[0]);
    std::vector<float> values(3 * 2);
    rows->read_columns(2, 3, 1, 2, values.data());
    CHECK(values == std::vector<float>{8, 14, 9, 15, 10, 16});
}

TEST_CASE("Tensors may share a storage, be parameters, and stand in the dict of a trainer") {
    const std::string parameter = global("torch._utils", "_rebuild_parameter") + "(" +
                                  tensor(kStorage, 0, {2}, {1}) + "\x88" +
                                  global("collections", "OrderedDict") + ")RtR";
    const std::string typed = global("torch._utils", "_rebuild_tensor_v3") + "((" + text("storage") +
                              global("torch.storage", "UntypedStorage") + text("1") + text("cpu") +
                              integer(4) + "tQ" + integer(1) + tuple({3}) + tuple({1}) + "\x89" +
                              global("collections", "OrderedDict") + ")R" + global("torch", "float8_e4m3fn") +
                              "tR";
    const std::string weights =
        dict({{"a", parameter}, {"b", tensor(kStorage, 1, {2}, {1})}, {"step", integer(7)}, {"c", typed}});
    const std::string file = pytorch_file(program(dict({{"epoch", integer(3)}, {"state_dict", weights}})),
                                          {{"0", counted(24)}, {"1", "abcd"}});
    const auto tensors = parse_pytorch(bytes_of(file), "pytorch_model.bin");
    REQUIRE(tensors.size() == 3);
    CHECK(tensors[0].name == "a");
    CHECK(tensors[1].name == "b");
    CHECK(tensors[1].data.data() == tensors[0].data.data() + 4);
    CHECK(tensors[2].name == "c");
    CHECK(tensors[2].unreadable == "F8_E4M3");
    CHECK(tensors[2].data.size() == 3);
}

TEST_CASE("A global that is not on the list is refused by name, wherever it stands") {  // row 49
    const std::string call = "(" + text("true") + "tR";
    CHECK_THAT(error_of(one_tensor(global("os", "system") + call)), ContainsSubstring("\"os.system\""));
    CHECK_THAT(error_of(one_tensor(global("builtins", "eval") + call)),
               ContainsSubstring("\"builtins.eval\""));
    CHECK_THAT(error_of(one_tensor(text("nt") + text("system") + "\x93" + call)),
               ContainsSubstring("\"nt.system\""));
    // Close to the list is not on it; nor is a name that reaches further inside.
    CHECK_THAT(error_of(one_tensor(global("torch", "_utils._rebuild_tensor_v2") + call)),
               ContainsSubstring("refused"));
    CHECK_THAT(error_of(one_tensor(global("torch.storage", "_load_from_bytes") + call)),
               ContainsSubstring("\"torch.storage._load_from_bytes\""));
    CHECK_THAT(error_of(one_tensor(global("torch._utils", "_rebuild_sparse_tensor") + call)),
               ContainsSubstring("_rebuild_sparse_tensor"));
    // Before the tensors and after them, even when the result is thrown away.
    CHECK_THAT(error_of(pytorch_file(program(global("os", "system") + call + "0" + dict({})), {})),
               ContainsSubstring("\"os.system\""));
    CHECK_THAT(error_of(one_tensor("i"
                                   "os\nsystem\n")),
               ContainsSubstring("operation 0x69"));
    CHECK_THAT(error_of(one_tensor(global("collections", "OrderedDict") + ")\x81")),
               ContainsSubstring("operation 0x81"));
}

TEST_CASE("What only names a type cannot be called") {
    CHECK_THAT(error_of(one_tensor(global("torch", "FloatStorage") + ")R")), ContainsSubstring("is called"));
    CHECK_THAT(error_of(one_tensor(global("torch", "Tensor") + ")R")), ContainsSubstring("is called"));
    CHECK_THAT(error_of(one_tensor(text("os.system") + ")R")), ContainsSubstring("no function"));
}

TEST_CASE("A storage of another size than its record is refused") {  // row 50
    for (const uint64_t n : {uint64_t(23), uint64_t(25), uint64_t(1) << 40}) {
        CHECK_THAT(error_of(one_tensor(tensor(storage("FloatStorage", "0", n), 0, {4}, {1}))),
                   ContainsSubstring("has 96"));
    }
    CHECK_THAT(error_of(one_tensor(tensor(storage("FloatStorage", "0", uint64_t(1) << 62), 0, {4}, {1}))),
               ContainsSubstring("a storage of"));
    CHECK_THAT(error_of(one_tensor(tensor(storage("FloatStorage", "7", 24), 0, {4}, {1}))),
               ContainsSubstring("which the archive lacks"));
}

TEST_CASE("A view that leaves its storage is refused, whatever overflows") {
    const uint64_t huge = uint64_t(1) << 62;
    for (const std::string& view :
         {tensor(kStorage, 0, {25}, {1}), tensor(kStorage, 21, {4}, {1}), tensor(kStorage, 25, {1}, {1}),
          tensor(kStorage, 0, {2, 3}, {22, 1}), tensor(kStorage, huge, {4}, {1}),
          tensor(kStorage, 0, {huge, 8}, {8, 1}), tensor(kStorage, 0, {3, 3}, {huge, huge}),
          tensor(kStorage, 0, {2, huge, huge}, {0, 0, 0})}) {
        CHECK_THAT(error_of(one_tensor(view)), ContainsSubstring("does not fit"));
    }
    CHECK_THAT(error_of(one_tensor(tensor(kStorage, 0, {1000, 1000}, {0, 0}))),
               ContainsSubstring("more elements than"));
    CHECK_THAT(error_of(one_tensor(tensor(kStorage, 0, {2}, {1, 1}))),
               ContainsSubstring("1 dimensions but 2"));
    CHECK_THAT(error_of(one_tensor(tensor(kStorage, UINT64_MAX, {2}, {1}))),
               ContainsSubstring("no whole number"));
}

TEST_CASE("The form is decided by the content, and older ones are refused with a word") {  // row 51
    CHECK_THAT(error_of("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19."),
               ContainsSubstring("before version 1.6"));
    std::string tar(1024, '\0');
    tar.replace(257, 5, "ustar");
    CHECK_THAT(error_of(tar), ContainsSubstring("tar archive"));
    CHECK_THAT(error_of("version https://git-lfs.github.com/spec/v1\n"), ContainsSubstring("Git LFS"));
    CHECK_THAT(error_of(""), ContainsSubstring("neither"));
    const std::string good = one_tensor(tensor(kStorage, 0, {4}, {1}));
    CHECK(error_of(good) == "accepted");
    CHECK_THAT(error_of(good + "tail"), ContainsSubstring("no directory"));
    CHECK_THAT(error_of(zip_file({{"a/readme", "text"}})), ContainsSubstring("without data.pkl"));
    CHECK_THAT(error_of(zip_file({{"a/data.pkl", "."}, {"b/data.pkl", "."}})),
               ContainsSubstring("two pickles"));
    CHECK_THAT(error_of(zip_file({{"a/data.pkl", "."}, {"a/constants.pkl", "."}})),
               ContainsSubstring("TorchScript"));
    CHECK_THAT(error_of(zip_file({{"a/data.pkl", "."}, {"a/byteorder", "big"}})),
               ContainsSubstring("\"big\""));
}

TEST_CASE("A file cut anywhere is refused") {
    const std::string good = one_tensor(tensor(kStorage, 0, {4}, {1}));
    for (size_t n = 0; n < good.size(); ++n) REQUIRE(error_of(good.substr(0, n)) != "accepted");
}

TEST_CASE("Headers of a record that disagree are refused, and bad checksums") {  // row 52
    const std::string pickle = program(dict({{"w", tensor(kStorage, 0, {4}, {1})}}));
    const auto file = [&](const std::function<void(ZipEntry&)>& change, size_t entry = 1) {
        std::vector<ZipEntry> entries{{"a/data.pkl", pickle}, {"a/data/0", counted(24)}};
        change(entries[entry]);
        return zip_file(entries);
    };
    CHECK(error_of(file([](ZipEntry&) {})) == "accepted");
    CHECK_THAT(error_of(file([](ZipEntry& e) { e.local_name = "a/data/1"; })),
               ContainsSubstring("own header"));
    CHECK_THAT(error_of(file([](ZipEntry& e) { e.flags = 1; })), ContainsSubstring("encrypted"));
    CHECK_THAT(error_of(file([](ZipEntry& e) { e.crc_error = 1; }, 0)), ContainsSubstring("damaged"));
    std::string flags = file([](ZipEntry&) {});
    flags[6] = 4;  // of the first local header only
    CHECK_THAT(error_of(flags), ContainsSubstring("own header"));
    std::string size = file([](ZipEntry&) {});
    size[18] = char(size[18] + 1);
    CHECK_THAT(error_of(size), ContainsSubstring("own header"));
    // Of the tensors' records the checksum is compared on request.
    const std::string damaged = file([](ZipEntry& e) { e.crc_error = 1; });
    CHECK(error_of(damaged) == "accepted");
    CHECK_THROWS_WITH(check_pytorch_checksums(bytes_of(damaged), "x.bin"), ContainsSubstring("a/data/0"));
    CHECK_NOTHROW(check_pytorch_checksums(bytes_of(file([](ZipEntry&) {})), "x.bin"));
}

TEST_CASE("Compressed, overlapping and misplaced records are refused") {  // row 53
    CHECK_THAT(error_of(zip_file({{"a/data.pkl", "bomb", 0, 8}})), ContainsSubstring("compressed (method 8"));
    const std::string good = zip_file({{"a/data.pkl", "."}, {"a/data/0", "12345678"}});
    CHECK_THAT(error_of("#!sh" + good), ContainsSubstring("neither"));
    // The second entry's offset points at the first record.
    std::string overlapping = zip_file({{"a/data.pkl", "."}, {"a/data.pkl", "."}});
    CHECK_THAT(error_of(overlapping), ContainsSubstring("appears twice"));
    std::string shifted = good;
    const size_t second = shifted.rfind("PK\x01\x02");
    shifted[second + 42] = char(shifted[second + 42] + 1);
    CHECK_THAT(error_of(shifted), ContainsSubstring("no header at byte"));
    // The number of records, the directory's size and its place, each far too large.
    for (const size_t at : {10u, 12u, 16u}) {
        std::string wrong = good;
        wrong.replace(wrong.size() - 22 + at, 2, "\xf0\xff");
        CHECK_THAT(error_of(wrong), ContainsSubstring("does not fit") || ContainsSubstring("split over"));
    }
}

TEST_CASE("An archive whose numbers take 64 bits is read") {
    const std::string pickle = program(dict({{"w", tensor(kStorage, 3, {2}, {1})}}));
    std::vector<ZipEntry> entries{{"a/data.pkl", pickle}, {"a/data/0", counted(24)}};
    for (ZipEntry& entry : entries) entry.zip64 = true;
    CHECK(values_of(zip_file(entries)) == std::vector<float>{3, 4});
    std::string wrong = zip_file(entries);
    wrong.replace(wrong.rfind("PK\x06\x07") + 8, 8, little_endian(UINT64_MAX - 20));
    CHECK_THAT(error_of(wrong), ContainsSubstring("zip64 end record"));
}

TEST_CASE("Malformed pickles end in an error") {
    const auto error = [](const std::string& pickle) { return error_of(pytorch_file(pickle, {})); };
    CHECK_THAT(error(""), ContainsSubstring("bytes are wanted"));
    CHECK_THAT(error("."), ContainsSubstring("0 values are left"));
    CHECK_THAT(error("\x80\x01}."), ContainsSubstring("protocol 1"));
    CHECK_THAT(error("\x80\x02}}."), ContainsSubstring("2 values are left"));
    CHECK_THAT(error("\x80\x02X\xff\xff\xff\xff."), ContainsSubstring("bytes are wanted"));
    CHECK_THAT(error("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), ContainsSubstring("bytes are wanted"));
    CHECK_THAT(error("\x80\x02\x8b\xff\xff\xff\xff."), ContainsSubstring("a number of"));
    CHECK_THAT(error("\x80\x02h\x05."), ContainsSubstring("nothing was remembered as 5"));
    CHECK_THAT(error("\x80\x02t."), ContainsSubstring("no mark"));
    CHECK_THAT(error("\x80\x02(0a."), ContainsSubstring("nothing is on the stack"));
    CHECK_THAT(error("\x80\x02}Na."), ContainsSubstring("a list was expected"));
    CHECK_THAT(error("\x80\x02}(Nu."), ContainsSubstring("a key without a value"));
    CHECK_THAT(error("\x80\x02"
                     "cos\n"),
               ContainsSubstring("no end of the line"));
    CHECK_THAT(error("\x80\x02X\x01" + std::string(3, '\0') + "\xff."), ContainsSubstring("not UTF-8"));
    CHECK_THAT(error("\x80\x02" + std::string(1 << 17, '(') + "."), ContainsSubstring("on the stack"));
    std::string many = "\x80\x02";
    for (int i = 0; i < 600'000; ++i) many += "N0";
    CHECK_THAT(error(many + "}."), ContainsSubstring("more than 524288 values"));
    CHECK_THAT(error(program("N")), ContainsSubstring("found no dict"));
    CHECK_THAT(error(program(dict({}))), ContainsSubstring("an empty dict"));
    CHECK_THAT(error(program(dict({{"optimizer", integer(1)}}))), ContainsSubstring("found optimizer"));
    // A dict that holds itself.
    CHECK_THAT(error("\x80\x02}q\x01" + text("model") + "h\x01s."), ContainsSubstring("no tensors by name"));
}

TEST_CASE("A folder of PyTorch files is a checkpoint; safetensors go first") {
    const TemporaryFolder folder;
    write_file(folder / "pytorch_model.bin", one_tensor(tensor(kStorage, 0, {4}, {1})));
    auto checkpoint = open_checkpoint(folder.path().string());
    CHECK(checkpoint->format() == "pytorch");
    CHECK(checkpoint->tensors().size() == 1);
    CHECK(checkpoint->tensors()[0].file == checkpoint->files()[0]);
    CHECK_NOTHROW(checkpoint->check_contents());
    CHECK(open_weights_file(folder / "pytorch_model.bin")->format() == "pytorch");
    write_file(folder / "model.safetensors", safetensors_file({random_tensor("w", {2, 2})}));
    CHECK(open_checkpoint(folder.path().string())->format() == "safetensors");
    CHECK(open_weights_file(folder / "model.safetensors")->format() == "safetensors");
}

TEST_CASE("Shards of PyTorch files are found through their index") {
    const TemporaryFolder folder;
    const auto shard = [](const std::string& name) {
        return pytorch_file(program(dict({{name, tensor(kStorage, 0, {4}, {1})}})), {{"0", counted(24)}});
    };
    write_file(folder / "pytorch_model-00001-of-00002.bin", shard("a"));
    write_file(
        folder / "pytorch_model.bin.index.json",
        R"({"weight_map":{"a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin"}})");
    CHECK_THROWS_WITH(open_checkpoint(folder.path().string()),
                      ContainsSubstring("pytorch_model-00002-of-00002.bin; download"));
    write_file(folder / "pytorch_model-00002-of-00002.bin", shard("b"));
    CHECK(open_checkpoint(folder.path().string())->tensors().size() == 2);
}
