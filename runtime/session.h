#pragma once
// What a model remembers of a prompt, in a file, so that it need not be computed again. SPEC.md, section 7,
// has the bytes.
#include <filesystem>
#include <span>
#include <string>

#include "format/gguf.h"
#include "runtime/forward.h"

namespace ingot::runtime {

/// What stands for a model in a session: XXH3-128 of its headers and of the first bytes of each tensor.
/// Reads a page of each tensor.
std::string model_identity(const Model& model);

/// A session file, mapped and checked: nothing of it is used before its checksums are found to hold.
/// Immutable.
class Session {
  public:
    /// Throws Error, prefixed with the path, unless all of it is as SPEC.md says.
    explicit Session(const std::filesystem::path& path);

    std::span<const Token> tokens() const { return tokens_; }

    /// Gives the empty sequence 0 of `forward` as many of the prompt's tokens as the session begins with, and
    /// returns how many. At least one is left to be computed, unless the prompt is the session's: then the
    /// logits come from the file, too. Throws Error when the session is another model's, or its keys and
    /// values are of another type.
    int64_t restore(ForwardPass& forward, std::span<const Token> prompt) const;

  private:
    void read();
    void check_checksums() const;
    const TensorInfo& require(const std::string& name, TensorType type, uint64_t row_elements,
                              uint64_t n_rows) const;

    GgufFile file_;
    std::span<const Token> tokens_;
};

/// Writes sequence 0, which has read `tokens`, with the logits after the last of them. An earlier file is
/// replaced, whole or not at all.
void save_session(const std::filesystem::path& path, ForwardPass& forward, std::span<const Token> tokens);

}  // namespace ingot::runtime
