#include "converters/model_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <vector>

namespace ingot::converters {

namespace {

namespace fs = std::filesystem;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == separator) {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

/// "7b", "1.1B", "8x7B", "350M"
bool is_size_label(const std::string& part) {
    if (part.size() < 2 || !is_digit(part[0])) return false;
    const char unit = char(std::toupper(part.back()));
    if (unit != 'K' && unit != 'M' && unit != 'B' && unit != 'T') return false;
    return std::all_of(part.begin(), part.end() - 1,
                       [](char c) { return is_digit(c) || c == '.' || c == 'x'; });
}

/// The folder's own name, or the model's where the folder is a snapshot in a cache.
std::string base_name(const std::string& folder) {
    std::error_code error;
    fs::path path = fs::weakly_canonical(folder, error);
    if (error) path = folder;
    if (path.filename().empty()) path = path.parent_path();
    if (path.parent_path().filename() == "snapshots") {
        const std::string repository = path.parent_path().parent_path().filename().string();
        const size_t at = repository.rfind("--");
        if (at != std::string::npos) return repository.substr(at + 2);
    }
    return path.filename().string();
}

}  // namespace

std::string size_label(uint64_t n_weights) {
    struct Unit {
        double weights;
        char letter;
    };
    constexpr Unit kUnits[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits) - 1,
                                   [&](const Unit& row) { return double(n_weights) > row.weights; });
    const double scaled = double(n_weights) / unit->weights;
    return fmt::format("{:.{}f}{}", scaled, scaled < 9.5 ? 1 : 0, unit->letter);
}

ModelName model_name(const std::string& folder, uint64_t n_weights) {
    std::string base = base_name(folder);
    std::replace_if(
        base.begin(), base.end(), [](char c) { return c == ' ' || c == '/' || c == '\\'; }, '-');
    if (base.empty()) base = "model";

    ModelName name;
    std::vector<std::string> parts = split(base, '-');
    std::erase(parts, "");
    for (std::string& part : parts) {
        if (is_size_label(part)) {
            part.back() = char(std::toupper(part.back()));
            if (name.size_label.empty()) name.size_label = part;
        } else if (part.size() > 1 && part[0] == 'v' && is_digit(part[1])) {
            continue;  // a version
        } else if (std::none_of(part.begin(), part.end(),
                                [](char c) { return std::isupper((unsigned char)c); })) {
            part[0] = char(std::toupper((unsigned char)part[0]));
        }
    }
    if (name.size_label.empty()) {
        name.size_label = size_label(n_weights);
        name.file_stem = fmt::format("{}-{}", fmt::join(parts, "-"), name.size_label);
    } else {
        name.file_stem = fmt::format("{}", fmt::join(parts, "-"));
    }
    name.display = fmt::format("{}", fmt::join(parts, " "));
    return name;
}

}  // namespace ingot::converters
