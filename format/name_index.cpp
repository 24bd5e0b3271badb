#include "format/name_index.h"

#include <xxhash.h>

#include <random>

namespace ingot {

uint64_t NameIndex::hash(std::string_view name) {
    static const uint64_t seed = [] {
        std::random_device random;
        return uint64_t(random()) << 32 | random();
    }();
    return XXH3_64bits_withSeed(name.data(), name.size(), seed);
}

}  // namespace ingot
