#include "inspect/hash.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "format/error.h"
#include "format/mapped_file.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr uint64_t kPieceBytes = 1 << 20;  // small enough to stay in the cache from one hash to the next

/// gguf-hash's: the UUID, version 5, of en.wikipedia.org/wiki/Llama.cpp in the name space of URLs.
constexpr std::array<uint8_t, 16> kNameSpace = {0xef, 0x00, 0x12, 0x06, 0xda, 0xdc, 0x5f, 0x6d,
                                                0xa1, 0x5f, 0x33, 0x59, 0xe5, 0x77, 0xd4, 0xe5};

constexpr std::array kByStrength = {DigestKind::Sha256, DigestKind::Sha1, DigestKind::Xxh3_128,
                                    DigestKind::Xxh64};

/// Calls `take(piece)` for the bytes, front to back, until `stop` is raised.
template <typename Take>
void in_pieces(std::span<const std::byte> bytes, const std::atomic<bool>* stop, const Take& take) {
    for (uint64_t at = 0; at < bytes.size() && !(stop && stop->load(std::memory_order_relaxed));
         at += kPieceBytes)
        take(bytes.subspan(at, std::min<uint64_t>(kPieceBytes, bytes.size() - at)));
}

}  // namespace

Hashes hash(const GgufModel& model, const HashRequest& request,
            const std::function<void(uint64_t bytes)>& progress, const std::atomic<bool>* stop) {
    const auto& tensors = model.header().tensors();
    Hashes result;
    result.model.resize(request.kinds.size());
    std::atomic<uint64_t> done = 0;
    const auto add_progress = [&](uint64_t n_bytes) {
        done += n_bytes;
        if (progress) progress(done);
    };
    // A hash of all data is one long task that nothing divides: these begin first.
    const auto hash_all = [&](Digest& digest) {
        for (const TensorInfo& tensor : tensors) {
            in_pieces(model.tensor_bytes(tensor), stop, [&](std::span<const std::byte> piece) {
                digest.update(piece);
                add_progress(piece.size());
            });
        }
        return digest.hex();
    };
    const size_t n_whole = request.kinds.size() + request.uuid;
    if (request.tensors) result.tensors.resize(tensors.size());
    in_parallel(n_whole + result.tensors.size(), request.n_threads, stop, [&](size_t task) {
        if (task < request.kinds.size()) {
            result.model[task] = hash_all(*Digest::make(request.kinds[task]));
            return;
        }
        if (task < n_whole) {
            const auto sha1 = Digest::make(DigestKind::Sha1);
            sha1->update(std::as_bytes(std::span(kNameSpace)));
            result.uuid = uuid_of_sha1(hash_all(*sha1));
            return;
        }
        std::vector<std::unique_ptr<Digest>> digests;
        for (const DigestKind kind : request.kinds) digests.push_back(Digest::make(kind));
        const size_t index = task - n_whole;
        in_pieces(model.tensor_bytes(tensors[index]), stop, [&](std::span<const std::byte> piece) {
            for (const auto& digest : digests) digest->update(piece);
            add_progress(piece.size() * digests.size());
        });
        for (const auto& digest : digests) result.tensors[index].push_back(digest->hex());
    });
    result.stopped = stop && stop->load();
    return result;
}

std::vector<ManifestEntry> read_manifest(const std::string& path, const GgufModel& model) {
    const MappedFile file{std::filesystem::path(path)};
    std::istringstream lines(
        std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()));
    std::vector<ManifestEntry> entries;
    size_t line_number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++line_number;
        // The kind, the digits, and a name that may hold spaces.
        std::istringstream words(line);
        std::string kind_name, hex;
        if (!(words >> kind_name >> hex)) continue;
        const auto kind = std::ranges::find_if(
            kByStrength, [&](DigestKind candidate) { return name(candidate) == kind_name; });
        if (kind == kByStrength.end()) continue;
        std::string subject;
        std::getline(words >> std::ws, subject);
        while (!subject.empty() && (subject.back() == '\r' || subject.back() == ' ')) subject.pop_back();
        // "FILE:TENSOR". Either may hold colons: what follows one of them must be a tensor.
        const TensorInfo* tensor = nullptr;
        size_t colon = subject.npos;
        while (!tensor && (colon = subject.find(':', colon + 1)) != subject.npos)
            tensor = model.header().find_tensor(std::string_view(subject).substr(colon + 1));
        const size_t extension = subject.rfind(".gguf:");
        if (!tensor && extension != subject.npos) {
            fail("{}: line {} names tensor {}, which {} does not have; the manifest is another model's", path,
                 line_number, printable(std::string_view(subject).substr(extension + 6)),
                 model.path().string());
        }
        entries.push_back({*kind, hex, tensor ? std::string(tensor->name) : std::string()});
    }
    if (entries.empty()) {
        fail(
            "{}: is no manifest: no line begins with sha256, sha1, xxh3_128 or xxh64; `ingot hash` and "
            "gguf-hash print them",
            path);
    }
    return entries;
}

ManifestCheck check_manifest(const GgufModel& model, std::span<const ManifestEntry> entries, int n_threads,
                             const std::function<void(uint64_t bytes)>& progress,
                             const std::atomic<bool>* stop) {
    ManifestCheck result;
    for (const DigestKind kind : kByStrength) {
        result.kind = kind;
        if (std::ranges::any_of(entries, [&](const ManifestEntry& entry) { return entry.kind == kind; }))
            break;
    }
    const Hashes found = hash(model, {.kinds = {result.kind}, .n_threads = n_threads}, progress, stop);
    result.stopped = found.stopped;
    if (result.stopped) return result;
    const auto& tensors = model.header().tensors();
    std::vector<bool> checked(tensors.size());
    for (const ManifestEntry& entry : entries) {
        if (entry.kind != result.kind) continue;
        const std::string* actual = &found.model[0];
        if (entry.tensor.empty()) {
            result.checked_model = true;
        } else {
            const auto index = size_t(model.header().find_tensor(entry.tensor) - tensors.data());
            checked[index] = true;
            actual = &found.tensors[index][0];
        }
        if (entry.hex != *actual) result.mismatches.push_back({entry.tensor, entry.hex, *actual});
    }
    result.n_checked = uint64_t(std::ranges::count(checked, true));
    result.n_unchecked = tensors.size() - result.n_checked;
    return result;
}

}  // namespace ingot::inspect
