#pragma once
// A model as zstd frames with a seek table, and back. SPEC.md, section 8.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "format/gguf.h"

namespace ingot::inspect {

struct PackRequest {
    int level = 3;                   // zstd's: 1 to 19, 22 with patience
    bool far = false;                // matches across a whole frame (zstd --long)
    uint64_t frame_bytes = 8 << 20;  // most that one frame unpacks to; a frame never holds two tensors' bytes
    bool overwrite = false;
    int n_threads = 0;  // 0: all that the machine has
};

struct PackResult {
    uint64_t size_bytes = 0, packed_bytes = 0;
    uint64_t n_frames = 0;
    bool stopped = false;  // `stop` was raised: nothing was written
};

/// Packs the file, every byte of it: the frames one after the other unpack to the file. Memory: two frames a
/// thread. `progress` receives the file's bytes that are done.
PackResult pack(const GgufFile& file, const std::string& output, const PackRequest& request,
                const std::function<void(uint64_t bytes)>& progress = {},
                const std::atomic<bool>* stop = nullptr);

/// Writes the file that a packed one holds. Frames are checked by their checksums. Memory: a frame a thread.
PackResult unpack(const std::string& packed, const std::string& output, bool overwrite, int n_threads = 0,
                  const std::function<void(uint64_t bytes)>& progress = {},
                  const std::atomic<bool>* stop = nullptr);

}  // namespace ingot::inspect
