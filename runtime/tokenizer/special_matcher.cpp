#include "runtime/tokenizer/special_matcher.h"

namespace ingot::runtime {

SpecialMatcher::SpecialMatcher(const TokenTable& table) : nodes_(1), roots_(256, -1) {
    for (uint32_t id = 0; id < table.size(); ++id) {
        const bool hidden = table.is_hidden(Token(id));
        if ((!hidden && table.kinds[id] != TokenKind::UserDefined) || table.texts[id].empty()) continue;
        int32_t node = 0;
        for (const char c : table.texts[id]) {
            const uint8_t byte = uint8_t(c);
            int32_t next = child(node, byte);
            if (next < 0) {
                next = int32_t(nodes_.size());
                nodes_.push_back({-1, nodes_[size_t(node)].first_child, byte, false, -1});
                nodes_[size_t(node)].first_child = next;
                if (node == 0) roots_[byte] = next;
            }
            node = next;
        }
        if (nodes_[size_t(node)].token < 0) {
            nodes_[size_t(node)].token = Token(id);
            nodes_[size_t(node)].hidden = hidden;
        }
    }
}

int32_t SpecialMatcher::child(int32_t node, uint8_t byte) const {
    if (node == 0) return roots_[byte];
    int32_t found = nodes_[size_t(node)].first_child;
    while (found >= 0 && nodes_[size_t(found)].byte != byte) found = nodes_[size_t(found)].next_sibling;
    return found;
}

SpecialMatcher::Match SpecialMatcher::find(std::string_view text, size_t from, bool parse_special) const {
    if (nodes_.size() > 1) {
        for (size_t begin = from; begin < text.size(); ++begin) {
            Match longest;
            int32_t node = 0;
            for (size_t end = begin; end < text.size();) {
                node = child(node, uint8_t(text[end]));
                if (node < 0) break;
                ++end;
                const Node& reached = nodes_[size_t(node)];
                if (reached.token >= 0 && (parse_special || !reached.hidden))
                    longest = {begin, end, reached.token};
            }
            if (longest.token >= 0) return longest;
        }
    }
    return {text.size(), text.size(), -1};
}

}  // namespace ingot::runtime
