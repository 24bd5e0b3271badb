#pragma once
// Other metadata for a file that is there. SPEC.md, section 1.7.
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "format/gguf.h"
#include "format/metadata.h"

namespace ingot {

/// What becomes of keys, in this order. Each must be there, but for those that are set.
struct MetadataChanges {
    std::vector<std::pair<std::string, std::string>> renamed = {};  // from, to; to must not be there
    std::vector<std::string> erased = {};
    std::vector<std::pair<std::string, MetadataValue>> set = {};  // in the key's place, or behind the others
};

/// The header that a file would have. Everything but the changed keys keeps its bytes.
struct EditedHeader {
    std::vector<std::byte> bytes;   // up to the data, padding included
    std::vector<std::byte> before;  // those of the file
    bool in_place = false;          // as long as the old one: the data can stay where it is
};

/// In place where `ingot.spare` and padding have room for what is new; otherwise, and with `rewrite`, with
/// new spare bytes, as many as keep the data's place in a page of 4,096 bytes: file systems that can share
/// pages between files then need not copy it. Throws Error when a key is not there, is there twice, or says
/// where the file's bytes are (general.alignment, split.*, the checksums, the spare bytes).
EditedHeader edit_header(const GgufFile& file, const MetadataChanges& changes, bool rewrite = false);

/// Writes it: in place by patch_file() (format/patch.h), otherwise the whole file anew beside the old one,
/// whose name it takes when it is safe. A process that is killed leaves the old file or the new one. Throws
/// Error when another process edits the file, or has edited it since.
void write_header(const GgufFile& file, const EditedHeader& edited);

}  // namespace ingot
