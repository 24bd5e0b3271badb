#include "converters/sources/json.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>

#include "converters/sources/json_scan.h"
#include "format/error.h"
#include "format/mapped_file.h"

namespace ingot::converters {

namespace {

std::string_view name(Json::Kind kind) {
    switch (kind) {
        case Json::Kind::Null:
            return "null";
        case Json::Kind::Bool:
            return "true or false";
        case Json::Kind::Number:
            return "a number";
        case Json::Kind::String:
            return "a string";
        case Json::Kind::Array:
            return "an array";
        case Json::Kind::Object:
            return "an object";
    }
    return "unknown";
}

}  // namespace

/// simdjson's document -> Json. The recursion is bounded by kMaxDepth, which the parser has enforced before.
class JsonReader {
  public:
    explicit JsonReader(const std::string& file) : file_(std::make_shared<const std::string>(file)) {}

    Json convert(simdjson::dom::element element, const std::string& where) {
        Json json;
        switch (element.type()) {
            case simdjson::dom::element_type::NULL_VALUE:
                break;
            case simdjson::dom::element_type::BOOL:
                json.value_ = bool(element);
                break;
            case simdjson::dom::element_type::INT64: {
                const int64_t number = element;
                json.value_ =
                    Json::Number{double(number), number < 0 ? std::nullopt : std::optional(uint64_t(number))};
                break;
            }
            case simdjson::dom::element_type::UINT64: {
                const uint64_t number = element;
                json.value_ = Json::Number{double(number), number};
                break;
            }
            case simdjson::dom::element_type::DOUBLE:
                json.value_ = number_of(element);
                break;
            case simdjson::dom::element_type::STRING:
                json.value_ = std::string(std::string_view(element));
                break;
            case simdjson::dom::element_type::ARRAY: {
                std::vector<Json> elements;
                for (const auto child : simdjson::dom::array(element)) {
                    elements.push_back(
                        convert(child, shortened(fmt::format("{}[{}]", where, elements.size()))));
                }
                json.value_ = std::move(elements);
                break;
            }
            case simdjson::dom::element_type::OBJECT:
                json.value_ = object_of(element, where);
                break;
        }
        return json;
    }

  private:
    /// Some writers spell whole numbers with a fraction or an exponent: 1e6, 4096.0.
    static Json::Number number_of(double value) {
        constexpr double kExact = 9007199254740992.0;  // 2^53: above it, doubles skip whole numbers
        const bool whole = value >= 0 && value <= kExact && std::floor(value) == value;
        return {value, whole ? std::optional(uint64_t(value)) : std::nullopt};
    }

    /// A file's long keys must neither fill the memory nor the message.
    static std::string shortened(std::string text) {
        constexpr size_t kMaxWhereBytes = 80;
        if (text.size() > kMaxWhereBytes) text = text.substr(0, kMaxWhereBytes) + "...";
        return text;
    }

    Json::Object object_of(simdjson::dom::object object, const std::string& where) {
        Json::Object result{{}, file_, where};
        std::vector<std::string_view> keys;
        for (const auto& [key, value] : object) {
            keys.push_back(key);
            const std::string below =
                shortened(fmt::format("{}{}{}", where, where.empty() ? "" : ".", printable(key)));
            result.members.emplace_back(std::string(key), convert(value, below));
        }
        std::sort(keys.begin(), keys.end());
        const auto twice = std::adjacent_find(keys.begin(), keys.end());
        if (twice != keys.end()) {
            fail("{}{}{}: the key \"{}\" appears twice in one object; remove one of them", *file_,
                 where.empty() ? "" : ": ", where, printable(*twice));
        }
        return result;
    }

    std::shared_ptr<const std::string> file_;
};

Json Json::parse(std::string_view text, const std::string& file) {
    const JsonScan scan = scan_json(text);
    if (scan.depth > kMaxDepth) fail("{}: nested deeper than {} levels", file, kMaxDepth);
    if (scan.n_structurals >= 2 * kMaxValues) fail("{}: more than {} values", file, kMaxValues);
    const simdjson::padded_string padded(text);
    simdjson::dom::parser parser;
    simdjson::error_code error = parser.allocate(std::max<size_t>(text.size(), 32), kMaxDepth + 1);
    simdjson::dom::element root;
    if (!error) error = parser.parse(padded).get(root);
    if (error) fail("{}: not valid JSON ({})", file, simdjson::error_message(error));
    Json json = JsonReader(file).convert(root, "");
    if (json.kind() != Kind::Object)
        fail("{}: the outermost value is {}, expected an object", file, name(json.kind()));
    return json;
}

Json Json::read_file(const std::string& path) {
    const MappedFile file{path};
    const auto bytes = file.bytes();
    if (bytes.size() > kMaxFileBytes) {
        fail("{}: {} bytes is too large for a configuration file (at most {})", path, bytes.size(),
             kMaxFileBytes);
    }
    return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

Json::Kind Json::kind() const {
    return Kind(value_.index());
}

std::span<const std::pair<std::string, Json>> Json::members() const {
    const auto* object = std::get_if<Object>(&value_);
    return object ? std::span<const std::pair<std::string, Json>>(object->members)
                  : std::span<const std::pair<std::string, Json>>();
}

std::span<const Json> Json::elements() const {
    const auto* array = std::get_if<std::vector<Json>>(&value_);
    return array ? std::span<const Json>(*array) : std::span<const Json>();
}

const Json* Json::find(std::string_view key) const {
    for (const auto& [name_, value] : members()) {
        if (name_ == key) return value.kind() == Kind::Null ? nullptr : &value;
    }
    return nullptr;
}

std::optional<uint64_t> Json::get_uint(std::string_view key) const {
    const Json* member = find(key);
    if (!member) return {};
    const auto* number = std::get_if<Number>(&member->value_);
    if (!number) wrong_kind(key, *member, "a whole number");
    if (!number->whole)
        fail("{}: \"{}\" is {}, expected a whole number, not negative", where(), key, number->value);
    return number->whole;
}

std::optional<double> Json::get_number(std::string_view key) const {
    const Json* member = find(key);
    if (!member) return {};
    const auto* number = std::get_if<Number>(&member->value_);
    if (!number) wrong_kind(key, *member, "a number");
    return number->value;
}

std::optional<bool> Json::get_bool(std::string_view key) const {
    const Json* member = find(key);
    if (!member) return {};
    const auto* truth = std::get_if<bool>(&member->value_);
    if (!truth) wrong_kind(key, *member, "true or false");
    return *truth;
}

std::optional<std::string> Json::get_string(std::string_view key) const {
    const Json* member = find(key);
    if (!member) return {};
    const auto* text = std::get_if<std::string>(&member->value_);
    if (!text) wrong_kind(key, *member, "a string");
    return *text;
}

std::vector<std::string> Json::get_strings(std::string_view key) const {
    const Json* member = find(key);
    if (!member) return {};
    if (member->kind() != Kind::Array) wrong_kind(key, *member, "an array of strings");
    std::vector<std::string> texts;
    for (const Json& element : member->elements()) {
        if (element.kind() != Kind::String) wrong_kind(key, element, "a string in each element");
        texts.push_back(element.as_string());
    }
    return texts;
}

const Json* Json::get_object(std::string_view key) const {
    const Json* member = find(key);
    if (member && member->kind() != Kind::Object) wrong_kind(key, *member, "an object");
    return member;
}

const std::string& Json::as_string() const {
    const auto* text = std::get_if<std::string>(&value_);
    if (!text) fail("{} stands where a string was expected", name(kind()));
    return *text;
}

std::optional<double> Json::number() const {
    const Number* number = std::get_if<Number>(&value_);
    return number ? std::optional(number->value) : std::nullopt;
}

std::optional<bool> Json::truth() const {
    const bool* truth = std::get_if<bool>(&value_);
    return truth ? std::optional(*truth) : std::nullopt;
}

std::optional<uint64_t> Json::whole_number() const {
    const auto* number = std::get_if<Number>(&value_);
    return number ? number->whole : std::nullopt;
}

std::string Json::where() const {
    const auto* object = std::get_if<Object>(&value_);
    if (!object) return {};
    return object->where.empty() ? *object->file : fmt::format("{}: {}", *object->file, object->where);
}

void Json::wrong_kind(std::string_view key, const Json& found, std::string_view expected) const {
    fail("{}: \"{}\" is {}, expected {}", where(), key, name(found.kind()), expected);
}

}  // namespace ingot::converters
