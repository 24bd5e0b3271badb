// A model over several files: found from any of them, refused when they do not belong together.
#include "format/gguf_model.h"

#include <ctime>
#include <functional>

#include "format/error.h"
#include "format/gguf_writer.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::test;
namespace fs = std::filesystem;

namespace {

using Names = std::vector<std::string>;

/// What one shard holds, as gguf-split of llama.cpp writes it: split.no and split.count as uint16,
/// split.tensors.count as int32, all other metadata in the first.
struct Shard {
    Metadata metadata;
    std::vector<TensorPlan> tensors;

    Shard(uint64_t number, uint64_t n_shards, uint64_t n_tensors, const Names& names) {
        if (number == 0) metadata.set("general.architecture", "llama");
        if (number == 0) metadata.set("general.name", "Split");
        metadata.set("split.no", uint16_t(number));
        metadata.set("split.count", uint16_t(n_shards));
        metadata.set("split.tensors.count", int32_t(n_tensors));
        for (const std::string& name : names) tensors.push_back({name, TensorType::F32, {4, 2}});
    }

    /// Every byte of a tensor is the first letter of its name.
    void write(const std::string& path) const {
        const GgufLayout layout(metadata, tensors);
        const std::vector<std::byte> header = layout.encode_header();
        std::string bytes(reinterpret_cast<const char*>(header.data()), header.size());
        bytes.resize(layout.file_size_bytes());
        for (const TensorPlan& tensor : layout.tensors())
            bytes.replace(tensor.offset, tensor.size_bytes, tensor.size_bytes, tensor.name[0]);
        write_file(path, bytes);
    }
};

struct Files {
    TemporaryFolder folder;

    std::string path(uint64_t number, uint64_t n_shards) const {
        return folder / shard_name("model", number, n_shards);
    }
    std::vector<Shard> shards(const std::vector<Names>& names) const {
        uint64_t n_tensors = 0;
        for (const Names& one : names) n_tensors += one.size();
        std::vector<Shard> all;
        for (const Names& one : names) all.emplace_back(all.size(), names.size(), n_tensors, one);
        return all;
    }
    void write(const std::vector<Shard>& all) const {
        for (size_t i = 0; i < all.size(); ++i) all[i].write(path(i, all.size()));
    }
};

std::string error_of(const std::string& path) {
    try {
        GgufModel model(path);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

Names names_in(const GgufModel& model) {
    Names names;
    for (const TensorInfo& tensor : model.header().tensors()) names.emplace_back(tensor.name);
    return names;
}

}  // namespace

TEST_CASE("shard names: five digits, counted from one, and back") {
    CHECK(shard_name("model", 1, 3) == "model-00002-of-00003.gguf");
    CHECK(shard_prefix("model-00002-of-00003.gguf", 1, 3) == "model");
    CHECK_FALSE(shard_prefix("model-00002-of-00003.gguf", 0, 3));
    CHECK_FALSE(shard_prefix("model-00002-of-00003.gguf", 1, 4));
    CHECK_FALSE(shard_prefix("model.gguf", 1, 3));
    CHECK(shard_prefix("-00001-of-00001.gguf", 0, 1) == "");
}

TEST_CASE_METHOD(Files, "a split model is whole from whichever shard it is opened") {
    // gguf-split --no-tensor-first-split leaves the first shard without tensors.
    for (const Names& first : {Names{"a.weight", "b.weight"}, Names{}}) {
        write(shards({first, {"c.weight"}, {"d.weight", "e.weight"}}));
        Names expected = first;
        for (const char* name : {"c.weight", "d.weight", "e.weight"}) expected.push_back(name);
        for (uint64_t given = 0; given < 3; ++given) {
            const GgufModel model(path(given, 3));
            CHECK(model.path() == path(given, 3));
            CHECK(model.name() == "model");
            CHECK(model.files().size() == 3);
            CHECK(model.header().require_string("general.name") == "Split");
            CHECK(names_in(model) == expected);
            uint64_t size_bytes = 0;
            for (uint64_t i = 0; i < 3; ++i) size_bytes += fs::file_size(path(i, 3));
            CHECK(model.size_bytes() == size_bytes);
            for (const std::string& name : expected) {
                const TensorInfo* tensor = model.header().find_tensor(name);
                REQUIRE(tensor);
                const auto bytes = model.tensor_bytes(*tensor);
                REQUIRE(bytes.size() == 32);
                CHECK(bytes.front() == std::byte(name[0]));
                CHECK(bytes.back() == std::byte(name[0]));
            }
            CHECK_FALSE(model.header().find_tensor("f.weight"));
        }
    }
}

TEST_CASE_METHOD(Files, "a file that is no shard is a model by itself, and a shard can be read alone") {
    const std::string file = folder / "whole.gguf";
    Shard whole(0, 1, 1, {"a.weight"});
    whole.write(file);  // split.count is 1
    CHECK(GgufModel(file).files().size() == 1);
    CHECK(GgufModel(file).name() == "whole");
    whole.metadata = {};
    whole.write(file);
    CHECK(GgufModel(file).files().size() == 1);

    const std::vector<Shard> all = shards({{"a.weight"}, {"b.weight"}});
    all[1].write(path(1, 2));
    const GgufModel alone(path(1, 2), GgufModel::Shards::OnlyThis);
    CHECK(names_in(alone) == Names{"b.weight"});
    CHECK(alone.tensor_bytes(alone.header().tensors()[0]).front() == std::byte('b'));
}

TEST_CASE_METHOD(Files, "missing shards are all named in one error") {
    const std::vector<Shard> all = shards({{"a"}, {"b"}, {"c"}, {"d"}});
    all[1].write(path(1, 4));
    all[3].write(path(3, 4));
    CHECK_THAT(error_of(path(3, 4)),
               ContainsSubstring("model-00004-of-00004.gguf: is shard 4 of 4") &&
                   ContainsSubstring("model-00001-of-00004.gguf, model-00003-of-00004.gguf; fetch all"));
    // A hostile count names some of the missing, in no time.
    const Shard many(0, kMaxShards, 1, {"a"});
    many.write(path(0, kMaxShards));
    const std::clock_t start = std::clock();
    CHECK_THAT(error_of(path(0, kMaxShards)), ContainsSubstring("model-00009-of-65535.gguf and 65,526 more"));
    CHECK(double(std::clock() - start) / CLOCKS_PER_SEC < 1.0);
}

TEST_CASE_METHOD(Files, "a shard that was renamed does not find the others") {
    shards({{"a"}, {"b"}})[0].write(folder / "renamed.gguf");
    CHECK_THAT(error_of(folder / "renamed.gguf"), ContainsSubstring("-00001-of-00002.gguf"));
    const std::vector<Shard> all = shards({{"a"}, {"b"}, {"c"}});
    all[0].write(path(0, 3));
    all[1].write(path(2, 3));  // two names exchanged
    all[2].write(path(1, 3));
    CHECK_THAT(error_of(path(0, 3)), ContainsSubstring("its keys say shard 3 of 3, its name 2 of 3"));
    CHECK_THAT(error_of(path(1, 3)),
               ContainsSubstring("its name does not end with \"-00003-of-00003.gguf\""));
}

TEST_CASE_METHOD(Files, "shards of different models are refused, and the odd one is named") {
    std::vector<Shard> all = shards({{"a"}, {"b"}, {"c"}});
    SECTION("they count other numbers of tensors") {
        all[1].metadata.set("split.tensors.count", int32_t(4));
        write(all);
        CHECK_THAT(error_of(path(0, 3)),
                   ContainsSubstring("model-00002-of-00003.gguf: its split.tensors.count "
                                     "is 4, that of model-00001-of-00003.gguf is 3"));
    }
    SECTION("a shard of a model split into more") {
        all[1].metadata.set("split.count", uint16_t(5));
        write(all);
        CHECK_THAT(error_of(path(0, 3)), ContainsSubstring("its keys say shard 2 of 5, its name 2 of 3"));
    }
    SECTION("a file that is no shard") {
        all[1].metadata = {};
        write(all);
        CHECK_THAT(error_of(path(2, 3)), ContainsSubstring("its keys say shard 1 of 1, its name 2 of 3"));
    }
    SECTION("another architecture") {
        all[2].metadata.set("general.architecture", "qwen2");
        write(all);
        CHECK_THAT(error_of(path(1, 3)), ContainsSubstring("general.architecture is qwen2"));
    }
    SECTION("fewer tensors than were counted") {
        all[1].tensors.clear();
        write(all);
        CHECK_THAT(error_of(path(0, 3)),
                   ContainsSubstring("split.tensors.count is 3, but the 3 shards hold 2"));
    }
    SECTION("a tensor twice") {
        all[2].tensors[0].name = "a";
        write(all);
        CHECK_THAT(error_of(path(0, 3)), ContainsSubstring("model-00003-of-00003.gguf: tensor a is also in "
                                                           "model-00001-of-00003.gguf"));
    }
    SECTION("a shard that is a folder, or damaged") {
        write(all);
        fs::resize_file(path(1, 3), 40);
        CHECK_THAT(error_of(path(0, 3)), ContainsSubstring("model-00002-of-00003.gguf: "));
        fs::remove(path(1, 3));
        fs::create_directory(path(1, 3));
        CHECK_THAT(error_of(path(0, 3)), ContainsSubstring("model-00002-of-00003.gguf: is a folder"));
    }
}

TEST_CASE_METHOD(Files, "keys of a split that make no sense are refused") {
    Shard shard(0, 3, 1, {"a"});
    const auto error_with = [&](const std::string& key, MetadataValue value) {
        Shard changed = shard;
        changed.metadata.set(key, std::move(value));
        changed.write(path(0, 3));
        return error_of(path(0, 3));
    };
    CHECK_THAT(error_with("split.count", uint64_t(1) << 40), ContainsSubstring("at most 65,535 shards"));
    CHECK_THAT(error_with("split.count", int32_t(-3)), ContainsSubstring("key split.count: is -3"));
    CHECK_THAT(error_with("split.count", "three"), ContainsSubstring("key split.count: is of type string"));
    CHECK_THAT(error_with("split.no", uint16_t(3)), ContainsSubstring("key split.no: is 3; expected 0 to 2"));
    CHECK_THAT(error_with("split.tensors.count", int32_t(-1)), ContainsSubstring("key split.tensors.count"));
    Metadata without_number;
    without_number.set("split.count", uint16_t(3));
    shard.metadata = without_number;
    shard.write(path(0, 3));
    CHECK_THAT(error_of(path(0, 3)), ContainsSubstring("key split.no: is missing"));
}
