#include "format/gguf_edit.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>

#include "format/error.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "format/output_file.h"
#include "format/patch.h"

namespace ingot {

namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kPreambleBytes = 24;  // magic, version, counts
// key's length and text, type, value's length
constexpr uint64_t kSpareOverhead = 8 + keys::kSpare.size() + 4 + 8;
// So that at the usual alignment every number of bytes can be filled, by padding or by the key.
static_assert(kSpareOverhead <= kDefaultAlignment);

using Bytes = std::vector<std::byte>;

/// The encoded pair, as it stands in the header.
std::span<const std::byte> encoded(const KeyValue& entry) {
    const auto* begin = reinterpret_cast<const std::byte*>(entry.key.data()) - sizeof(uint64_t);
    return {begin, entry.value.encoded().data() + entry.value.encoded().size()};
}

/// The whole tensor list.
std::span<const std::byte> encoded(const std::vector<TensorInfo>& tensors) {
    if (tensors.empty()) return {};
    const auto at = [](std::string_view name) { return reinterpret_cast<const std::byte*>(name.data()); };
    const TensorInfo& last = tensors.back();
    const size_t rest =
        sizeof(uint32_t) + last.n_dims * sizeof(uint64_t) + sizeof(uint32_t) + sizeof(uint64_t);
    return {at(tensors.front().name) - sizeof(uint64_t), at(last.name) + last.name.size() + rest};
}

void append(Bytes& bytes, std::span<const std::byte> more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
}

Bytes encoded_key(const std::string& key) {
    const uint64_t size = key.size();
    Bytes bytes(sizeof size + key.size());
    std::memcpy(bytes.data(), &size, sizeof size);
    std::memcpy(bytes.data() + sizeof size, key.data(), key.size());
    return bytes;
}

void check_editable(std::string_view key) {
    if (key == "general.alignment" || key == keys::kChecksums || key == keys::kSpare ||
        key.starts_with("split."))
        fail("key {}: says where the file's bytes are, or what they are; it cannot be changed alone",
             printable(key));
    if (key.empty() || key.size() > kMaxKeyBytes) fail("a key has 1 to {} bytes", grouped(kMaxKeyBytes));
}

/// The keys of the new header, each as it will stand there.
std::vector<Bytes> edited_keys(const GgufHeader& header, const MetadataChanges& changes) {
    struct Entry {
        std::string key;
        Bytes bytes;  // empty: erased
    };
    std::vector<Entry> entries;
    for (const KeyValue& entry : header.metadata()) {
        const auto bytes = encoded(entry);
        entries.push_back({std::string(entry.key), Bytes(bytes.begin(), bytes.end())});
    }
    const auto find = [&](const std::string& key) {
        const auto found = std::ranges::find_if(
            entries, [&](const Entry& entry) { return entry.key == key && !entry.bytes.empty(); });
        return found == entries.end() ? nullptr : &*found;
    };
    const auto require = [&](const std::string& key) -> Entry& {
        check_editable(key);
        Entry* entry = find(key);
        if (!entry) fail("key {}: is not in the file", printable(key));
        return *entry;
    };
    for (const auto& [from, to] : changes.renamed) {
        Entry& entry = require(from);
        check_editable(to);
        if (find(to)) fail("key {}: is in the file already", printable(to));
        Bytes bytes = encoded_key(to);
        append(bytes, std::span(entry.bytes).subspan(sizeof(uint64_t) + from.size()));
        entry = {to, std::move(bytes)};
    }
    for (const std::string& key : changes.erased) require(key).bytes.clear();
    for (const auto& [key, value] : changes.set) {
        check_editable(key);
        Bytes bytes = encode_key_value(key, value);
        if (Entry* entry = find(key)) {
            entry->bytes = std::move(bytes);
        } else {
            entries.push_back({key, std::move(bytes)});
        }
    }
    std::vector<Bytes> result;
    for (Entry& entry : entries)
        if (!entry.bytes.empty() && entry.key != keys::kSpare) result.push_back(std::move(entry.bytes));
    return result;
}

/// The key of spare bytes that takes `size_bytes` in all.
Bytes encoded_spare(uint64_t size_bytes) {
    return encode_key_value(std::string(keys::kSpare), std::string(size_bytes - kSpareOverhead, ' '));
}

}  // namespace

EditedHeader edit_header(const GgufFile& file, const MetadataChanges& changes, bool rewrite) {
    if (!file.is_plain())
        fail("{}: cannot be edited: it is packed, or no file; unpack or download it first",
             file.path().string());
    const GgufHeader& header = file.header();
    std::vector<Bytes> keys = edited_keys(header, changes);
    const auto tensors = encoded(header.tensors());
    uint64_t size_bytes = kPreambleBytes + tensors.size();
    for (const Bytes& key : keys) size_bytes += key.size();

    EditedHeader edited;
    const auto before = file.bytes().first(std::min<uint64_t>(header.data_offset(), file.bytes().size()));
    edited.before.assign(before.begin(), before.end());
    const uint64_t old_offset = header.data_offset();
    uint64_t offset = old_offset;  // of the data
    const bool fits = size_bytes <= old_offset;
    const uint64_t left = fits ? old_offset - size_bytes : 0;
    edited.in_place = !rewrite && fits && (left < header.alignment() || left >= kSpareOverhead);
    if (edited.in_place) {
        if (left >= kSpareOverhead) keys.push_back(encoded_spare(left));
    } else if (!header.tensors().empty()) {
        const uint64_t step = std::max<uint64_t>(kPageBytes, header.alignment());
        const uint64_t least = size_bytes + kSpareOverhead + keys::kSpareBytes;
        offset = old_offset % step + (least - std::min(least, old_offset % step) + step - 1) / step * step;
        keys.push_back(encoded_spare(offset - size_bytes));
    } else {
        offset = size_bytes;
    }

    Bytes& bytes = edited.bytes;
    bytes.reserve(offset);
    append(bytes, file.bytes().first(kPreambleBytes));
    const uint64_t n_keys = keys.size();
    std::memcpy(bytes.data() + kPreambleBytes - sizeof n_keys, &n_keys, sizeof n_keys);
    for (const Bytes& key : keys) append(bytes, key);
    append(bytes, tensors);
    bytes.resize(offset);
    // What is written can be read, and says the same of the tensors.
    const uint64_t data_bytes = file.bytes().size() - before.size();
    const GgufHeader check = GgufHeader::parse(bytes, offset + data_bytes);
    if (check.data_offset() != offset || check.tensors().size() != header.tensors().size())
        fail("{}: the edited header does not lead to the data; nothing was written", file.path().string());
    return edited;
}

void write_header(const GgufFile& file, const EditedHeader& edited) {
    const std::span<const std::byte> old(edited.before);
    if (edited.in_place) {
        // From the first byte that changes to the last one.
        const auto first = std::ranges::mismatch(edited.bytes, old).in1 - edited.bytes.begin();
        size_t end = edited.bytes.size();
        while (end > size_t(first) && end <= old.size() && edited.bytes[end - 1] == old[end - 1]) --end;
        if (size_t(first) == end) return;
        patch_file(file.path(), uint64_t(first), old.subspan(size_t(first), end - size_t(first)),
                   std::span(edited.bytes).subspan(size_t(first), end - size_t(first)));
        return;
    }
    if (!std::ranges::equal(file.bytes().first(old.size()), old))
        fail("{}: was edited by another program meanwhile; try again", file.path().string());
    const uint64_t data_bytes = file.bytes().size() - old.size();
    OutputFile output(file.path(), edited.bytes.size() + data_bytes, true);
    output.write_at(0, edited.bytes);
    output.copy_from(file.path(), old.size(), edited.bytes.size(), data_bytes);
    output.commit();
}

}  // namespace ingot
