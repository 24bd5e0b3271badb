#include "converters/model_writer.h"

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "format/checksum.h"
#include "format/ingot_keys.h"

namespace ingot::converters {

namespace {

// A journal is text: a heading, then one line for each tensor of the file.
constexpr std::string_view kHeading = "ingot journal 1 ";
constexpr uint64_t kHashDigits = 32;
constexpr uint64_t kHeadingBytes = kHeading.size() + kHashDigits + 1;
constexpr uint64_t kLineBytes = kHashDigits + 1;

uint64_t journal_bytes(const PlannedFile& file) {
    return kHeadingBytes + file.layout.tensors().size() * kLineBytes;
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

/// What the bytes of a file depend on. The header has every name, shape, type and offset, all metadata, the
/// version and the sources' names and sizes.
std::string fingerprint_of(const ConversionPlan& plan, const PlannedFile& file) {
    StreamingChecksum checksum;
    checksum.update(file.layout.encode_header());
    std::string rest = fmt::format("\n{}\n", plan.family);
    for (const AdapterChoice& adapter : plan.request.adapters) rest += fmt::format("{}\n", adapter.scale);
    for (const MappedFile* source : plan.source_files()) {
        std::error_code error;
        const auto changed = std::filesystem::last_write_time(source->path(), error);
        rest += fmt::format("{} {} {}\n", source->path().filename().string(), source->bytes().size(),
                            error ? 0 : changed.time_since_epoch().count());
    }
    checksum.update(bytes_of(rest));
    return checksum.hex();
}

bool is_hash(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

/// One file and its journal.
struct ModelWriter::File {
    const PlannedFile& plan;
    OutputFile output;
    std::vector<std::string> earlier;  // by tensor of this file: checksums of the process before; or empty

    File(const PlannedFile& file, const std::string& fingerprint, const std::string& path, bool overwrite)
        : plan(file), output(path, file.layout.file_size_bytes(), overwrite, journal_bytes(file)) {
        const std::string heading = std::string(kHeading) + fingerprint + "\n";
        if (output.has_earlier_bytes()) {
            std::string journal(journal_bytes(file), '\0');
            output.read_at(file.layout.file_size_bytes(), std::as_writable_bytes(std::span(journal)));
            if (journal.starts_with(heading)) {
                read(journal);
                return;
            }
            // Another conversion's. Its lines must not be taken for ours.
            const std::string nothing(journal.size(), '\0');
            output.write_at(file.layout.file_size_bytes(), bytes_of(nothing));
        }
        output.write_at(file.layout.file_size_bytes(), bytes_of(heading));
    }

    void read(std::string_view journal) {
        for (size_t i = 0; i < plan.layout.tensors().size(); ++i) {
            const std::string_view line = journal.substr(kHeadingBytes + i * kLineBytes, kLineBytes);
            const bool whole = line.back() == '\n' && is_hash(line.substr(0, kHashDigits));
            earlier.emplace_back(whole ? line.substr(0, kHashDigits) : "");
        }
    }

    void record(size_t tensor, const std::string& checksum) {
        output.write_at(plan.layout.file_size_bytes() + kHeadingBytes + tensor * kLineBytes,
                        bytes_of(checksum + "\n"));
    }

    std::string checksum_of(const TensorPlan& tensor) const {
        constexpr uint64_t kPieceBytes = 4 << 20;
        std::vector<std::byte> piece;
        StreamingChecksum checksum;
        for (uint64_t at = 0; at < tensor.size_bytes; at += piece.size()) {
            piece.resize(std::min(kPieceBytes, tensor.size_bytes - at));
            output.read_at(tensor.offset + at, piece);
            checksum.update(piece);
        }
        return checksum.hex();
    }
};

ModelWriter::ModelWriter(const ConversionPlan& plan, const std::string& output, bool overwrite)
    : plan_(plan), checksums_(plan.tensors.size()) {
    const std::vector<std::string> paths = output_paths(plan, output);
    for (size_t i = 0; i < paths.size(); ++i) {
        const PlannedFile& file = plan.files[i];
        const bool may_replace = overwrite || is_left_over(plan, paths, i);
        files_.push_back(std::make_unique<File>(file, fingerprint_of(plan, file), paths[i], may_replace));
    }
}

ModelWriter::~ModelWriter() = default;

size_t ModelWriter::take_over(int n_threads, const std::atomic<bool>* cancel) {
    tbb::task_arena arena(n_threads);
    arena.execute([&] {
        tbb::parallel_for(size_t(0), plan_.tensors.size(), [&](size_t tensor) {
            const File& file = *files_[plan_.tensors[tensor].file];
            if (file.earlier.empty() || (cancel && cancel->load(std::memory_order_relaxed))) return;
            const std::string& recorded = file.earlier[tensor - file.plan.first_tensor];
            if (!recorded.empty() && file.checksum_of(plan_.target(tensor)) == recorded)
                checksums_[tensor] = recorded;
        });
    });
    return n_done();
}

size_t ModelWriter::n_done() const {
    return size_t(std::ranges::count_if(checksums_, [](const std::string& text) { return !text.empty(); }));
}

void ModelWriter::write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
    files_[plan_.tensors[tensor].file]->output.write_at(plan_.target(tensor).offset + offset, bytes);
}

void ModelWriter::finish(size_t tensor, const std::string& checksum) {
    File& file = *files_[plan_.tensors[tensor].file];
    checksums_[tensor] = checksum;
    file.record(tensor - file.plan.first_tensor, checksum);
}

void ModelWriter::commit() {
    for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
        const PlannedFile& planned = (*file)->plan;
        const auto first = checksums_.begin() + long(planned.first_tensor);
        GgufLayout layout = planned.layout;
        layout.metadata().set(
            std::string(keys::kChecksums),
            MetadataArray{std::vector<std::string>(first, first + long(planned.layout.tensors().size()))});
        (*file)->output.write_at(0, layout.encode_header());
    }
    for (auto file = files_.rbegin(); file != files_.rend(); ++file) (*file)->output.commit();
}

void ModelWriter::keep() {
    for (const auto& file : files_) file->output.keep();
}

const std::string& ModelWriter::unfinished_path() const {
    return files_.at(0)->output.unfinished_path();
}

}  // namespace ingot::converters
