#include "inspect/pack.h"

#include <algorithm>
#include <set>
#include <vector>

#include "format/error.h"
#include "format/output_file.h"
#include "format/packed_file.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

struct Piece {
    uint64_t offset = 0, size_bytes = 0;
};

/// Where frames begin: with the file, with its data, with every tensor, and often enough.
std::vector<Piece> pieces_of(const GgufFile& file, uint64_t frame_bytes) {
    std::set<uint64_t> begins = {0, file.header().data_offset()};
    for (const TensorInfo& tensor : file.header().tensors()) begins.insert(tensor.offset);
    const uint64_t size_bytes = file.bytes().size();
    begins.insert(size_bytes);
    std::vector<Piece> pieces;
    for (auto begin = begins.begin(); begin != begins.end() && *begin < size_bytes; ++begin) {
        const uint64_t end = std::min(*std::next(begin), size_bytes);
        for (uint64_t at = *begin; at < end; at += frame_bytes)
            pieces.push_back({at, std::min(frame_bytes, end - at)});
    }
    return pieces;
}

int threads(int n_threads) {
    return n_threads > 0 ? n_threads : int(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

PackResult pack(const GgufFile& file, const std::string& output, const PackRequest& request,
                const std::function<void(uint64_t bytes)>& progress, const std::atomic<bool>* stop) {
    if (!file.is_plain()) fail("{}: is packed already, or no file", file.path().string());
    const std::vector<Piece> pieces = pieces_of(file, request.frame_bytes);
    PackResult result{.size_bytes = file.bytes().size(), .n_frames = pieces.size()};
    // The packed size is not known: the file grows, and takes no more disk than is written. Frames are packed
    // in rounds of a few a thread, then written in order.
    constexpr uint64_t kMostGrowth = 1 << 10;  // of a frame that cannot be packed: zstd adds 1/256 at most
    uint64_t bound = encode_seek_table({}).size() + pieces.size() * (kMostGrowth + 8);
    bound += file.bytes().size() + file.bytes().size() / 256;
    OutputFile target(output, bound, request.overwrite, 0, OutputFile::Space::Sparse);
    std::vector<PackedFrame> frames;
    std::atomic<uint64_t> done = 0;
    const size_t n_round = size_t(threads(request.n_threads)) * 2;
    for (size_t first = 0; first < pieces.size(); first += n_round) {
        std::vector<std::vector<std::byte>> packed(std::min(n_round, pieces.size() - first));
        in_parallel(packed.size(), request.n_threads, stop, [&](size_t i) {
            const Piece& piece = pieces[first + i];
            packed[i] =
                pack_frame(file.bytes().subspan(piece.offset, piece.size_bytes), request.level, request.far);
            done += piece.size_bytes;
            if (progress) progress(done);
        });
        if (stop && stop->load()) {
            result.stopped = true;
            return result;
        }
        for (size_t i = 0; i < packed.size(); ++i) {
            const Piece& piece = pieces[first + i];
            frames.push_back({result.packed_bytes, packed[i].size(), piece.offset, piece.size_bytes});
            target.write_at(result.packed_bytes, packed[i]);
            result.packed_bytes += packed[i].size();
        }
    }
    const std::vector<std::byte> table = encode_seek_table(frames);
    target.write_at(result.packed_bytes, table);
    result.packed_bytes += table.size();
    target.shorten(result.packed_bytes);
    target.commit();
    return result;
}

PackResult unpack(const std::string& packed, const std::string& output, bool overwrite, int n_threads,
                  const std::function<void(uint64_t bytes)>& progress, const std::atomic<bool>* stop) {
    MappedFile file{std::filesystem::path(packed)};
    if (!is_packed(file.bytes())) fail("{}: is not packed: it does not begin with a frame of zstd", packed);
    const auto bytes = file.bytes();
    const PackedFile source(std::move(file));
    PackResult result{.size_bytes = source.size_bytes().value_or(0),
                      .packed_bytes = bytes.size(),
                      .n_frames = source.frames().size()};
    OutputFile target(output, result.size_bytes, overwrite);
    std::atomic<uint64_t> done = 0;
    in_parallel(source.frames().size(), n_threads, stop, [&](size_t i) {
        const PackedFrame& frame = source.frames()[i];
        std::vector<std::byte> unpacked(frame.size_bytes);
        try {
            unpack_frame(bytes.subspan(frame.packed_offset, frame.packed_bytes), unpacked);
        } catch (const Error& error) {
            fail("{}: frame {} at byte {}: {}", packed, i, grouped(frame.packed_offset), error.what());
        }
        target.write_at(frame.offset, unpacked);
        done += frame.size_bytes;
        if (progress) progress(done);
    });
    result.stopped = stop && stop->load();
    if (!result.stopped) target.commit();
    return result;
}

}  // namespace ingot::inspect
