#pragma once
// The large files of a tokenizer: whole vocabularies, in JSON or as lines of text.
#include <string>
#include <string_view>

#include "converters/vocabulary/json_member.h"
#include "format/mapped_file.h"

namespace ingot::converters {

/// A file of at most 256 MiB; Error when it is missing or larger.
class VocabularyFile {
  public:
    explicit VocabularyFile(const std::string& path);
    std::string_view text() const;

  private:
    MappedFile mapped_;
};

/// Parsed JSON. Throws Error when the text is none, is nested deeper than 64 levels, or has a key twice in
/// one object. Elements are views: they live as long as the document.
class JsonDocument {
  public:
    JsonDocument(std::string_view text, const std::string& file);
    dom::element root() const { return root_; }

  private:
    dom::parser parser_;
    dom::element root_;
};

/// A token's id in these files; throws Error unless it is a whole number from 0 to 2³¹ − 1.
uint32_t read_token_id(dom::element value, std::string_view token_text, const std::string& file);

}  // namespace ingot::converters
