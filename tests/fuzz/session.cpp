// A saved session that somebody has edited: refused with an Error, or a prompt's beginning is restored, and
// the sequence goes on. Input that begins as GGUF is the file itself; other input are edits of a valid one,
// three bytes each (position, position, value). Checksums are mended afterwards, so that edits reach what
// lies behind them.
#include "runtime/session.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "format/checksum.h"
#include "format/error.h"
#include "format/ingot_keys.h"
#include "runtime/cpu/cpu_backend.h"
#include "tests/files.h"
#include "tests/runtime/small_model.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

constexpr int64_t kContext = 64, kBatch = 16;

// A model, and a session of it.
struct Fixture {
    test::TemporaryFolder folder;
    family_tests::SmallFile file{family_tests::small_model("llama")};
    CpuBackend backend{1};
    Model model{file.path(), backend};
    std::vector<Token> tokens{5, 22, 39, 56, 73, 90, 107, 124, 13, 30, 47, 64};
    std::vector<std::byte> bytes;

    Fixture() {
        ForwardPass forward(model, kContext, kBatch);
        forward.run(tokens, 1);
        const std::string path = folder / "session";
        save_session(path, forward, tokens);
        std::ifstream in(path, std::ios::binary);
        const std::string content(std::istreambuf_iterator<char>(in), {});
        const auto all = std::as_bytes(std::span(content));
        bytes.assign(all.begin(), all.end());
    }
};

// Puts the checksums of the tensors' bytes where strings of their length are.
void mend_checksums(std::vector<std::byte>& bytes) try {
    const GgufHeader header = GgufHeader::parse(bytes);
    const Value* checksums = header.find(keys::kChecksums);
    if (checksums == nullptr || checksums->type() != ValueType::Array ||
        checksums->element_type() != ValueType::String || checksums->count() != header.tensors().size()) {
        return;
    }
    size_t i = 0;
    for (const Value checksum : checksums->elements()) {
        const TensorInfo& tensor = header.tensors()[i++];
        const std::string right =
            xxh3_128_hex(std::span(bytes).subspan(size_t(tensor.offset), size_t(tensor.size_bytes)));
        const std::string_view text = checksum.as_string();  // within `bytes`
        if (text.size() != right.size()) continue;
        std::memcpy(bytes.data() + (text.data() - reinterpret_cast<const char*>(bytes.data())), right.data(),
                    right.size());
    }
} catch (const Error&) {
}

/// A file in memory with a path.
class MemoryFile {
  public:
    explicit MemoryFile(std::span<const std::byte> bytes) : descriptor_(::memfd_create("session", 0)) {
        size_t n = 0;
        while (n < bytes.size()) {
            const ssize_t n_written = ::write(descriptor_, bytes.data() + n, bytes.size() - n);
            if (n_written <= 0) __builtin_trap();
            n += size_t(n_written);
        }
    }
    ~MemoryFile() { ::close(descriptor_); }
    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

  private:
    int descriptor_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) try {
    static Fixture fixture;
    std::vector<std::byte> bytes;
    if (size >= 4 && std::memcmp(data, "GGUF", 4) == 0) {
        const auto all = std::as_bytes(std::span(data, size));
        bytes.assign(all.begin(), all.end());
    } else {
        bytes = fixture.bytes;
        for (size_t i = 0; i + 3 <= size; i += 3)
            bytes[(data[i] | size_t(data[i + 1]) << 8) % bytes.size()] = std::byte(data[i + 2]);
    }
    mend_checksums(bytes);
    const MemoryFile file(bytes);
    const Session session(file.path());
    ForwardPass forward(fixture.model, kContext, kBatch);
    // The prompt of the file, one that leaves it, and one that goes on.
    std::vector<Token> prompt(session.tokens().begin(), session.tokens().end());
    switch (size % 3) {
        case 0:
            break;
        case 1:
            prompt = fixture.tokens;
            prompt.back() = 1;
            break;
        case 2:
            prompt = fixture.tokens;
            prompt.push_back(2);
            break;
    }
    const int64_t n = session.restore(forward, prompt);
    if (n < 0 || n > int64_t(prompt.size()) || n > kContext || forward.cache().n_used() != n)
        __builtin_trap();
    if (n == int64_t(prompt.size()) && n > 0) {
        if (forward.logits().size() != family_tests::kVocabulary) __builtin_trap();
    } else {
        forward.run(std::span(prompt).subspan(size_t(n)), 1);
    }
    return 0;
} catch (const Error&) {
    return 0;
}
