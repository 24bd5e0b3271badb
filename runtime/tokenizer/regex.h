#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ingot::runtime {

/// A regular expression of a tokenizer. PCRE2 with UTF and UCP on, but for these escapes, which mean what the
/// Unicode Standard says (UTS 18, annex C) and the tokenizers' own engines do:
///     \s       White_Space; PCRE2 adds U+180E
///     \w \b    letters, marks, digits and connectors, and where they begin or end
///     \p{Han}  and other scripts: characters of that script alone
/// Immutable and thread-safe.
class Regex {
  public:
    /// Throws Error naming the pattern when it is malformed.
    explicit Regex(std::string_view pattern);
    ~Regex();
    Regex(Regex&&) noexcept;
    Regex& operator=(Regex&&) = delete;

    /// Working memory of one thread.
    class Match {
      public:
        Match();
        size_t begin() const;  // bytes
        size_t end() const;

      private:
        friend class Regex;
        std::shared_ptr<void> data_;
    };

    /// Finds the first match at or after `from` in `text`, which is valid UTF-8. Throws Error when the
    /// pattern needs more than kMaxSteps at one place of the text: it would not end in a sensible time.
    bool find(std::string_view text, size_t from, Match& match) const;

    static constexpr uint32_t kMaxSteps = 20'000'000;

  private:
    struct Compiled;
    std::unique_ptr<Compiled> compiled_;
};

/// The characters that a pattern without any operator stands for; nothing for any other pattern.
bool is_literal_pattern(std::string_view pattern, std::string& literal);

}  // namespace ingot::runtime
