#include "format/gguf_model.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "format/error.h"
#include "format/open_bytes.h"

namespace ingot {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kExtension = ".gguf";
constexpr std::string_view kPackedExtensions[] = {".zst", ".ingot"};

/// Without ".zst" or ".ingot", which packed files have.
std::string unpacked_name(const fs::path& path) {
    std::string name = path.filename().string();
    for (const std::string_view extension : kPackedExtensions)
        if (name.ends_with(extension)) name.resize(name.size() - extension.size());
    return name;
}

/// What a file says about its place among the shards.
struct ShardKeys {
    uint64_t shard = 0, n_shards = 1;
    std::optional<uint64_t> n_tensors;  // of all shards
};

/// Calls `read(header)`; errors name the file.
template <typename Read>
auto of_file(const GgufFile& file, const Read& read) {
    try {
        return read(file.header());
    } catch (const Error& error) {
        fail("{}: {}", file.path().string(), error.what());
    }
}

ShardKeys shard_keys(const GgufFile& file) {
    return of_file(file, [](const GgufHeader& header) {
        ShardKeys keys;
        keys.n_shards = header.get_uint("split.count").value_or(1);
        if (keys.n_shards <= 1) return ShardKeys{};
        if (keys.n_shards > kMaxShards) {
            fail("key split.count: is {}; a model has at most {} shards", grouped(keys.n_shards),
                 grouped(kMaxShards));
        }
        keys.shard = header.require_uint("split.no");
        if (keys.shard >= keys.n_shards) {
            fail("key split.no: is {}; expected 0 to {}, as split.count is {}", grouped(keys.shard),
                 keys.n_shards - 1, keys.n_shards);
        }
        keys.n_tensors = header.get_uint("split.tensors.count");
        return keys;
    });
}

/// "a, b, c and 7 more"
std::string some_of(const std::vector<std::string>& names) {
    constexpr size_t kMaxNames = 8;
    const size_t n_shown = std::min(names.size(), kMaxNames);
    std::string text = fmt::format("{}", fmt::join(names.begin(), names.begin() + long(n_shown), ", "));
    if (n_shown < names.size()) text += fmt::format(" and {} more", grouped(names.size() - n_shown));
    return text;
}

/// "model", of "model-00002-of-00003.gguf".
std::string prefix_of(const GgufFile& file, const ShardKeys& keys) {
    if (auto prefix = shard_prefix(unpacked_name(file.path()), keys.shard, keys.n_shards)) return *prefix;
    fail(
        "{}: is shard {} of {} of a split model, but its name does not end with \"{}\", by which the others "
        "are found; give the shards the names that they were made with",
        file.path().string(), keys.shard + 1, keys.n_shards, shard_name("", keys.shard, keys.n_shards));
}

/// The names in a folder: one look, where a file may claim to have 65,535 shards.
std::set<std::string> names_in(const fs::path& folder) {
    std::set<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at(folder.empty() ? "." : folder, error), end; !error && at != end;
         at.increment(error))
        names.insert(at->path().filename().string());
    return names;
}

/// Of all shards, in order; every one exists, or is fetched when it is read.
std::vector<fs::path> shard_paths(const GgufFile& file, const ShardKeys& keys, std::string_view prefix) {
    const fs::path folder = file.path().parent_path();
    const bool remote = is_remote(file.path().string());
    const std::set<std::string> there = remote ? std::set<std::string>() : names_in(folder);
    std::vector<fs::path> paths;
    std::vector<std::string> missing;
    for (uint64_t shard = 0; shard < keys.n_shards; ++shard) {
        std::string name = shard_name(prefix, shard, keys.n_shards);
        if (!remote && !there.contains(name)) {
            const auto* packed = std::ranges::find_if(kPackedExtensions, [&](std::string_view extension) {
                return there.contains(fmt::format("{}{}", name, extension));
            });
            if (packed == std::end(kPackedExtensions)) {
                missing.push_back(std::move(name));
                continue;
            }
            name += *packed;
        }
        paths.push_back(folder / name);
    }
    if (missing.empty()) return paths;
    fail("{}: is shard {} of {} of a split model; missing beside it: {}; fetch all shards into one folder",
         file.path().string(), keys.shard + 1, keys.n_shards, some_of(missing));
}

/// Names do not prove that a file is this shard of this model: its keys must say so too.
void check_shard(const GgufFile& file, uint64_t shard, uint64_t n_shards, const GgufFile& first) {
    const auto other_model = [&](std::string_view key, const auto& found, const auto& expected) {
        fail("{}: its {} is {}, that of {} is {}; one of them is of another model", file.path().string(), key,
             found, first.path().filename().string(), expected);
    };
    const ShardKeys found = shard_keys(file);
    if (found.shard != shard || found.n_shards != n_shards) {
        fail("{}: its keys say shard {} of {}, its name {} of {}; it is of another model, or was renamed",
             file.path().string(), found.shard + 1, found.n_shards, shard + 1, n_shards);
    }
    const auto n_tensors = shard_keys(first).n_tensors;
    if (found.n_tensors && n_tensors && *found.n_tensors != *n_tensors)
        other_model("split.tensors.count", grouped(*found.n_tensors), grouped(*n_tensors));
    constexpr std::string_view kArchitecture = "general.architecture";  // the first has it, others may
    const auto architecture = [&](const GgufHeader& header) { return header.get_string(kArchitecture); };
    const auto own = of_file(file, architecture), expected = of_file(first, architecture);
    if (own && own != expected)
        other_model(kArchitecture, printable(*own), printable(expected.value_or("none")));
}

}  // namespace

std::string shard_name(std::string_view prefix, uint64_t shard, uint64_t n_shards) {
    return fmt::format("{}-{:05}-of-{:05}{}", prefix, shard + 1, n_shards, kExtension);
}

std::optional<std::string> shard_prefix(std::string_view name, uint64_t shard, uint64_t n_shards) {
    const std::string suffix = shard_name("", shard, n_shards);
    if (!name.ends_with(suffix)) return {};
    return std::string(name.substr(0, name.size() - suffix.size()));
}

GgufModel::GgufModel(const fs::path& path, Shards shards)
    : path_(path), name_(fs::path(unpacked_name(path)).stem().string()) {
    files_.emplace_back(path);
    if (shards == Shards::OnlyThis) return;
    open_shards();
    if (files_.size() > 1) join_headers();
}

/// Makes files_, which has the shard that was given, all of them.
void GgufModel::open_shards() {
    const ShardKeys given = shard_keys(files_.front());
    if (given.n_shards == 1) return;
    name_ = prefix_of(files_.front(), given);
    std::vector<GgufFile> all;
    all.reserve(given.n_shards);
    for (const fs::path& path : shard_paths(files_.front(), given, name_)) {
        if (all.size() == given.shard) {
            all.push_back(std::move(files_.front()));
        } else {
            all.emplace_back(path);
        }
    }
    files_ = std::move(all);
    for (uint64_t shard = 0; shard < files_.size(); ++shard)
        check_shard(files_[shard], shard, given.n_shards, files_.front());
}

void GgufModel::join_headers() {
    uint64_t n_tensors = 0;
    for (const GgufFile& file : files_) n_tensors += file.header().tensors().size();
    const GgufFile& first = files_.front();
    if (const auto declared = shard_keys(first).n_tensors; declared && *declared != n_tensors) {
        fail("{}: split.tensors.count is {}, but the {} shards hold {}; one of them is of another model",
             first.path().string(), grouped(*declared), files_.size(), grouped(n_tensors));
    }
    if (n_tensors >= NameIndex::kNotFound) fail("{}: its shards hold 2^32 or more tensors", path_.string());

    GgufHeader joined = first.header();
    joined.tensors_.clear();
    joined.tensors_.reserve(n_tensors);
    joined.tensor_index_ = NameIndex(n_tensors);
    const auto name_at = [&](uint32_t position) { return joined.tensors_[position].name; };
    for (uint32_t shard = 0; shard < files_.size(); ++shard) {
        for (TensorInfo tensor : files_[shard].header().tensors()) {
            tensor.shard = shard;
            joined.tensors_.push_back(tensor);
            const uint32_t before =
                joined.tensor_index_.insert(uint32_t(joined.tensors_.size() - 1), name_at);
            if (before == NameIndex::kNotFound) continue;
            fail("{}: tensor {} is also in {}; one of them is of another model",
                 files_[shard].path().string(), printable(tensor.name),
                 file_of(joined.tensors_[before]).path().filename().string());
        }
    }
    joined_ = std::move(joined);
}

uint64_t GgufModel::size_bytes() const {
    uint64_t total = 0;
    for (const GgufFile& file : files_) total += file.bytes().size();
    return total;
}

}  // namespace ingot
