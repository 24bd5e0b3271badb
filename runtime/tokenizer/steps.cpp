#include "runtime/tokenizer/steps.h"

#include "format/error.h"

namespace ingot::runtime {

void Step::unknown() const {
    fail(
        "the file's tokenizer has a step '{}', which this version does not know, and leaving it out would "
        "tokenize wrongly; use a newer version, or convert the model again with this one",
        name.substr(0, 64));
}

void Step::malformed() const {
    fail("the file's tokenizer has a step '{}' with the wrong number of arguments; the file is damaged",
         text.substr(0, 64));
}

}  // namespace ingot::runtime
