#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "format/error.h"

namespace ingot::converters {

/// One message of Google's protocol buffers (wire format), field after field. Memory plus size: every length
/// is checked against what remains before anything is touched. Errors name `where` and the byte offset in it.
///
///     bits of a field's key (a varint):  number << 3 | wire type
///     wire type 0: varint   1: 8 bytes   2: length (varint), then so many bytes   5: 4 bytes
class ProtobufReader {
  public:
    struct Field {
        uint32_t number = 0;
        uint64_t integer = 0;              // wire types 0, 1 and 5
        std::span<const std::byte> bytes;  // wire type 2
        bool is_bytes = false;

        bool as_bool() const { return integer != 0; }
        int32_t as_int32() const { return int32_t(uint32_t(integer)); }
        float as_float() const { return std::bit_cast<float>(uint32_t(integer)); }
        std::string_view as_text() const {
            return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
        }
    };

    ProtobufReader(std::span<const std::byte> message, std::string_view where)
        : message_(message), where_(where) {}

    /// The next field, or nothing at the end.
    std::optional<Field> next() {
        if (position_ == message_.size()) return {};
        const size_t begin = position_;
        const uint64_t key = read_varint();
        Field field;
        if (key >> 3 == 0 || key >> 3 > kMaxFieldNumber) {
            fail("{}: field number {} at byte {} is impossible; the file is damaged", where_, key >> 3,
                 begin);
        }
        field.number = uint32_t(key >> 3);
        switch (key & 7) {
            case 0:
                field.integer = read_varint();
                break;
            case 1:
                field.integer = read_fixed<uint64_t>();
                break;
            case 2: {
                const uint64_t size = read_varint();
                if (size > message_.size() - position_) {
                    fail(
                        "{}: field {} at byte {} claims {} bytes, {} remain; the file is truncated or "
                        "damaged",
                        where_, field.number, begin, size, message_.size() - position_);
                }
                field.bytes = message_.subspan(position_, size);
                field.is_bytes = true;
                position_ += size;
                break;
            }
            case 5:
                field.integer = read_fixed<uint32_t>();
                break;
            default:
                fail(
                    "{}: field {} at byte {} has wire type {}, expected 0, 1, 2 or 5; the file is damaged or "
                    "of another "
                    "kind",
                    where_, field.number, begin, key & 7);
        }
        return field;
    }

  private:
    static constexpr uint64_t kMaxFieldNumber = (1 << 29) - 1;

    uint64_t read_varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            if (position_ == message_.size()) fail("{}: ends inside a number; the file is truncated", where_);
            const uint64_t byte = std::to_integer<uint64_t>(message_[position_++]);
            value |= (byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
        fail("{}: a number at byte {} is longer than 10 bytes; the file is damaged", where_, position_);
    }

    template <typename Integer>
    Integer read_fixed() {
        if (message_.size() - position_ < sizeof(Integer)) {
            fail("{}: ends inside a number; the file is truncated", where_);
        }
        Integer value;
        std::memcpy(&value, message_.data() + position_, sizeof value);
        position_ += sizeof value;
        return value;
    }

    std::span<const std::byte> message_;
    std::string_view where_;
    size_t position_ = 0;  // bytes
};

}  // namespace ingot::converters
