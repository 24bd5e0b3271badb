// INGOT_ISA forces an instruction set. That the environment is asked is tested with the program
// (tests/cli/program.cpp).
#include <cstdlib>
#include <string>

#include "format/error.h"
#include "runtime/cpu/kernels.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::runtime::cpu;

TEST_CASE("each supported instruction set can be forced, and an unsupported one is an error", "[choice]") {
    for (const Kernels* table : all_kernels()) {
        const std::string name(table->name);
        if (table->supported()) {
            CHECK(&choose_kernels(name) == table);
        } else {
            CHECK_THROWS_WITH(choose_kernels(name),
                              ContainsSubstring("INGOT_ISA=" + name) &&
                                  ContainsSubstring("does not support it; supported here: "));
        }
    }
    CHECK(choose_kernels("scalar").name == "scalar");
}

TEST_CASE("nothing forced chooses the best that is supported", "[choice]") {
    for (const Kernels* table : all_kernels()) {
        if (!table->supported()) continue;
        CHECK(&choose_kernels("") == table);
        break;
    }
}

TEST_CASE("an unknown INGOT_ISA is an error that lists what is supported", "[choice]") {
    std::string message;
    try {
        choose_kernels("sse9");
    } catch (const Error& error) {
        message = error.what();
    }
    CHECK_THAT(message, ContainsSubstring("INGOT_ISA=sse9: no such instruction set"));
    for (const Kernels* table : all_kernels()) {
        if (table->supported()) CHECK_THAT(message, ContainsSubstring(std::string(table->name)));
    }
}

TEST_CASE("a processor gets the instruction set that it is known to have", "[choice]") {
    // An emulator knows which processor it is (tests/runtime/arm64).
    if (const char* const expected = std::getenv("INGOT_EXPECTED_ISA")) {
        CHECK(choose_kernels("").name == expected);
    }
}
