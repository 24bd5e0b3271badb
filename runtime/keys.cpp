#include "runtime/keys.h"

#include <limits>

#include "format/error.h"

namespace ingot::runtime {

std::string Keys::full(std::string_view key) const {
    return fmt::format("{}.{}", prefix_, key);
}

int64_t Keys::require_count(std::string_view key, uint64_t max) const {
    header_.require_uint(full(key));  // the error when it is absent
    return count(key, max, 0);
}

int64_t Keys::count(std::string_view key, uint64_t max, uint64_t otherwise) const {
    const std::string name = full(key);
    const auto found = header_.get_uint(name);
    if (!found) return int64_t(otherwise);
    if (*found < 1 || *found > max) fail("{} is {}; expected 1 to {}", name, *found, max);
    return int64_t(*found);
}

int64_t Keys::count_or_none(std::string_view key, uint64_t max, uint64_t otherwise) const {
    const auto found = header_.get_uint(full(key));
    return found && *found == 0 ? 0 : count(key, max, otherwise);
}

std::vector<int64_t> Keys::counts(std::string_view key, uint64_t least, uint64_t max, uint64_t otherwise,
                                  int64_t n_layers) const {
    const std::string name = full(key);
    const Value* value = header_.find(name);
    if (value == nullptr || value->type() != ValueType::Array) {
        const int64_t same = least == 0 ? count_or_none(key, max, otherwise) : count(key, max, otherwise);
        return std::vector<int64_t>(size_t(n_layers), same);
    }
    if (value->count() != uint64_t(n_layers)) {
        fail("{} has {} values; expected one for each of {} layers", name, value->count(), n_layers);
    }
    std::vector<int64_t> numbers = header_.ints(name);
    for (const int64_t number : numbers) {
        if (number < int64_t(least) || number > int64_t(max)) {
            fail("{} holds {}; expected {} to {}", name, number, least, max);
        }
    }
    return numbers;
}

std::vector<bool> Keys::pattern(std::string_view key, int64_t period, int64_t n_layers) const {
    const std::string name = full(key);
    const Value* value = header_.find(name);
    std::vector<bool> has(static_cast<size_t>(n_layers));
    if (value != nullptr && value->type() == ValueType::Array) {
        if (value->count() != uint64_t(n_layers)) {
            fail("{} has {} values; expected one for each of {} layers", name, value->count(), n_layers);
        }
        size_t layer = 0;
        for (const Value& element : value->elements()) {
            has[layer++] = element.type() == ValueType::Bool ? element.as_bool() : element.as_int() != 0;
        }
        return has;
    }
    if (value != nullptr) period = count_or_none(key, kMaxContext, 0);
    for (int64_t layer = 0; layer < n_layers; ++layer) {
        has[size_t(layer)] = period == 0 || layer % period < period - 1;
    }
    return has;
}

float Keys::positive(std::string_view key, double otherwise) const {
    const std::string name = full(key);
    const double found = header_.get_float(name).value_or(otherwise);
    if (!(found > 0 && found <= std::numeric_limits<float>::max())) {
        fail("{} is {}; expected a finite number above 0", name, found);
    }
    return float(found);
}

float Keys::positive_or_none(std::string_view key, double otherwise) const {
    const double found = header_.get_float(full(key)).value_or(otherwise);
    return found == 0 ? 0.0f : positive(key, otherwise);
}

bool Keys::flag(std::string_view key, bool otherwise) const {
    return header_.get_bool(full(key)).value_or(otherwise);
}

std::string_view Keys::text(std::string_view key) const {
    return header_.get_string(full(key)).value_or("");
}

}  // namespace ingot::runtime
