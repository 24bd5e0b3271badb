#pragma once
// One model in one file or in many, its tensors' bytes unchanged. SPEC.md, section 1.6.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "format/gguf_model.h"
#include "format/gguf_writer.h"

namespace ingot {

struct SplitLimits {
    uint64_t max_bytes = 0;        // of a file, header and all; 0: any
    uint64_t max_tensors = 0;      // in a file; 0: any
    bool no_tensor_first = false;  // the first file has the metadata and no tensors
};

/// A file to be written: tensors from `first_tensor` of the model's list on.
struct PlannedShard {
    GgufLayout layout;
    size_t first_tensor = 0;
};

/// A tensor is never cut: one that is larger than the limit has a file of its own. Checksums go with their
/// tensors. Throws Error when more than kMaxShards files would be needed, or a limit is too small.
std::vector<PlannedShard> plan_split(const GgufModel& model, const SplitLimits& limits);
/// All tensors in one file: without split.* keys, with the checksums of all shards where all have them.
PlannedShard plan_merge(const GgufModel& model);

using CopyProgress = std::function<void(uint64_t bytes)>;

/// Writes the files of a plan, `paths` in its order. They appear when all bytes are safe, the first one last:
/// a reader that finds it finds all. Returns false when `stop` was raised; nothing is left then.
bool write_shards(const GgufModel& model, const std::vector<PlannedShard>& shards,
                  const std::vector<std::string>& paths, bool overwrite, const CopyProgress& progress = {},
                  const std::atomic<bool>* stop = nullptr);

/// Merges into `output` on a disk that cannot hold the model twice: each shard is deleted as soon as its
/// bytes are in the unfinished output, durable, and were read back. `shard` names any of them; those that an
/// earlier, killed merge has deleted are in the unfinished output, which is taken over. Returns false when
/// `stop` was raised; the unfinished output then waits for the next merge.
bool merge_and_delete(const std::string& shard, const std::string& output, const CopyProgress& progress = {},
                      const std::atomic<bool>* stop = nullptr);

}  // namespace ingot
