// Any bytes: refused with an Error, or an importance matrix that adds up with itself.
#include "format/imatrix.h"
#include "format/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) try {
    using namespace ingot;
    const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size_bytes);
    ImportanceMatrix matrix = ImportanceMatrix::parse(bytes);
    for (const auto& [name, entry] : matrix.entries()) {
        if (entry.mean_squares().size() != entry.sums.size()) __builtin_trap();
    }
    matrix.add(ImportanceMatrix(matrix));
    return 0;
} catch (const ingot::Error&) {
    return 0;
}
