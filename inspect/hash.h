#pragma once
// Hashes of a model's data, tensor by tensor and of all, as llama.cpp's gguf-hash defines them.
#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/digest.h"
#include "format/gguf_model.h"

namespace ingot::inspect {

struct HashRequest {
    std::vector<DigestKind> kinds = {};
    bool tensors = true;  // false: only those of all data
    bool uuid = false;
    int n_threads = 0;  // 0: all that the machine has
};

struct Hashes {
    std::vector<std::vector<std::string>> tensors;  // by tensor of the model, then by kind
    std::vector<std::string> model;                 // by kind: of all tensors' bytes, one after the other
    std::string
        uuid;  // version 5, of the bytes of all tensors in gguf-hash's name space; where it was wanted
    bool stopped = false;
};

/// Reads everything. Tensors' bytes are taken without padding, in the order of the list; metadata does not
/// count. `progress` receives the bytes done so far, from several threads: each byte once for every hash of
/// tensors and once for every hash of the model.
Hashes hash(const GgufModel& model, const HashRequest& request,
            const std::function<void(uint64_t bytes)>& progress = {},
            const std::atomic<bool>* stop = nullptr);

/// A line of a manifest: "sha256    c051…d1bd  model.gguf:blk.0.attn_q.weight".
struct ManifestEntry {
    DigestKind kind{};
    std::string hex;
    std::string tensor;  // empty: of all data
};

/// The entries of a manifest that gguf-hash or `ingot hash` printed, for the tensors of `model`. Lines of
/// other kinds (uuid) are left out. Throws Error when a line names a tensor that the model does not have, or
/// when no line is an entry.
std::vector<ManifestEntry> read_manifest(const std::string& path, const GgufModel& model);

struct ManifestCheck {
    DigestKind kind{};  // the strongest of the manifest: sha256, sha1, xxh3_128, xxh64
    struct Mismatch {
        std::string tensor;  // empty: all data
        std::string expected, found;
    };
    std::vector<Mismatch> mismatches;
    uint64_t n_checked = 0;    // tensors
    uint64_t n_unchecked = 0;  // tensors that the manifest does not name
    bool checked_model = false;
    bool stopped = false;
};

ManifestCheck check_manifest(const GgufModel& model, std::span<const ManifestEntry> entries,
                             int n_threads = 0, const std::function<void(uint64_t bytes)>& progress = {},
                             const std::atomic<bool>* stop = nullptr);

}  // namespace ingot::inspect
