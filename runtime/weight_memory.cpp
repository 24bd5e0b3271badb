#include "runtime/weight_memory.h"

#include <algorithm>
#include <new>

#include "format/error.h"

namespace ingot::runtime {
namespace {

constexpr size_t kPieceBytes = size_t(8) << 20;       // of one read
constexpr size_t kLeastReadAhead = size_t(64) << 20;  // smaller files are there before a thread is
constexpr size_t kSmallBytes = size_t(256) << 10;     // vectors are smaller
static_assert(kPieceBytes % BulkFile::kAlignment == 0);

size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

LargeMemory memory_for(size_t size_bytes) {
    try {
        return LargeMemory(size_bytes);
    } catch (const std::bad_alloc&) {
        fail("{:.1f} MiB of memory cannot be had; --load map needs none of its own",
             double(size_bytes) / (1 << 20));
    }
}

}  // namespace

struct WeightMemory::File {
    const GgufFile* file;
    LargeMemory memory;  // all bytes of the file, at the same offsets; none when it is used as it is mapped
    std::unique_ptr<BulkFile> source;
    size_t first_piece;       // counted through the files
    std::vector<bool> there;  // by piece

    size_t n_pieces() const { return there.size(); }
    bool has(size_t offset, size_t size_bytes) const {
        if (size_bytes == 0) return true;
        const auto first = there.begin() + std::ptrdiff_t(offset / kPieceBytes);
        const auto last = there.begin() + std::ptrdiff_t((offset + size_bytes - 1) / kPieceBytes);
        return std::all_of(first, last + 1, [](bool is_there) { return is_there; });
    }
};

WeightMemory::WeightMemory(const GgufModel& model, const LoadOptions& options)
    : model_(model), mode_(options.mode) {
    if (!has_bytes()) return;
    // What is unpacked is in memory already: it is taken from there, whatever was asked for.
    if (!std::ranges::all_of(model.files(), &GgufFile::is_plain)) mode_ = LoadMode::Map;
    size_t n_bytes = 0, n_pieces = 0;
    for (const GgufFile& file : model.files()) {
        auto entry = std::make_unique<File>();
        entry->file = &file;
        entry->first_piece = n_pieces;
        const size_t size_bytes = file.bytes().size();
        n_bytes += size_bytes;
        if (mode_ == LoadMode::Map) {
            if (options.lock) lock_memory(file.bytes());
        } else {
            entry->memory = memory_for(round_up(size_bytes, BulkFile::kAlignment));
            if (options.lock) lock_memory(entry->memory.bytes());
            entry->source = std::make_unique<BulkFile>(file.path(), mode_ == LoadMode::Direct);
            entry->there.resize((size_bytes + kPieceBytes - 1) / kPieceBytes);
            n_pieces += entry->n_pieces();
        }
        files_.push_back(std::move(entry));
    }
    n_missing_ = n_pieces;
    // Vectors are read while the model is loaded, from the mapped file: all at once, before the disk is busy
    // with the rest.
    for (const TensorInfo& tensor : model.header().tensors()) {
        if (tensor.size_bytes <= kSmallBytes)
            model.file_of(tensor).file().will_need(size_t(tensor.offset), size_t(tensor.size_bytes));
    }
    if (mode_ != LoadMode::Map) {
        start(options.n_readers, &WeightMemory::read_pieces);
    } else if (n_bytes >= kLeastReadAhead && !options.lock) {
        start(1, &WeightMemory::read_ahead);
    }
}

// At least one thread; fewer than asked for where the system gives no more.
void WeightMemory::start(int n_readers, void (WeightMemory::*work)()) {
    for (int i = 0; i < std::max(1, n_readers); ++i) {
        try {
            readers_.emplace_back([this, work] { (this->*work)(); });
        } catch (const std::exception& error) {
            if (readers_.empty()) fail("no thread could be started to read the file: {}", error.what());
            return;
        }
    }
}

WeightMemory::~WeightMemory() {
    stop_ = true;
    for (std::thread& reader : readers_) reader.join();
}

std::span<const std::byte> WeightMemory::bytes_of(const TensorInfo& tensor) const {
    if (!has_bytes())
        return model_.file_of(tensor).bytes().subspan(size_t(tensor.offset), size_t(tensor.size_bytes));
    const File& file = *files_[tensor.shard];
    if (mode_ == LoadMode::Map) return file.file->tensor_bytes(tensor);
    return file.memory.bytes().subspan(size_t(tensor.offset), size_t(tensor.size_bytes));
}

void WeightMemory::wait_for(const TensorInfo& tensor) const {
    if (is_complete()) return;
    const File& file = *files_[tensor.shard];
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return error_ || file.has(size_t(tensor.offset), size_t(tensor.size_bytes)); });
    if (!file.has(size_t(tensor.offset), size_t(tensor.size_bytes))) std::rethrow_exception(error_);
}

// Asks for the mapped file's pages in its order: in larger reads than touching them page by page would cause.
void WeightMemory::read_ahead() {
    for (const auto& file : files_) {
        for (size_t at = 0; at < file->file->bytes().size(); at += kPieceBytes) {
            if (stop_) return;
            file->file->file().will_need(at, kPieceBytes);
        }
    }
}

void WeightMemory::read_pieces() {
    while (!stop_) {
        const size_t number = next_.fetch_add(1, std::memory_order_relaxed);
        File* file = nullptr;
        for (const auto& candidate : files_) {
            if (number >= candidate->first_piece && number < candidate->first_piece + candidate->n_pieces())
                file = candidate.get();
        }
        if (file == nullptr) return;
        const size_t piece = number - file->first_piece;
        const size_t offset = piece * kPieceBytes;
        const std::span<std::byte> memory = file->memory.bytes();
        const std::span<std::byte> room =
            memory.subspan(offset, std::min(kPieceBytes, memory.size() - offset));
        try {
            file->source->read_at(offset, room, std::min(room.size(), file->file->bytes().size() - offset));
        } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!error_) error_ = std::current_exception();
            arrived_.notify_all();
            return;
        }
        const std::lock_guard lock(mutex_);
        file->there[piece] = true;
        n_missing_.fetch_sub(1, std::memory_order_release);
        arrived_.notify_all();
    }
}

}  // namespace ingot::runtime
