#include "inspect/pack.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "format/checksum.h"
#include "format/error.h"
#include "format/output_file.h"
#include "format/packed_file.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

/// Bytes that become one frame, and the tensor that they are of; none: the header, or what lies between.
struct Piece {
    uint64_t offset = 0, size_bytes = 0;
    const TensorInfo* tensor = nullptr;
};

/// Where frames begin: with the file, with its data, with every tensor, and often enough.
std::vector<Piece> pieces_of(const GgufFile& file, uint64_t frame_bytes) {
    const uint64_t size_bytes = file.bytes().size();
    std::map<uint64_t, const TensorInfo*> begins = {{0, nullptr}, {size_bytes, nullptr}};
    begins.emplace(file.header().data_offset(), nullptr);
    for (const TensorInfo& tensor : file.header().tensors())
        if (tensor.size_bytes > 0) begins[tensor.offset] = &tensor;
    std::vector<Piece> pieces;
    for (auto begin = begins.begin(); begin != begins.end() && begin->first < size_bytes; ++begin) {
        const uint64_t end = std::min(std::next(begin)->first, size_bytes);
        for (uint64_t at = begin->first; at < end; at += frame_bytes)
            pieces.push_back({at, std::min(frame_bytes, end - at), begin->second});
    }
    return pieces;
}

int threads(int n_threads) {
    return n_threads > 0 ? n_threads : int(std::max(1u, std::thread::hardware_concurrency()));
}

/// Bytes of one element whose first and last bytes are of different kinds; 1 where there are none: blocks.
uint8_t element_bytes(const TensorInfo* tensor) {
    if (!tensor || info(tensor->type).block_elements != 1) return 1;
    return uint8_t(info(tensor->type).block_bytes);
}

/// A frame as it is written, and how it is undone.
struct Packed {
    std::vector<std::byte> bytes;
    FrameRecipe recipe;
};

/// Packs pieces of one file, alone or against another. Thread-safe.
class Packer {
  public:
    Packer(const GgufFile& file, const GgufFile* base, const PackRequest& request)
        : file_(file), base_(base), request_(request) {}

    Packed pack(const Piece& piece) const {
        const auto bytes = file_.bytes().subspan(piece.offset, piece.size_bytes);
        if (!base_ && !request_.planes) return {pack_frame(bytes, request_.level, request_.far), {}};
        Packed packed = choose(piece, bytes);
        packed.recipe.checksum = xxh3_64(bytes);
        return packed;
    }

  private:
    Packed choose(const Piece& piece, std::span<const std::byte> bytes) const {
        FrameRecipe alone;
        if (const uint8_t n = element_bytes(piece.tensor); n > 1)
            alone = {.transform = FrameTransform::Planes, .element_bytes = n};
        const TensorInfo* other =
            base_ && piece.tensor ? base_->header().find_tensor(piece.tensor->name) : nullptr;
        if (!base_ || (piece.tensor && !other)) return pack_as(alone, bytes);
        if (!piece.tensor)
            return pack_as(beside(0, base_->header().data_offset(), piece.offset, piece.size_bytes), bytes);
        const uint64_t within = piece.offset - piece.tensor->offset;
        if (other->type != piece.tensor->type || other->shape != piece.tensor->shape)
            return smaller_of(alone, beside(other->offset, other->size_bytes, within, piece.size_bytes),
                              bytes);
        // The same place of the same tensor. The last piece has the padding behind it.
        FrameRecipe place{.base_offset = other->offset + within,
                          .base_bytes = uint32_t(piece.size_bytes),
                          .transform = FrameTransform::Difference};
        const auto base_bytes = base_->bytes();
        if (piece.size_bytes > kMostBaseBytes || place.base_offset > base_bytes.size() ||
            piece.size_bytes > base_bytes.size() - place.base_offset)
            return pack_as(alone, bytes);
        if (std::memcmp(bytes.data(), base_bytes.data() + place.base_offset, bytes.size()) == 0)
            return pack_as(place, bytes);
        if (alone.transform == FrameTransform::None)  // blocks: whole ones may be alike
            return pack_as(beside(other->offset, other->size_bytes, within, piece.size_bytes), bytes);
        place.element_bytes = alone.element_bytes;
        return smaller_of(alone, place, bytes);
    }

    /// For matches: what stands in the base from `offset` on, around the place that `within` is of it.
    FrameRecipe beside(uint64_t offset, uint64_t size_bytes, uint64_t within, uint64_t n) const {
        constexpr uint64_t kAround = 1 << 20;
        const uint64_t most = std::min<uint64_t>(kMostBaseBytes, n + 2 * kAround);
        const uint64_t begin = std::min(within > kAround ? within - kAround : 0, size_bytes);
        const uint64_t n_base = std::min({most, size_bytes - begin, base_->bytes().size() - offset - begin});
        return {.base_offset = offset + begin, .base_bytes = uint32_t(n_base)};
    }

    /// Whichever packs the piece's beginning better.
    Packed smaller_of(const FrameRecipe& a, FrameRecipe b, std::span<const std::byte> bytes) const {
        const auto sample = bytes.first(std::min<size_t>(bytes.size(), 128 << 10));
        FrameRecipe b_sample = b;
        if (b.transform == FrameTransform::Difference) b_sample.base_bytes = uint32_t(sample.size());
        const bool takes_a = pack_as(a, sample, 1).bytes.size() <= pack_as(b_sample, sample, 1).bytes.size();
        return pack_as(takes_a ? a : b, bytes);
    }

    Packed pack_as(const FrameRecipe& recipe, std::span<const std::byte> bytes, int level = 0) const {
        if (level == 0) level = request_.level;
        const auto base = recipe.base_bytes == 0
                              ? std::span<const std::byte>()
                              : base_->bytes().subspan(recipe.base_offset, recipe.base_bytes);
        if (recipe.transform == FrameTransform::None)
            return {pack_frame(bytes, level, request_.far, base), recipe};
        std::vector<std::byte> transformed(bytes.size());
        transform_frame(recipe.transform, recipe.element_bytes, bytes, base, transformed);
        return {pack_frame(transformed, level, request_.far), recipe};
    }

    const GgufFile& file_;
    const GgufFile* base_;
    const PackRequest& request_;
};

}  // namespace

PackResult pack(const GgufFile& file, const std::string& output, const PackRequest& request,
                const PackProgress& progress, const std::atomic<bool>* stop) {
    if (!file.is_plain()) fail("{}: is packed already, or no file", file.path().string());
    if (request.frame_bytes == 0 || request.frame_bytes > kMostFrameBytes)
        fail("frames of {} bytes: expected 1 to {}", grouped(request.frame_bytes), grouped(kMostFrameBytes));
    std::optional<GgufFile> base;
    PackedHeader header{.size_bytes = file.bytes().size()};
    if (!request.base.empty()) {
        base.emplace(request.base);
        if (!base->is_plain())
            fail("{}: is packed, or no file; unpack it, and give the same file to unpack", request.base);
        header.base_size_bytes = base->bytes().size();
        header.base_checksum = xxh3_128_hex(base->bytes());
        header.base_name = base->path().filename().string();
    }
    const bool has_header = base || request.planes;
    const std::vector<Piece> pieces = pieces_of(file, request.frame_bytes);
    const Packer packer(file, base ? &*base : nullptr, request);
    PackResult result{.size_bytes = file.bytes().size(), .n_frames = pieces.size()};
    // The packed size is not known: the file grows, and takes no more disk than is written. Frames are packed
    // in rounds of a few a thread, then written in order; last the header, when every recipe is known.
    constexpr uint64_t kMostGrowth = 1 << 10;  // of a frame that cannot be packed: zstd adds 1/256 at most
    uint64_t bound = encode_seek_table({}).size() + pieces.size() * (kMostGrowth + 8);
    bound += file.bytes().size() + file.bytes().size() / 256;
    std::vector<PackedFrame> frames;
    if (has_header) {
        header.frames.resize(pieces.size());
        result.packed_bytes = encode_packed_header(header).size();
        frames.push_back({.packed_bytes = result.packed_bytes});
        bound += result.packed_bytes;
    }
    OutputFile target(output, bound, request.overwrite, 0, OutputFile::Space::Sparse);
    std::atomic<uint64_t> done = 0;
    const size_t n_round = size_t(threads(request.n_threads)) * 2;
    for (size_t first = 0; first < pieces.size(); first += n_round) {
        std::vector<Packed> packed(std::min(n_round, pieces.size() - first));
        in_parallel(packed.size(), request.n_threads, stop, [&](size_t i) {
            packed[i] = packer.pack(pieces[first + i]);
            done += pieces[first + i].size_bytes;
            if (progress) progress(done, result.size_bytes);
        });
        if (stop && stop->load()) {
            result.stopped = true;
            return result;
        }
        for (size_t i = 0; i < packed.size(); ++i) {
            const Piece& piece = pieces[first + i];
            frames.push_back({result.packed_bytes, packed[i].bytes.size(), piece.offset, piece.size_bytes});
            target.write_at(result.packed_bytes, packed[i].bytes);
            result.packed_bytes += packed[i].bytes.size();
            if (has_header) header.frames[first + i] = packed[i].recipe;
        }
    }
    if (has_header) target.write_at(0, encode_packed_header(header));
    const std::vector<std::byte> table = encode_seek_table(frames);
    target.write_at(result.packed_bytes, table);
    result.packed_bytes += table.size();
    target.shorten(result.packed_bytes);
    target.commit();
    return result;
}

PackResult unpack(const std::string& packed, const std::string& output, const UnpackRequest& request,
                  const PackProgress& progress, const std::atomic<bool>* stop) {
    MappedFile file{std::filesystem::path(packed)};
    if (!is_packed(file.bytes()))
        fail("{}: is not packed: it begins neither with a frame of zstd nor with INGOTPAK", packed);
    std::optional<MappedFile> base;
    if (!request.base.empty()) base.emplace(std::filesystem::path(request.base));
    const PackedFile source(std::move(file), base ? &*base : nullptr);
    PackResult result{.size_bytes = source.size_bytes().value_or(0),
                      .packed_bytes = source.packed_bytes(),
                      .n_frames = source.frames().size()};
    OutputFile target(output, result.size_bytes, request.overwrite);
    std::atomic<uint64_t> done = 0;
    in_parallel(source.frames().size(), request.n_threads, stop, [&](size_t i) {
        const PackedFrame& frame = source.frames()[i];
        std::vector<std::byte> unpacked(frame.size_bytes);
        source.unpack(i, unpacked);
        target.write_at(frame.offset, unpacked);
        done += frame.size_bytes;
        if (progress) progress(done, result.size_bytes);
    });
    result.stopped = stop && stop->load();
    if (!result.stopped) target.commit();
    return result;
}

}  // namespace ingot::inspect
