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
    bool planes = false;             // floats as planes of bytes: smaller, but zstd alone does not undo it
    std::string base;                // a GGUF file; the packed one will be a patch against it
    uint64_t frame_bytes = 8 << 20;  // most that one frame unpacks to; a frame never holds two tensors' bytes
    bool overwrite = false;
    int n_threads = 0;  // 0: all that the machine has
};

/// Of a larger frame a reader could not tell whether it is made to fill memory.
inline constexpr uint64_t kMostFrameBytes = 64 << 20;

struct PackResult {
    uint64_t size_bytes = 0, packed_bytes = 0;
    uint64_t n_frames = 0;
    bool stopped = false;  // `stop` was raised: nothing was written
};

/// Receives how many of the unpacked bytes are done, from several threads.
using PackProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

/// Packs the file, every byte of it. Without planes and base the frames, one after the other, unpack to the
/// file. Memory: two frames a thread.
PackResult pack(const GgufFile& file, const std::string& output, const PackRequest& request,
                const PackProgress& progress = {}, const std::atomic<bool>* stop = nullptr);

struct UnpackRequest {
    std::string base;  // of a patch: the file that it was made against
    bool overwrite = false;
    int n_threads = 0;
};

/// Writes the file that a packed one holds. Frames are checked by their checksums. Memory: a frame a thread.
PackResult unpack(const std::string& packed, const std::string& output, const UnpackRequest& request,
                  const PackProgress& progress = {}, const std::atomic<bool>* stop = nullptr);

}  // namespace ingot::inspect
