// The shape of a Jinja template: text, {{ expressions }}, {% statements %} and {# comments #}, and statements
// that open and close blocks.
#include <algorithm>
#include <array>
#include <vector>

#include "format/error.h"
#include "inspect/lint.h"
#include "inspect/value_text.h"

namespace ingot::inspect {

namespace {

constexpr size_t kMaxDepth = 256;

class TemplateScanner {
  public:
    explicit TemplateScanner(std::string_view text) : text_(text) {}

    std::string problem() {
        while (problem_.empty() && at_ < text_.size()) {
            const std::string_view rest = text_.substr(at_);
            if (rest.starts_with("{#")) {
                skip_to("#}", "a comment");
            } else if (in_raw_) {
                leave_raw();
            } else if (rest.starts_with("{{")) {
                scan_code("}}", false);
            } else if (rest.starts_with("{%")) {
                scan_code("%}", true);
            } else {
                ++at_;
            }
        }
        if (in_raw_) set(raw_line_, "{% raw %} is never closed");
        if (problem_.empty() && !open_.empty())
            set(open_.back().line, fmt::format("{{% {} %}} is never closed", open_.back().word));
        return problem_;
    }

  private:
    struct Block {
        std::string_view word;
        size_t line;
    };

    void set(size_t line, std::string what) {
        if (problem_.empty()) problem_ = fmt::format("line {}: {}", line, what);
    }

    /// Of at_, which only grows: the whole text is counted once.
    size_t line() {
        line_ += size_t(std::ranges::count(text_.substr(counted_, at_ - counted_), '\n'));
        counted_ = at_;
        return line_;
    }

    void skip_to(std::string_view end, std::string_view what) {
        const size_t found = text_.find(end, at_ + 2);
        if (found == text_.npos) return set(line(), fmt::format("{} is never closed", what));
        at_ = found + end.size();
    }

    /// Inside {% raw %} only {% endraw %} counts.
    void leave_raw() {
        const size_t found = text_.find("{%", at_);
        if (found == text_.npos) return set(raw_line_, "{% raw %} is never closed");
        at_ = found;
        const size_t end = text_.find("%}", at_);
        if (end == text_.npos) return set(line(), "{% is never closed");
        if (first_word(text_.substr(at_ + 2, end - at_ - 2)) == "endraw") in_raw_ = false;
        at_ = end + 2;
    }

    static std::string_view first_word(std::string_view code) {
        const size_t begin = code.find_first_not_of("-+ \t\r\n");
        if (begin == code.npos) return "";
        code.remove_prefix(begin);
        size_t end = 0;
        while (end < code.size() && (std::isalnum(uint8_t(code[end])) || code[end] == '_')) ++end;
        return code.substr(0, end);
    }

    /// From the opening delimiter to behind the closing one; strings and brackets inside may hold it.
    void scan_code(std::string_view end, bool is_statement) {
        const size_t begin = at_ + 2, start_line = line();
        std::vector<char> brackets;
        for (at_ = begin; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (brackets.empty() && text_.substr(at_).starts_with(end)) {
                const std::string_view code = text_.substr(begin, at_ - begin);
                at_ += end.size();
                if (is_statement) return statement(code, start_line);
                if (first_word(code).empty() && code.find_first_not_of("-+ \t\r\n") == code.npos)
                    set(start_line, "{{ }} holds nothing");
                return;
            }
            if (c == '\'' || c == '"') {
                if (!skip_string(c))
                    return set(start_line, fmt::format("a string begins with {} and never ends", c));
            } else if (c == '(' || c == '[' || c == '{') {
                if (brackets.size() == kMaxDepth)
                    return set(start_line, fmt::format("brackets are nested more than {} deep", kMaxDepth));
                brackets.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
            } else if (c == ')' || c == ']' || c == '}') {
                if (brackets.empty() || brackets.back() != c)
                    return set(start_line, fmt::format("'{}' closes nothing", c));
                brackets.pop_back();
            }
        }
        set(start_line, brackets.empty() ? fmt::format("{} is missing", end)
                                         : fmt::format("'{}' is missing", brackets.back()));
    }

    bool skip_string(char quote) {
        for (++at_; at_ < text_.size(); ++at_) {
            if (text_[at_] == '\\') {
                ++at_;
            } else if (text_[at_] == quote) {
                return true;
            }
        }
        return false;
    }

    void statement(std::string_view code, size_t at_line) {
        static constexpr std::array<std::string_view, 7> kBlocks = {"if",     "for",   "macro",     "call",
                                                                    "filter", "block", "generation"};
        const std::string_view word = first_word(code);
        if (word.empty()) return set(at_line, "{% %} holds no statement");
        // {% set x = … %} is whole, {% set x %} … {% endset %} is a block.
        const bool is_block_set = word == "set" && code.find('=') == code.npos;
        if (word == "raw") {
            in_raw_ = true;
            raw_line_ = at_line;
        } else if (std::ranges::find(kBlocks, word) != kBlocks.end() || is_block_set) {
            if (open_.size() == kMaxDepth)
                return set(at_line, fmt::format("blocks are nested more than {} deep", kMaxDepth));
            open_.push_back({word, at_line});
        } else if (word == "elif" || word == "else") {
            const bool fits = !open_.empty() &&
                              (open_.back().word == "if" || (word == "else" && open_.back().word == "for"));
            if (!fits) set(at_line, fmt::format("{{% {} %}} belongs to nothing", word));
        } else if (word.starts_with("end")) {
            if (open_.empty()) return set(at_line, fmt::format("{{% {} %}} closes nothing", word));
            if (word.substr(3) != open_.back().word) {
                return set(at_line, fmt::format("{{% {} %}} where {{% end{} %}} must be, for line {}",
                                                escaped(word, 20), open_.back().word, open_.back().line));
            }
            open_.pop_back();
        }
    }

    std::string_view text_;
    size_t at_ = 0;
    size_t counted_ = 0, line_ = 1;
    bool in_raw_ = false;
    size_t raw_line_ = 0;
    std::vector<Block> open_;
    std::string problem_;
};

}  // namespace

std::string template_problem(std::string_view text) {
    return TemplateScanner(text).problem();
}

}  // namespace ingot::inspect
