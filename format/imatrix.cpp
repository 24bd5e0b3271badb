#include "format/imatrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/checksum.h"
#include "format/error.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "format/mapped_file.h"
#include "format/output_file.h"
#include "format/utf8.h"

namespace ingot {
namespace {

constexpr std::string_view kSumsSuffix = ".in_sum2";
constexpr std::string_view kCountsSuffix = ".counts";
constexpr std::string_view kType = "imatrix";  // of general.type
constexpr std::string_view kDatasetsKey = "imatrix.datasets";
constexpr std::string_view kChunkCountKey = "imatrix.chunk_count";
constexpr std::string_view kChunkSizeKey = "imatrix.chunk_size";
constexpr uint64_t kMaxEntries = 1 << 18;  // no model has as many tensors

/// Sums and counts are of things that cannot be negative, and a NaN would poison all it is added to.
void check_values(std::string_view tensor, std::span<const float> values, std::string_view what) {
    const auto bad = std::ranges::find_if(
        values, [](float value) { return !(value >= 0 && value <= std::numeric_limits<float>::max()); });
    if (bad == values.end()) return;
    fail("{}: {} {} is {}; expected a finite number that is not negative", printable(tensor), what,
         bad - values.begin(), *bad);
}

/// `count` consecutive floats, wherever they lie.
std::vector<float> load_floats(std::span<const std::byte> bytes) {
    std::vector<float> values(bytes.size() / sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
}

uint32_t to_uint32(uint64_t number) {
    return uint32_t(std::min<uint64_t>(number, UINT32_MAX));
}

// ---- the GGUF form ---------------------------------------------------------------------------------------

std::vector<float> read_floats(std::span<const std::byte> file, const TensorInfo& tensor) {
    if (tensor.type != TensorType::F32)
        fail("tensor {}: type is {}; expected F32", printable(tensor.name), name(tensor.type));
    return load_floats(file.subspan(tensor.offset, tensor.size_bytes));
}

ImportanceEntry read_entry(std::span<const std::byte> file, std::string_view name, const TensorInfo& sums,
                           const TensorInfo& counts) {
    // One matrix per count; a single count also stands for all matrices of its tensor.
    if (sums.n_elements == 0 || counts.n_elements == 0 || sums.n_elements % counts.n_elements != 0 ||
        (counts.n_elements != 1 && counts.n_elements != sums.n_rows())) {
        fail("{}: has sums of {} rows of {}, but {} counts; expected a count for each row", printable(name),
             sums.n_rows(), sums.row_elements(), counts.n_elements);
    }
    ImportanceEntry entry;
    entry.sums = read_floats(file, sums);
    check_values(name, entry.sums, "sum");
    const std::vector<float> stored = read_floats(file, counts);
    check_values(name, stored, "count");
    for (size_t i = 0; i < stored.size(); ++i) {
        constexpr float kMost = 0x1p53f;
        if (stored[i] > kMost)
            fail("{}: count {} is {}; expected at most 2^53", printable(name), i, stored[i]);
        entry.counts.push_back(uint64_t(std::llround(stored[i])));
    }
    return entry;
}

ImportanceMatrix parse_gguf(std::span<const std::byte> file) {
    const GgufHeader header = GgufHeader::parse(file);
    const std::string_view type = header.get_string("general.type").value_or("");
    if (type != kType)
        fail("general.type is \"{}\"; expected \"{}\": is this a model?", printable(type), kType);
    ImportanceMatrix matrix;
    for (const std::string_view dataset : header.strings(kDatasetsKey)) matrix.datasets.emplace_back(dataset);
    matrix.n_chunks = to_uint32(header.get_uint(kChunkCountKey).value_or(0));
    matrix.chunk_size = to_uint32(header.get_uint(kChunkSizeKey).value_or(0));
    for (const TensorInfo& tensor : header.tensors()) {
        const std::string_view name = tensor.name;
        if (name.ends_with(kCountsSuffix)) {
            const std::string_view base = name.substr(0, name.size() - kCountsSuffix.size());
            if (!header.find_tensor(std::string(base) + std::string(kSumsSuffix)))
                fail("tensor {} has no {}{} beside it", printable(name), printable(base), kSumsSuffix);
        }
        if (!name.ends_with(kSumsSuffix)) continue;
        const std::string_view base = name.substr(0, name.size() - kSumsSuffix.size());
        const TensorInfo* counts = header.find_tensor(std::string(base) + std::string(kCountsSuffix));
        if (!counts) fail("tensor {} has no {}{} beside it", printable(name), printable(base), kCountsSuffix);
        matrix.add(base, read_entry(file, base, tensor, *counts));
    }
    return matrix;
}

// ---- the older binary form -------------------------------------------------------------------------------

/// Reads the bytes front to back; every extent is checked before it is touched.
class Reader {
  public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
    size_t offset() const { return offset_; }
    size_t remaining() const { return bytes_.size() - offset_; }

    std::span<const std::byte> take(uint64_t size_bytes, std::string_view what) {
        if (size_bytes > remaining())
            fail(
                "byte {}: {} takes {} bytes, but {} are left; the file is no importance matrix, or "
                "incomplete",
                grouped(offset_), what, grouped(size_bytes), grouped(remaining()));
        const auto taken = bytes_.subspan(offset_, size_t(size_bytes));
        offset_ += size_t(size_bytes);
        return taken;
    }
    /// An int32 that is not below `least`.
    uint64_t number(int32_t least, std::string_view what) {
        const size_t at = offset_;
        int32_t value = 0;
        std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
        if (value < least)
            fail("byte {}: {} is {}; expected {} or more; is this an importance matrix?", grouped(at), what,
                 value, least);
        return uint64_t(value);
    }
    std::string_view text(std::string_view what) {
        const uint64_t size_bytes = number(0, "a length");
        const auto bytes = take(size_bytes, what);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

  private:
    std::span<const std::byte> bytes_;
    size_t offset_ = 0;
};

ImportanceMatrix parse_binary(std::span<const std::byte> file) {
    Reader reader(file);
    ImportanceMatrix matrix;
    matrix.chunk_size = ImportanceMatrix::kDefaultChunk;
    const uint64_t n_entries = reader.number(1, "the number of entries");
    if (n_entries > kMaxEntries)
        fail("byte 0: {} entries; expected at most {}; is this an importance matrix?", grouped(n_entries),
             grouped(kMaxEntries));
    for (uint64_t i = 0; i < n_entries; ++i) {
        const std::string_view tensor = reader.text("a tensor's name");
        if (tensor.empty() || tensor.size() > kMaxKeyBytes || !is_utf8(tensor) ||
            tensor.find('\0') != tensor.npos) {
            fail("byte {}: entry {} has no tensor's name; is this an importance matrix?",
                 grouped(reader.offset()), i);
        }
        if (matrix.find(tensor)) fail("{}: has two entries", printable(tensor));
        // Each value is the mean square times the number of chunks. Without chunks it is what it is.
        const uint64_t n_chunks = std::max<uint64_t>(reader.number(0, "a number of chunks"), 1);
        const uint64_t n_values = reader.number(1, "a number of values");
        ImportanceEntry entry;
        entry.sums = load_floats(reader.take(n_values * sizeof(float), "values"));
        for (float& sum : entry.sums) sum *= float(matrix.chunk_size);
        check_values(tensor, entry.sums, "value");
        entry.counts = {n_chunks * matrix.chunk_size};
        matrix.add(tensor, std::move(entry));
    }
    // Files of the first versions end here; later ones go on with the chunks and the text's name.
    if (reader.remaining() > 0) matrix.n_chunks = reader.number(0, "the number of chunks");
    if (reader.remaining() > 0) {
        const std::string_view dataset = reader.text("the text's name");
        if (!dataset.empty()) matrix.datasets.emplace_back(dataset);
    }
    if (reader.remaining() > 0)
        fail("byte {}: {} bytes behind the end of an importance matrix", grouped(reader.offset()),
             grouped(reader.remaining()));
    return matrix;
}

}  // namespace

bool ImportanceEntry::fits(uint64_t n_columns, uint64_t n_matrices) const {
    uint64_t n_sums = 0;
    return !__builtin_mul_overflow(n_columns, n_matrices, &n_sums) && sums.size() == n_sums &&
           (counts.size() == 1 || counts.size() == n_matrices);
}

std::span<const float> ImportanceEntry::columns(uint64_t matrix, uint64_t n_columns) const {
    if (counts[counts.size() == 1 ? 0 : matrix] == 0) return {};
    return std::span(sums).subspan(matrix * n_columns, n_columns);
}

std::vector<float> ImportanceEntry::mean_squares() const {
    std::vector<float> means(sums.size());
    const size_t n_columns = counts.empty() ? 0 : sums.size() / counts.size();
    for (size_t m = 0; m < counts.size(); ++m) {
        if (counts[m] == 0) continue;
        for (size_t i = m * n_columns; i < (m + 1) * n_columns; ++i)
            means[i] = float(double(sums[i]) / double(counts[m]));
    }
    return means;
}

const ImportanceEntry* ImportanceMatrix::find(std::string_view tensor) const {
    const auto at = entries_.find(tensor);
    return at == entries_.end() ? nullptr : &at->second;
}

void ImportanceMatrix::add(std::string_view tensor, ImportanceEntry entry) {
    const auto at = entries_.find(tensor);
    if (at == entries_.end()) {
        entries_.emplace(tensor, std::move(entry));
        return;
    }
    ImportanceEntry& sum = at->second;
    if (sum.sums.size() != entry.sums.size() ||
        (sum.counts.size() != 1 && entry.counts.size() != 1 && entry.counts.size() != sum.counts.size())) {
        fail("{}: {} sums and {} counts cannot be added to {} and {}; they are of different models",
             printable(tensor), entry.sums.size(), entry.counts.size(), sum.sums.size(), sum.counts.size());
    }
    // Where one has a count for all matrices, and the other one for each, so has the sum.
    if (sum.counts.size() == 1) sum.counts.resize(entry.counts.size(), sum.counts[0]);
    for (size_t i = 0; i < sum.sums.size(); ++i) sum.sums[i] += entry.sums[i];
    check_values(tensor, sum.sums, "sum");
    for (size_t i = 0; i < sum.counts.size(); ++i)
        sum.counts[i] += entry.counts[entry.counts.size() == 1 ? 0 : i];
}

void ImportanceMatrix::add(const ImportanceMatrix& other) {
    for (const auto& [tensor, entry] : other.entries_) add(tensor, entry);
    datasets.insert(datasets.end(), other.datasets.begin(), other.datasets.end());
    // Chunks of another length count by their tokens.
    if (chunk_size == 0) chunk_size = other.chunk_size;
    n_chunks += chunk_size == 0 || other.chunk_size == 0 ? other.n_chunks
                                                         : other.n_chunks * other.chunk_size / chunk_size;
}

ImportanceMatrix ImportanceMatrix::parse(std::span<const std::byte> bytes) {
    uint32_t magic = 0;
    if (bytes.size() >= sizeof magic) std::memcpy(&magic, bytes.data(), sizeof magic);
    ImportanceMatrix matrix = magic == kGgufMagic ? parse_gguf(bytes) : parse_binary(bytes);
    if (matrix.entries_.empty()) fail("holds no entries; expected sums and counts of at least one tensor");
    return matrix;
}

ImportanceMatrix ImportanceMatrix::read(const std::filesystem::path& path) {
    const MappedFile file(path);
    try {
        return parse(file.bytes());
    } catch (const Error& error) {
        fail("{}: {}", path.string(), error.what());
    }
}

void ImportanceMatrix::write(const std::filesystem::path& path, bool overwrite) const {
    Metadata metadata;
    metadata.set("general.type", kType);
    metadata.set(std::string(kDatasetsKey), MetadataArray{datasets});
    metadata.set(std::string(kChunkCountKey), to_uint32(n_chunks));
    metadata.set(std::string(kChunkSizeKey), to_uint32(chunk_size));
    metadata.set(std::string(keys::kVersion), INGOT_VERSION);

    std::vector<TensorPlan> tensors;
    std::vector<std::span<const float>> data;
    std::vector<std::vector<float>> counts;
    std::vector<std::string> checksums;
    counts.reserve(entries_.size());
    for (const auto& [tensor, entry] : entries_) {
        const uint64_t n_rows = entry.counts.size();
        counts.emplace_back(entry.counts.begin(), entry.counts.end());
        tensors.push_back(
            {tensor + std::string(kSumsSuffix), TensorType::F32, {entry.sums.size() / n_rows, n_rows}});
        data.emplace_back(entry.sums);
        tensors.push_back({tensor + std::string(kCountsSuffix), TensorType::F32, {1, n_rows}});
        data.emplace_back(counts.back());
    }
    for (const auto values : data) checksums.push_back(xxh3_128_hex(std::as_bytes(values)));
    metadata.set(std::string(keys::kChecksums), MetadataArray{std::move(checksums)});

    const GgufLayout layout(std::move(metadata), std::move(tensors));
    OutputFile file(path, layout.file_size_bytes(), overwrite);
    file.write_at(0, layout.encode_header());
    for (size_t i = 0; i < data.size(); ++i)
        file.write_at(layout.tensors()[i].offset, std::as_bytes(data[i]));
    file.commit();
}

}  // namespace ingot
