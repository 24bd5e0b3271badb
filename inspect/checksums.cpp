#include "inspect/checksums.h"

#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::inspect {

namespace {

constexpr size_t kHexDigits = 32;  // of one checksum

bool is_checksum(std::string_view text) {
    return text.size() == kHexDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The list in a file, one checksum per tensor; empty when it has none.
std::vector<std::string_view> read_checksums(const GgufFile& file) {
    const auto& tensors = file.header().tensors();
    const Value* found = file.header().find(keys::kChecksums);
    if (!found) return {};
    const Value& value = *found;
    if (value.type() != ValueType::Array || value.element_type() != ValueType::String) {
        fail("{}: metadata {} must be an array of strings, one checksum per tensor; it is {} {}",
             file.path().string(), keys::kChecksums, value.type() == ValueType::Array ? "an array of" : "a",
             name(value.element_type()));
    }
    if (value.count() != tensors.size()) {
        fail(
            "{}: metadata {} has {} checksums for {} tensors; another program changed the tensors, "
            "or the header is damaged",
            file.path().string(), keys::kChecksums, value.count(), tensors.size());
    }
    std::vector<std::string_view> checksums;
    checksums.reserve(tensors.size());
    for (const Value element : value.elements()) {
        const std::string_view text = element.as_string();
        if (!is_checksum(text)) {
            fail(
                "{}: metadata {}: the checksum of tensor {} must be {} "
                "lower-case hex digits; it has {} bytes of something else",
                file.path().string(), keys::kChecksums, printable(tensors[checksums.size()].name), kHexDigits,
                text.size());
        }
        checksums.push_back(text);
    }
    return checksums;
}

}  // namespace

std::vector<std::string_view> stored_checksums(const GgufModel& model) {
    std::vector<std::string_view> checksums;
    bool any = false;
    for (const GgufFile& file : model.files()) {
        const std::vector<std::string_view> own = read_checksums(file);
        any = any || file.header().find(keys::kChecksums);
        checksums.insert(checksums.end(), own.begin(), own.end());
        checksums.resize(checksums.size() + file.header().tensors().size() - own.size());
    }
    if (!any) checksums.clear();
    return checksums;
}

}  // namespace ingot::inspect
