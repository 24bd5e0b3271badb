#include "format/packed_header.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "format/error.h"

namespace ingot {

namespace {

constexpr std::string_view kMagic = "INGOTPAK";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kNeedsBase = 1;  // of the flags; the others are 0
constexpr size_t kFixedBytes = 60;  // magic to length of the base's name
constexpr size_t kRecipeBytes = 24;
constexpr size_t kChecksumBytes = 16;
constexpr uint32_t kMostNameBytes = 4096;

/// Takes numbers from the front of bytes that are known to be there.
class Reader {
  public:
    explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}
    template <typename Number>
    Number take() {
        Number number;
        std::memcpy(&number, rest_.data(), sizeof number);
        rest_ = rest_.subspan(sizeof number);
        return number;
    }
    std::string_view take_text(size_t n_bytes) {
        const std::string_view text(reinterpret_cast<const char*>(rest_.data()), n_bytes);
        rest_ = rest_.subspan(n_bytes);
        return text;
    }

  private:
    std::span<const std::byte> rest_;
};

uint8_t digit(char hex) {
    return uint8_t(hex <= '9' ? hex - '0' : hex - 'a' + 10);
}

void check(const FrameRecipe& recipe, uint64_t frame, const PackedHeader& header) {
    const auto wrong = [&](std::string_view what) { fail("its frame {} {}", grouped(frame), what); };
    const bool differs = recipe.transform == FrameTransform::Difference;
    if (recipe.transform > FrameTransform::Difference)
        wrong("was transformed in a way that this version does not know");
    const size_t n = recipe.element_bytes;
    if (n != 1 && n != 2 && n != 4 && n != 8) wrong("has elements that are neither 1, 2, 4 nor 8 bytes");
    if (recipe.transform == FrameTransform::None && n != 1) wrong("has elements, but no transform");
    if (recipe.transform == FrameTransform::Planes && recipe.base_bytes != 0)
        wrong("has byte planes and a base");
    if (differs && recipe.base_bytes == 0) wrong("is a difference from nothing");
    if (recipe.base_bytes > kMostBaseBytes) wrong("refers to more than 128 MiB of the base");
    if (recipe.base_bytes > header.base_size_bytes ||
        recipe.base_offset > header.base_size_bytes - recipe.base_bytes)
        wrong("refers to bytes that the base does not have");
}

// --- Elements ----------------------------------------------------------------------------------------------

/// Differences of both signs become small numbers: 0, -1, 1, -2 … are 0, 1, 2, 3 …
template <typename Number>
Number folded(Number difference) {
    const Number negative = Number(Number(0) - Number(difference >> (8 * sizeof(Number) - 1)));
    return Number(Number(difference << 1) ^ negative);
}
template <typename Number>
Number unfolded(Number number) {
    return Number(Number(number >> 1) ^ Number(Number(0) - Number(number & 1)));
}

template <typename Number>
Number load(const std::byte* bytes, size_t index) {
    Number number;
    std::memcpy(&number, bytes + index * sizeof number, sizeof number);
    return number;
}

template <typename Number>
void to_planes(std::span<const std::byte> source, const std::byte* base, std::span<std::byte> target) {
    const size_t n = source.size() / sizeof(Number);
    for (size_t i = 0; i < n; ++i) {
        Number number = load<Number>(source.data(), i);
        if (base) number = folded(Number(number - load<Number>(base, i)));
        for (size_t byte = 0; byte < sizeof(Number); ++byte)
            target[byte * n + i] = std::byte(uint8_t(number >> (8 * byte)));
    }
}

template <typename Number>
void from_planes(std::span<const std::byte> source, const std::byte* base, std::span<std::byte> target) {
    const size_t n = source.size() / sizeof(Number);
    for (size_t i = 0; i < n; ++i) {
        Number number = 0;
        for (size_t byte = 0; byte < sizeof(Number); ++byte)
            number = Number(number | Number(Number(uint8_t(source[byte * n + i])) << (8 * byte)));
        if (base) number = Number(unfolded(number) + load<Number>(base, i));
        std::memcpy(target.data() + i * sizeof number, &number, sizeof number);
    }
}

/// Calls `work(Number())` for the unsigned integer of that size.
template <typename Work>
void with_number(size_t element_bytes, const Work& work) {
    switch (element_bytes) {
        case 1:
            return work(uint8_t());
        case 2:
            return work(uint16_t());
        case 4:
            return work(uint32_t());
        case 8:
            return work(uint64_t());
    }
    fail("there are no elements of {} bytes", element_bytes);
}

/// Where the last whole element ends.
size_t whole(size_t n_bytes, size_t element_bytes) {
    return n_bytes - n_bytes % element_bytes;
}

}  // namespace

bool has_packed_header(std::span<const std::byte> bytes) {
    return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

std::vector<std::byte> encode_packed_header(const PackedHeader& header) {
    const std::string_view name = std::string_view(header.base_name).substr(0, kMostNameBytes);
    std::vector<std::byte> bytes(kFixedBytes + name.size() + header.frames.size() * kRecipeBytes);
    std::byte* next = bytes.data();
    const auto add_bytes = [&](const void* data, size_t n) {
        std::memcpy(next, data, n);
        next += n;
    };
    const auto add = [&](const auto& number) { add_bytes(&number, sizeof number); };
    add_bytes(kMagic.data(), kMagic.size());
    add(kVersion);
    add(header.is_patch() ? kNeedsBase : 0u);
    add(header.size_bytes);
    add(uint64_t(header.frames.size()));
    add(header.base_size_bytes);
    for (size_t i = 0; i < kChecksumBytes; ++i) {
        add(header.is_patch()
                ? uint8_t(digit(header.base_checksum[2 * i]) << 4 | digit(header.base_checksum[2 * i + 1]))
                : uint8_t(0));
    }
    add(uint32_t(name.size()));
    add_bytes(name.data(), name.size());
    for (const FrameRecipe& frame : header.frames) {
        add(frame.base_offset);
        add(frame.base_bytes);
        add(uint8_t(frame.transform));
        add(frame.element_bytes);
        add(uint16_t(0));
        add(frame.checksum);
    }
    return bytes;
}

PackedHeader parse_packed_header(std::span<const std::byte> bytes, uint64_t& header_bytes) {
    if (bytes.size() < kFixedBytes)
        fail("is cut short: its header needs {} bytes, it has {}", kFixedBytes, bytes.size());
    Reader reader(bytes);
    PackedHeader header;
    if (reader.take_text(kMagic.size()) != kMagic) fail("does not begin with {}", kMagic);
    if (const auto version = reader.take<uint32_t>(); version != kVersion)
        fail("is a packed file of version {}; this version of Ingot reads version {}", version, kVersion);
    const auto flags = reader.take<uint32_t>();
    if (flags > kNeedsBase)
        fail("its flags are {:#x}, of which this version of Ingot knows only {:#x}", flags, kNeedsBase);
    header.size_bytes = reader.take<uint64_t>();
    const auto n_frames = reader.take<uint64_t>();
    header.base_size_bytes = reader.take<uint64_t>();
    std::string checksum;
    for (size_t i = 0; i < kChecksumBytes; ++i) checksum += fmt::format("{:02x}", reader.take<uint8_t>());
    if (flags & kNeedsBase) header.base_checksum = checksum;
    const auto name_bytes = reader.take<uint32_t>();
    const uint64_t rest = bytes.size() - kFixedBytes;
    if (name_bytes > kMostNameBytes || name_bytes > rest || n_frames > (rest - name_bytes) / kRecipeBytes) {
        fail("is cut short: its header says {} frames and a name of {} bytes, {} bytes follow",
             grouped(n_frames), grouped(name_bytes), grouped(rest));
    }
    if (!header.is_patch() && header.base_size_bytes != 0) fail("has the size of a base, but needs none");
    header.base_name = reader.take_text(name_bytes);
    header.frames.resize(n_frames);
    for (uint64_t i = 0; i < n_frames; ++i) {
        FrameRecipe& frame = header.frames[i];
        frame.base_offset = reader.take<uint64_t>();
        frame.base_bytes = reader.take<uint32_t>();
        frame.transform = FrameTransform(reader.take<uint8_t>());
        frame.element_bytes = reader.take<uint8_t>();
        if (reader.take<uint16_t>() != 0) fail("its frame {} has bytes that must be 0", grouped(i));
        frame.checksum = reader.take<uint64_t>();
        check(frame, i, header);
    }
    header_bytes = kFixedBytes + name_bytes + n_frames * kRecipeBytes;
    return header;
}

void transform_frame(FrameTransform transform, size_t element_bytes, std::span<const std::byte> source,
                     std::span<const std::byte> base, std::span<std::byte> target) {
    with_number(element_bytes, [&](auto number) {
        const size_t n = whole(source.size(), element_bytes);
        const bool differs = transform == FrameTransform::Difference;
        to_planes<decltype(number)>(source.first(n), differs ? base.data() : nullptr, target);
        for (size_t i = n; i < source.size(); ++i)
            target[i] = differs ? std::byte(uint8_t(uint8_t(source[i]) - uint8_t(base[i]))) : source[i];
    });
}

void restore_frame(FrameTransform transform, size_t element_bytes, std::span<const std::byte> source,
                   std::span<const std::byte> base, std::span<std::byte> target) {
    with_number(element_bytes, [&](auto number) {
        const size_t n = whole(source.size(), element_bytes);
        const bool differs = transform == FrameTransform::Difference;
        from_planes<decltype(number)>(source.first(n), differs ? base.data() : nullptr, target);
        for (size_t i = n; i < source.size(); ++i)
            target[i] = differs ? std::byte(uint8_t(uint8_t(source[i]) + uint8_t(base[i]))) : source[i];
    });
}

}  // namespace ingot
