#include "converters/vocabulary/decimals.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace ingot::converters {

double as_tokenizers_reads(double number) {
    const std::string text = fmt::format("{}", std::fabs(number));  // the shortest that is this number
    uint64_t digits = 0;
    int exponent = 0;
    bool is_fraction = false;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == 'e') {
            exponent += std::atoi(text.c_str() + i + 1);
            break;
        }
        is_fraction |= text[i] == '.';
        if (text[i] == '.') continue;
        digits = digits * 10 + uint64_t(text[i] - '0');
        exponent -= is_fraction;
    }
    if (exponent < -22 || exponent > 22) return number;
    double power = 1;
    for (int i = 0; i < std::abs(exponent); ++i) power *= 10;  // exact up to 10^22
    const double value = exponent < 0 ? double(digits) / power : double(digits) * power;
    return std::signbit(number) ? -value : value;
}

double number_that_tokenizers_reads_as(double score) {
    constexpr int kMaxSteps = 4;  // the library misses by one, a few at most
    double above = score, below = score;
    for (int step = 0; step <= kMaxSteps; ++step) {
        if (as_tokenizers_reads(above) == score) return above;
        if (as_tokenizers_reads(below) == score) return below;
        above = std::nextafter(above, INFINITY);
        below = std::nextafter(below, -INFINITY);
    }
    return score;
}

}  // namespace ingot::converters
