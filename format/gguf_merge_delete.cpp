// Merging where the disk cannot hold the model twice.
//
// The unfinished output has, from the start, the header of the whole model, and behind its end a journal: a
// heading that names the header, then one line for each shard that is done. In this order, for every shard:
// its tensors are copied; they are made durable; they are read back and compared; the line is written and
// made durable; the shard is deleted. Whoever takes over needs only the unfinished output and the shards that
// have no line.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <system_error>

#include "format/checksum.h"
#include "format/error.h"
#include "format/gguf_split.h"
#include "format/output_file.h"

namespace ingot {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHeading = "ingot merge 1 ";
constexpr uint64_t kDigits = 32;
constexpr uint64_t kHeadingBytes = kHeading.size() + 2 * (kDigits + 1);  // …, size and checksum of the header
constexpr uint64_t kLineBytes = 5;                                       // "done\n"

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

/// "model", 3 of "/x/model-00002-of-00003.gguf".
struct ShardName {
    fs::path folder;
    std::string prefix;
    uint64_t n_shards = 0;

    std::string path(uint64_t shard) const { return (folder / shard_name(prefix, shard, n_shards)).string(); }
};

ShardName parse_name(const std::string& path) {
    // "-00002-of-00003.gguf": more digits where there are that many shards.
    const std::string name = fs::path(path).filename().string();
    const size_t of = name.rfind("-of-"), dash = of == name.npos ? name.npos : name.rfind('-', of - 1);
    uint64_t shard = 0, n_shards = 0;
    const auto number = [&](size_t begin, uint64_t& result) {
        std::from_chars(name.data() + begin, name.data() + name.size(), result);
    };
    if (dash != name.npos && of > 0) {
        number(dash + 1, shard);
        number(of + 4, n_shards);
    }
    const bool in_range = shard >= 1 && shard <= n_shards && n_shards <= kMaxShards;
    const auto prefix = in_range ? shard_prefix(name, shard - 1, n_shards) : std::nullopt;
    if (!prefix)
        fail("{}: is no shard: its name does not end with \"-00001-of-00003.gguf\" or the like", path);
    return {fs::path(path).parent_path(), *prefix, n_shards};
}

/// The output with its journal.
class Merge {
  public:
    Merge(const ShardName& name, const std::string& output) : name_(name), target_(output) {
        const fs::path unfinished = OutputFile::unfinished_path_of(output);
        std::error_code error;
        if (fs::exists(unfinished, error)) take_over(unfinished);
        if (!output_) begin();
    }

    bool run(const CopyProgress& progress, const std::atomic<bool>* stop) {
        output_->keep();  // whatever happens from here on: shards may be gone
        uint64_t copied = 0;
        for (uint64_t shard = 0; shard < name_.n_shards; ++shard) {
            if (!done_[shard] && !add(shard, copied, progress, stop)) return false;
            std::error_code error;
            fs::remove(name_.path(shard), error);
            if (error) fail("{}: is merged, but cannot be removed: {}", name_.path(shard), error.message());
        }
        output_->commit();
        return true;
    }

  private:
    /// All shards are there: the header is made of theirs.
    void begin() {
        const GgufModel model(name_.path(0));
        if (model.files().size() != name_.n_shards)
            fail("{}: is not split into {} files", name_.path(0), name_.n_shards);
        const PlannedShard plan = plan_merge(model);
        header_ = plan.layout.encode_header();
        size_bytes_ = plan.layout.file_size_bytes();
        done_.assign(name_.n_shards, false);
        output_ = std::make_unique<OutputFile>(target_, size_bytes_, false, journal_bytes(),
                                               OutputFile::Space::Sparse);
        output_->write_at(0, header_);
        // With no line: the file may be another merge's, which was killed.
        output_->write_at(size_bytes_, bytes_of(heading() + std::string(name_.n_shards * kLineBytes, '-')));
        output_->sync();
    }

    /// An unfinished output whose journal fits its header: what the shards that are gone had is there.
    void take_over(const fs::path& unfinished) {
        const MappedFile file(unfinished);
        std::optional<GgufHeader> header;
        try {
            header = GgufHeader::parse(file.bytes());
        } catch (const Error&) {
            return;  // a merge that had not begun, or another program's
        }
        uint64_t end = header->data_offset();
        for (const TensorInfo& tensor : header->tensors())
            end = std::max(end, tensor.offset + tensor.size_bytes);
        size_bytes_ = (end + header->alignment() - 1) / header->alignment() * header->alignment();
        if (file.bytes().size() != size_bytes_ + journal_bytes()) return;
        header_.assign(file.bytes().begin(), file.bytes().begin() + long(header->data_offset()));
        const auto text = file.bytes().subspan(size_bytes_);
        const std::string_view journal(reinterpret_cast<const char*>(text.data()), text.size());
        if (!journal.starts_with(heading())) return;
        for (uint64_t shard = 0; shard < name_.n_shards; ++shard)
            done_.push_back(journal.substr(kHeadingBytes + shard * kLineBytes, kLineBytes) == "done\n");
        output_ = std::make_unique<OutputFile>(target_, size_bytes_, false, journal_bytes(),
                                               OutputFile::Space::Sparse);
    }

    uint64_t journal_bytes() const { return kHeadingBytes + name_.n_shards * kLineBytes; }

    std::string heading() const {
        return fmt::format("{}{:032}\n{}\n", kHeading, header_.size(), xxh3_128_hex(header_));
    }

    bool add(uint64_t shard, uint64_t& copied, const CopyProgress& progress, const std::atomic<bool>* stop) {
        constexpr uint64_t kPieceBytes = 16 << 20;
        const GgufFile file(name_.path(shard));
        if (!file.is_plain()) fail("{}: is packed; merge without --delete-shards", name_.path(shard));
        const GgufHeader header = GgufHeader::parse(header_, size_bytes_);
        std::vector<std::byte> piece;
        // Twice: first every tensor is copied, then, when they are durable, compared.
        for (const bool compare : {false, true}) {
            for (const TensorInfo& source : file.header().tensors()) {
                const TensorInfo* target = header.find_tensor(source.name);
                if (!target || target->size_bytes != source.size_bytes) {
                    fail(
                        "{}: tensor {} is not the one that the unfinished {} expects; it is of another model",
                        name_.path(shard), printable(source.name), output_->unfinished_path());
                }
                for (uint64_t at = 0; at < source.size_bytes; at += piece.size()) {
                    if (stop && stop->load(std::memory_order_relaxed)) return false;
                    piece.resize(std::min(kPieceBytes, source.size_bytes - at));
                    if (!compare) {
                        output_->copy_from(file.path(), source.offset + at, target->offset + at,
                                           piece.size());
                        copied += piece.size();
                        if (progress) progress(copied);
                        continue;
                    }
                    output_->read_at(target->offset + at, piece);
                    if (!std::ranges::equal(piece, file.tensor_bytes(source).subspan(at, piece.size()))) {
                        fail(
                            "{}: tensor {} was read back with other bytes; the disk is faulty, and no shard "
                            "was removed",
                            output_->unfinished_path(), printable(source.name));
                    }
                }
            }
            if (!compare) {
                write_padding(header, file.header());
                output_->sync();
            }
        }
        output_->write_at(size_bytes_ + kHeadingBytes + shard * kLineBytes, bytes_of("done\n"));
        output_->sync();
        return true;
    }

    /// Zeros behind each tensor of a shard.
    void write_padding(const GgufHeader& header, const GgufHeader& shard) {
        const std::vector<std::byte> zeros(header.alignment());
        for (const TensorInfo& tensor : shard.tensors()) {
            const TensorInfo& target = *header.find_tensor(tensor.name);
            const uint64_t end = target.offset + target.size_bytes;
            output_->write_at(end, std::span(zeros).first(-end & (header.alignment() - 1)));
        }
    }

    ShardName name_;
    std::string target_;
    std::unique_ptr<OutputFile> output_;
    std::vector<std::byte> header_;
    uint64_t size_bytes_ = 0;  // of the output
    std::vector<bool> done_;   // by shard
};

}  // namespace

bool merge_and_delete(const std::string& shard, const std::string& output, const CopyProgress& progress,
                      const std::atomic<bool>* stop) {
    return Merge(parse_name(shard), output).run(progress, stop);
}

}  // namespace ingot
