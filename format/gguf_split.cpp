#include "format/gguf_split.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "format/output_file.h"

namespace ingot {

namespace {

bool is_split_key(std::string_view key) {
    return key == "split.no" || key == "split.count" || key == "split.tensors.count";
}

/// The model's own keys, without what says how it was cut. Checksums and spare bytes keep their place in the
/// list.
Metadata own_metadata(const GgufModel& model) {
    Metadata metadata;
    for (const KeyValue& entry : model.header().metadata()) {
        if (is_split_key(entry.key)) continue;
        metadata.set(std::string(entry.key), Metadata::copy_of(entry.value));
    }
    return metadata;
}

/// One for each tensor of the model; empty unless every file with tensors has as many.
std::vector<std::string> own_checksums(const GgufModel& model) {
    std::vector<std::string> checksums;
    for (const GgufFile& file : model.files()) {
        if (file.header().tensors().empty()) continue;
        const auto own = file.header().strings(keys::kChecksums);
        if (own.size() != file.header().tensors().size()) return {};
        checksums.insert(checksums.end(), own.begin(), own.end());
    }
    return checksums;
}

void set_checksums(Metadata& metadata, std::vector<std::string> checksums) {
    if (checksums.empty()) {
        metadata.erase(keys::kChecksums);
    } else {
        metadata.set(std::string(keys::kChecksums), MetadataArray{std::move(checksums)});
    }
}

TensorPlan plan_of(const TensorInfo& tensor) {
    // A scalar has no dimensions in some files; written ones have at least one.
    const uint32_t n_dims = std::max(1u, tensor.n_dims);
    return {.name = std::string(tensor.name),
            .type = tensor.type,
            .shape = {tensor.shape.begin(), tensor.shape.begin() + n_dims}};
}

uint64_t padded(uint64_t size_bytes, uint64_t alignment) {
    return (size_bytes + alignment - 1) / alignment * alignment;
}

/// Bytes that a tensor takes in a header, and a checksum.
uint64_t header_bytes(const TensorInfo& tensor) {
    constexpr uint64_t kFixed = 8 + 4 + 4 + 8, kChecksum = 8 + 32;
    return kFixed + tensor.name.size() + 8 * uint64_t(tensor.n_dims) + kChecksum;
}

/// The first tensor of each file.
std::vector<size_t> cuts(const GgufModel& model, const Metadata& metadata, const SplitLimits& limits) {
    constexpr uint64_t kSplitKeys = 256;  // bytes; the keys of a split, of checksums and of spare bytes
    const uint64_t alignment = model.header().alignment();
    Metadata bare = metadata;
    bare.erase(keys::kChecksums);
    bare.erase(keys::kSpare);
    const uint64_t first_header = GgufLayout(bare, {}).file_size_bytes() + kSplitKeys + keys::kSpareBytes;
    std::vector<size_t> firsts = {0};
    if (limits.no_tensor_first) firsts.push_back(0);
    uint64_t size = limits.no_tensor_first ? kSplitKeys : first_header, n_tensors = 0;
    const auto& tensors = model.header().tensors();
    for (size_t i = 0; i < tensors.size(); ++i) {
        const uint64_t more = padded(tensors[i].size_bytes, alignment) + header_bytes(tensors[i]);
        const bool too_large = limits.max_bytes > 0 && size + more + alignment > limits.max_bytes;
        const bool too_many = limits.max_tensors > 0 && n_tensors >= limits.max_tensors;
        if (n_tensors > 0 && (too_large || too_many)) {
            firsts.push_back(i);
            size = kSplitKeys;
            n_tensors = 0;
        }
        size += more;
        ++n_tensors;
    }
    return firsts;
}

/// Copies tensors [first, first + layout's) of the model to their places; false when stopped.
bool copy_tensors(const GgufModel& model, const PlannedShard& shard, OutputFile& output, uint64_t& done,
                  const CopyProgress& progress, const std::atomic<bool>* stop) {
    constexpr uint64_t kPieceBytes = 64 << 20;  // between two looks at `stop`
    for (size_t i = 0; i < shard.layout.tensors().size(); ++i) {
        const TensorInfo& source = model.header().tensors()[shard.first_tensor + i];
        const uint64_t target = shard.layout.tensors()[i].offset;
        for (uint64_t at = 0; at < source.size_bytes;) {
            if (stop && stop->load(std::memory_order_relaxed)) return false;
            const uint64_t n = std::min(kPieceBytes, source.size_bytes - at);
            if (model.file_of(source).is_plain()) {
                output.copy_from(model.file_of(source).path(), source.offset + at, target + at, n);
            } else {
                output.write_at(target + at, model.tensor_bytes(source).subspan(at, n));
            }
            at += n;
            done += n;
            if (progress) progress(done);
        }
    }
    return true;
}

}  // namespace

std::vector<PlannedShard> plan_split(const GgufModel& model, const SplitLimits& limits) {
    if (limits.max_bytes == 0 && limits.max_tensors == 0)
        fail("a split needs a limit: of bytes or of tensors");
    Metadata metadata = own_metadata(model);
    const std::vector<std::string> checksums = own_checksums(model);
    const auto& tensors = model.header().tensors();
    const std::vector<size_t> firsts = cuts(model, metadata, limits);
    if (firsts.size() > kMaxShards) {
        fail("{} files would be needed, at most {} are possible; choose a larger limit",
             grouped(firsts.size()), grouped(kMaxShards));
    }
    std::vector<PlannedShard> shards;
    const MetadataValue* alignment_value = metadata.find("general.alignment");
    const std::optional<MetadataValue> alignment =
        alignment_value ? std::optional(*alignment_value) : std::nullopt;
    for (size_t number = 0; number < firsts.size(); ++number) {
        const size_t begin = firsts[number];
        const size_t end = number + 1 < firsts.size() ? firsts[number + 1] : tensors.size();
        Metadata own;
        if (number == 0) {
            own = std::move(metadata);
        } else if (alignment) {
            own.set("general.alignment", *alignment);
        }
        own.set("split.no", uint16_t(number));
        own.set("split.count", uint16_t(firsts.size()));
        own.set("split.tensors.count", int32_t(tensors.size()));
        std::vector<std::string> part_checksums;
        if (!checksums.empty())
            part_checksums.assign(checksums.begin() + long(begin), checksums.begin() + long(end));
        set_checksums(own, std::move(part_checksums));
        if (number == 0) own.set(std::string(keys::kSpare), std::string(keys::kSpareBytes, ' '));
        std::vector<TensorPlan> part;
        for (size_t i = begin; i < end; ++i) part.push_back(plan_of(tensors[i]));
        shards.push_back({GgufLayout(std::move(own), std::move(part)), begin});
    }
    return shards;
}

PlannedShard plan_merge(const GgufModel& model) {
    Metadata metadata = own_metadata(model);
    set_checksums(metadata, own_checksums(model));
    metadata.set(std::string(keys::kSpare), std::string(keys::kSpareBytes, ' '));
    std::vector<TensorPlan> tensors;
    for (const TensorInfo& tensor : model.header().tensors()) tensors.push_back(plan_of(tensor));
    return {GgufLayout(std::move(metadata), std::move(tensors)), 0};
}

bool write_shards(const GgufModel& model, const std::vector<PlannedShard>& shards,
                  const std::vector<std::string>& paths, bool overwrite, const CopyProgress& progress,
                  const std::atomic<bool>* stop) {
    std::vector<std::unique_ptr<OutputFile>> files;
    for (size_t i = 0; i < shards.size(); ++i)
        files.push_back(
            std::make_unique<OutputFile>(paths[i], shards[i].layout.file_size_bytes(), overwrite));
    uint64_t done = 0;
    for (size_t i = 0; i < shards.size(); ++i) {
        files[i]->write_at(0, shards[i].layout.encode_header());
        if (!copy_tensors(model, shards[i], *files[i], done, progress, stop)) return false;
    }
    for (size_t i = files.size(); i-- > 0;) files[i]->commit();
    return true;
}

}  // namespace ingot
