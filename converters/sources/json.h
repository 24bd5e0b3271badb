#pragma once
// The small JSON files beside a checkpoint: config.json, generation_config.json, the list of shards.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ingot::converters {

/// A JSON value with all that is in it. Errors name the file and the way to the value
/// ("rope_scaling.factor"). Immutable once read. A config file has tens of keys: lookup is O(n), memory tens
/// of bytes per value.
class Json {
  public:
    enum class Kind : uint8_t { Null, Bool, Number, String, Array, Object };

    /// Throws Error when the file is no JSON in UTF-8, larger than kMaxFileBytes, nested deeper than
    /// kMaxDepth, holds more than kMaxValues, has a key twice in one object, or its outermost value is no
    /// object.
    static Json read_file(const std::string& path);
    /// The same for text that is already in memory; `name` stands for the file in messages.
    static Json parse(std::string_view text, const std::string& name);

    static constexpr uint64_t kMaxFileBytes = 16 << 20;
    static constexpr uint64_t kMaxValues = 1 << 19;  // an index of shards has two for each tensor
    static constexpr uint32_t kMaxDepth = 64;

    Kind kind() const;
    /// Members in the order of the file; empty unless this is an object.
    std::span<const std::pair<std::string, Json>> members() const;
    std::span<const Json> elements() const;  // empty unless this is an array

    /// The member, or null when there is none or it is null.
    const Json* find(std::string_view key) const;
    /// Nothing when absent or null. Throw Error when the value is something else.
    std::optional<uint64_t> get_uint(std::string_view key) const;
    std::optional<double> get_number(std::string_view key) const;
    std::optional<bool> get_bool(std::string_view key) const;
    std::optional<std::string> get_string(std::string_view key) const;
    std::vector<std::string> get_strings(std::string_view key) const;  // empty when absent
    const Json* get_object(std::string_view key) const;                // null when absent

    /// The text of a string value; throws Error for anything else.
    const std::string& as_string() const;
    /// The number of a value that is a whole one, not negative; nothing for anything else.
    std::optional<uint64_t> whole_number() const;
    /// The number or truth value of this value itself; nothing for anything else.
    std::optional<double> number() const;
    std::optional<bool> truth() const;
    /// "config.json: rope_scaling": where this object stands. Empty for other values.
    std::string where() const;

  private:
    friend class JsonReader;
    struct Object {
        std::vector<std::pair<std::string, Json>> members;
        std::shared_ptr<const std::string> file;
        std::string where;  // "rope_scaling", "a.b[3]"; long ones are cut
    };
    struct Number {
        double value;
        std::optional<uint64_t> whole;  // the exact number when it is a whole one, not negative
    };
    [[noreturn]] void wrong_kind(std::string_view key, const Json& found, std::string_view expected) const;

    std::variant<std::monostate, bool, Number, std::string, std::vector<Json>, Object> value_;
};

}  // namespace ingot::converters
