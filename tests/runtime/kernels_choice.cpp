// INGOT_ISA forces an instruction set. The choice is made once in a process, so each case runs in a child.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "format/error.h"
#include "runtime/cpu/kernels.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::runtime::cpu;

namespace {

// What kernels() says in a fresh process with INGOT_ISA=value: the table's name, or "error: " and the
// message.
std::string choice(const char* value) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        std::string text;
        if (value)
            setenv("INGOT_ISA", value, 1);
        else
            unsetenv("INGOT_ISA");
        try {
            text = kernels().name;
        } catch (const Error& error) {
            text = std::string("error: ") + error.what();
        }
        const ssize_t n_written = write(ends[1], text.data(), text.size());
        _exit(n_written == ssize_t(text.size()) ? 0 : 1);
    }
    close(ends[1]);
    std::string text;
    char buffer[512];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, size_t(n));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(status == 0);
    return text;
}

}  // namespace

TEST_CASE("INGOT_ISA forces each supported instruction set, and an unsupported one is an error") {
    for (const Kernels* table : all_kernels()) {
        const std::string name(table->name);
        if (table->supported()) {
            CHECK(choice(name.c_str()) == name);
        } else {
            CHECK_THAT(choice(name.c_str()), ContainsSubstring("error: INGOT_ISA=" + name));
            CHECK_THAT(choice(name.c_str()), ContainsSubstring("does not support it; supported here: "));
        }
    }
    CHECK(choice("scalar") == "scalar");
}

TEST_CASE("an unknown INGOT_ISA is an error that lists what is supported") {
    const std::string text = choice("sse9");
    CHECK_THAT(text, ContainsSubstring("error: INGOT_ISA=sse9: no such instruction set"));
    CHECK_THAT(text, ContainsSubstring("scalar"));
    for (const Kernels* table : all_kernels()) {
        if (table->supported()) CHECK_THAT(text, ContainsSubstring(std::string(table->name)));
    }
}

TEST_CASE("without INGOT_ISA the first supported table is chosen, and tables come best first") {
    const Kernels* best = nullptr;
    for (const Kernels* table : all_kernels()) {
        if (!best && table->supported()) best = table;
    }
    REQUIRE(best != nullptr);
    CHECK(choice(nullptr) == best->name);
    CHECK(choice("") == best->name);
    CHECK(all_kernels().back() == &scalar_kernels());
#if defined(__x86_64__)
    CHECK(all_kernels().front()->name == "avx512");
#endif
}
