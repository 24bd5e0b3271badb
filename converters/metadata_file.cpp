#include "converters/metadata_file.h"

#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>

#include "converters/findings.h"
#include "converters/sources/json.h"
#include "format/ingot_keys.h"

namespace ingot::converters {

namespace {

constexpr ValueType kScalarTypes[] = {ValueType::Uint8,   ValueType::Int8,   ValueType::Uint16,
                                      ValueType::Int16,   ValueType::Uint32, ValueType::Int32,
                                      ValueType::Float32, ValueType::Bool,   ValueType::String,
                                      ValueType::Uint64,  ValueType::Int64,  ValueType::Float64};

ValueType type_named(const std::string& text) {
    for (const ValueType type : kScalarTypes) {
        if (name(type) == text) return type;
    }
    fail(
        "{} is no type; the types are uint8, int8, uint16, int16, uint32, int32, uint64, int64, float32, "
        "float64, bool and string (of an array: its elements')",
        printable(text));
}

/// Calls `action` with a value of the C++ type that stands for `type`.
template <typename Action>
auto with_type(ValueType type, const Action& action) {
    switch (type) {
        case ValueType::Uint8:
            return action(uint8_t{});
        case ValueType::Int8:
            return action(int8_t{});
        case ValueType::Uint16:
            return action(uint16_t{});
        case ValueType::Int16:
            return action(int16_t{});
        case ValueType::Uint32:
            return action(uint32_t{});
        case ValueType::Int32:
            return action(int32_t{});
        case ValueType::Float32:
            return action(float{});
        case ValueType::Bool:
            return action(bool{});
        case ValueType::Uint64:
            return action(uint64_t{});
        case ValueType::Int64:
            return action(int64_t{});
        case ValueType::Float64:
            return action(double{});
        case ValueType::String:
        case ValueType::Array:
            break;
    }
    return action(std::string{});
}

template <typename T>
T scalar(const Json& json) {
    if constexpr (std::is_same_v<T, std::string>) {
        return json.as_string();
    } else if constexpr (std::is_same_v<T, bool>) {
        if (const auto truth = json.truth()) return *truth;
        fail("expected true or false");
    } else if constexpr (std::is_floating_point_v<T>) {
        const auto number = json.number();
        if (!number) fail("expected a number");
        if (!std::isfinite(T(*number))) fail("{} does not fit into {} bits", *number, 8 * sizeof(T));
        return T(*number);
    } else {
        if (const auto whole = json.whole_number()) {
            if (*whole <= uint64_t(std::numeric_limits<T>::max())) return T(*whole);
        } else if (const auto number = json.number(); number && *number == std::floor(*number)) {
            // Negative numbers: exact up to 2^53, as in every JSON reader.
            if (*number < 0 && *number >= double(std::numeric_limits<T>::min())) return T(*number);
        }
        fail("expected a whole number from {} to {}", std::numeric_limits<T>::min(),
             std::numeric_limits<T>::max());
    }
}

MetadataValue value_of_type(const Json& json, ValueType type) {
    return with_type(type, [&]<typename T>(T) -> MetadataValue {
        if (json.kind() != Json::Kind::Array) return scalar<T>(json);
        std::vector<T> elements;
        for (const Json& element : json.elements()) elements.push_back(scalar<T>(element));
        return MetadataArray{std::move(elements)};
    });
}

/// The smallest usual type that holds this and, for arrays, every element.
ValueType natural_type(const Json& json) {
    if (json.kind() == Json::Kind::String) return ValueType::String;
    if (json.kind() == Json::Kind::Bool) return ValueType::Bool;
    if (json.kind() == Json::Kind::Number) {
        if (const auto whole = json.whole_number())
            return *whole <= UINT32_MAX ? ValueType::Uint32 : ValueType::Uint64;
        const double number = *json.number();
        if (number != std::floor(number)) return ValueType::Float32;
        return number >= INT32_MIN ? ValueType::Int32 : ValueType::Int64;
    }
    if (json.kind() != Json::Kind::Array || json.elements().empty())
        fail("expected text, a number, true, false, null, or an array of one of these that is not empty");
    ValueType type = natural_type(json.elements()[0]);
    for (const Json& element : json.elements()) {
        const ValueType other = natural_type(element);
        if (other == type) continue;
        const bool numbers = type != ValueType::String && type != ValueType::Bool &&
                             other != ValueType::String && other != ValueType::Bool;
        if (!numbers) fail("the array mixes {} and {}", name(type), name(other));
        const bool real = type == ValueType::Float32 || other == ValueType::Float32;
        const bool wide = type == ValueType::Uint64 || other == ValueType::Uint64;
        type = real ? ValueType::Float32 : wide ? ValueType::Uint64 : ValueType::Int32;
    }
    return type;
}

/// The type of a value's elements, or its own when it is no array.
std::optional<ValueType> element_type(const MetadataValue* value) {
    if (!value) return {};
    const auto type_of = []<typename T>(const T&) -> std::optional<ValueType> {
        for (const ValueType type : kScalarTypes) {
            const bool same = with_type(type, []<typename U>(U) { return std::is_same_v<T, U>; });
            if (same) return type;
        }
        return {};
    };
    return std::visit(
        [&]<typename T>(const T& typed) -> std::optional<ValueType> {
            if constexpr (std::is_same_v<T, MetadataArray>) {
                return std::visit([&]<typename E>(const std::vector<E>&) { return type_of(E{}); },
                                  typed.elements);
            } else {
                return type_of(typed);
            }
        },
        *value);
}

MetadataValue parse_value(const std::string& key, const Json& json, const Metadata& metadata) {
    if (json.kind() == Json::Kind::Object) {
        const Json* value = json.find("value");
        const auto type = json.get_string("type");
        if (!value || !type) fail("expected {{\"type\": …, \"value\": …}}");
        return value_of_type(*value, type_named(*type));
    }
    if (const auto type = element_type(metadata.find(key))) return value_of_type(json, *type);
    return value_of_type(json, natural_type(json));
}

/// Keys that say where bytes are, or what they are: a wrong one makes the file unreadable.
bool describes_bytes(const std::string& key) {
    return key == keys::kChecksums || key.starts_with("split.") || key == "general.architecture" ||
           key == "general.quantization_version" || key == keys::kSpare;
}

/// `text` as JSON; nothing when it is none.
std::optional<Json> as_json(const std::string& text) {
    try {
        return Json::parse("{\"value\":" + text + "}", "value").members()[0].second;
    } catch (const Error&) {
        return {};
    }
}

}  // namespace

void apply_metadata_file(const std::string& path, Metadata& metadata) {
    if (path.empty()) return;
    const Json root = Json::read_file(path);
    Findings findings;
    for (const auto& [key, json] : root.members()) {
        findings.attempt(path, [&, &key = key, &json = json] {
            try {
                if (describes_bytes(key)) fail("describes the bytes of the file, which decide it");
                if (json.kind() == Json::Kind::Null) {
                    metadata.erase(key);
                } else {
                    metadata.set(key, parse_value(key, json, metadata));
                }
            } catch (const Error& error) {
                fail("{}: key {}: {}", path, printable(key), error.what());
            }
        });
    }
    findings.throw_if_problems(path);
}

MetadataValue metadata_value(const std::string& text, const Value* present,
                             const std::optional<std::string>& type) {
    std::optional<ValueType> wanted;
    if (type) {
        wanted = type_named(*type);
    } else if (present && present->element_type() != ValueType::Array) {
        wanted = present->element_type();
    }
    const std::optional<Json> json = as_json(text);
    const bool is_array =
        json && json->kind() == Json::Kind::Array &&
        (!wanted || wanted != ValueType::String || (present && present->type() == ValueType::Array));
    if (!is_array && !type && present && present->type() == ValueType::Array)
        fail("is an array; write one as JSON: [1, 2, 3]");
    // Text needs no quotes, and is text even where it looks like a number.
    if (wanted == ValueType::String && !is_array) return text;
    if (!json || json->kind() == Json::Kind::Null || json->kind() == Json::Kind::Object) {
        if (!wanted) return text;
        fail("'{}' is no {}", printable(text), name(*wanted));
    }
    return value_of_type(*json, wanted ? *wanted : natural_type(*json));
}

}  // namespace ingot::converters
