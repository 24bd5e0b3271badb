#pragma once
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// What turns a piece of text into tokens: the last stage of encoding. Immutable and thread-safe.
class TokenModel {
  public:
    virtual ~TokenModel() = default;

    /// Working memory of one call of Tokenizer::encode().
    class Session {
      public:
        virtual ~Session() = default;
        /// Appends the tokens of `piece`, which is not empty. Its bytes must outlive the session.
        virtual void encode(std::string_view piece, std::vector<Token>& output) = 0;
    };
    /// `text_bytes`: about how much will be encoded.
    virtual std::unique_ptr<Session> start(size_t text_bytes) const = 0;
};

}  // namespace ingot::runtime
