#include "converters/sources/pytorch.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_map>

#include "converters/sources/pickle.h"
#include "converters/sources/zip.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_zip(std::string_view file) {
    return file.starts_with("PK\x03\x04") || file.starts_with("PK\x05\x06");
}
bool is_raw_pickle(std::string_view file) {
    return file.size() >= 2 && file[0] == '\x80' && file[1] >= 2 && file[1] <= 5;
}
bool is_tar(std::string_view file) {
    constexpr size_t kMagicAt = 257;
    return file.size() > kMagicAt + 5 && file.substr(kMagicAt, 5) == "ustar";
}

class PyTorchFile {
  public:
    PyTorchFile(std::span<const std::byte> file, const std::string& name) : name_(name) {
        refuse_older_forms(file);
        records_ = parse_zip(file, name);
        for (const ZipRecord& record : records_) by_name_.emplace(record.name, &record);
        prefix_ = find_prefix();
        if (find("constants.pkl")) {
            fail("{}: a TorchScript program, not a checkpoint; expected a state dict as torch.save writes it",
                 name_);
        }
        if (const ZipRecord* order = find("byteorder"); order && text_of(order->data) != "little")
            fail("{}: the numbers are stored in the byte order \"{}\", expected little", name_,
                 printable(text_of(order->data)));
    }

    std::vector<SourceTensor> tensors() const {
        const ZipRecord& pickle = *find("data.pkl");
        check_crc(pickle, name_);
        std::vector<SourceTensor> tensors;
        for (const PickledTensor& view : read_pickled_tensors(pickle.data, name_))
            tensors.push_back(source_tensor(view));
        std::ranges::stable_sort(tensors, {}, [](const SourceTensor& tensor) { return tensor.data.data(); });
        return tensors;
    }

    void check_checksums() const {
        for (const ZipRecord& record : records_) check_crc(record, name_);
    }

  private:
    void refuse_older_forms(std::span<const std::byte> file) const {
        const std::string_view text = text_of(file);
        constexpr const char* kAdvice =
            "load it with PyTorch and save it again, with torch.save or better as safetensors";
        if (is_tar(text)) fail("{}: a tar archive, as PyTorch 0.1 wrote checkpoints; {}", name_, kAdvice);
        if (is_raw_pickle(text))
            fail("{}: a bare pickle, as PyTorch wrote checkpoints before version 1.6; {}", name_, kAdvice);
        if (!is_zip(text))
            fail(
                "{}: neither a zip archive as torch.save writes it nor anything else that is known; the file "
                "is "
                "damaged, or a Git LFS pointer instead of the file",
                name_);
    }

    /// All records are in one folder, named as the file once was.
    std::string find_prefix() const {
        constexpr std::string_view kPickle = "data.pkl";
        const ZipRecord* found = nullptr;
        for (const ZipRecord& record : records_) {
            const bool named = record.name == kPickle || (record.name.ends_with("/data.pkl") &&
                                                          std::ranges::count(record.name, '/') == 1);
            if (!named) continue;
            if (found)
                fail("{}: two pickles, \"{}\" and \"{}\"", name_, printable(found->name),
                     printable(record.name));
            found = &record;
        }
        if (!found) fail("{}: a zip archive without data.pkl: no checkpoint of PyTorch", name_);
        return found->name.substr(0, found->name.size() - kPickle.size());
    }

    const ZipRecord* find(const std::string& record) const {
        const auto found = by_name_.find(prefix_ + record);
        return found == by_name_.end() ? nullptr : found->second;
    }

    SourceTensor source_tensor(const PickledTensor& view) const {
        const std::string shown = printable(view.name);
        const ZipRecord* record = find("data/" + view.storage);
        if (!record)
            fail("{}: tensor \"{}\" is in the storage \"{}\", which the archive lacks", name_, shown,
                 printable(view.storage));
        if (record->data.size() != view.storage_bytes)
            fail("{}: tensor \"{}\" is in a storage of {} bytes, but its record \"{}\" has {}", name_, shown,
                 view.storage_bytes, printable(record->name), record->data.size());

        SourceTensor tensor;
        tensor.name = view.name;
        tensor.type = view.element->type.value_or(TensorType::I8);
        if (!view.element->type) tensor.unreadable = view.element->name;
        tensor.shape.assign(view.shape.rbegin(), view.shape.rend());

        // Elements from the view's first to one past its last, and whether none lies between them.
        uint64_t n_elements = 1, span = 1;
        bool contiguous = true, overflow = false;
        for (size_t i = view.shape.size(); i-- > 0;) {
            if (view.shape[i] > 1) {
                contiguous = contiguous && view.strides[i] == n_elements;
                uint64_t reach = 0;
                overflow |= __builtin_mul_overflow(view.shape[i] - 1, view.strides[i], &reach);
                overflow |= __builtin_add_overflow(span, reach, &span);
            }
            overflow |= __builtin_mul_overflow(n_elements, view.shape[i], &n_elements);
        }
        if (n_elements == 0 && !overflow) return tensor;
        const uint64_t size = view.element->size_bytes;
        const uint64_t available = view.storage_bytes / size;
        if (overflow || view.offset > available || span > available - view.offset)
            fail(
                "{}: tensor \"{}\" of shape [{}] and strides [{}] from element {} on does not fit into its "
                "storage of {} elements",
                name_, shown, fmt::join(view.shape, ", "), fmt::join(view.strides, ", "), view.offset,
                available);
        // An expanded view repeats elements, so its size says nothing about the file's.
        if (n_elements > view.storage_bytes)
            fail("{}: tensor \"{}\" of shape [{}] has more elements than its storage has bytes ({})", name_,
                 shown, fmt::join(view.shape, ", "), view.storage_bytes);
        if (!contiguous) tensor.strides.assign(view.strides.rbegin(), view.strides.rend());
        tensor.data = record->data.subspan(view.offset * size, span * size);
        return tensor;
    }

    const std::string& name_;
    std::vector<ZipRecord> records_;
    std::unordered_map<std::string, const ZipRecord*> by_name_;
    std::string prefix_;  // "archive/"
};

}  // namespace

bool is_pytorch(std::span<const std::byte> file) {
    const std::string_view text = text_of(file);
    return is_zip(text) || is_raw_pickle(text) || is_tar(text);
}

std::vector<SourceTensor> parse_pytorch(std::span<const std::byte> file, const std::string& name) {
    return PyTorchFile(file, name).tensors();
}

void check_pytorch_checksums(std::span<const std::byte> file, const std::string& name) {
    PyTorchFile(file, name).check_checksums();
}

}  // namespace ingot::converters
