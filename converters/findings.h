#pragma once
// What is wrong with a checkpoint, or worth knowing: all of it, not only the first.
#include <string>
#include <vector>

#include "format/error.h"

namespace ingot::converters {

enum class Severity { Note, Warning, Problem };

struct Finding {
    Severity severity{};
    std::string subject;  // what it is about: "config.json", "lm_head.weight", "disk space"
    std::string message;  // what was found, and what was expected; may name the subject itself
    std::string action;   // what to do; may be empty
};

/// Several problems in one Error, for code that cannot go on but has seen more than one.
class Problems : public Error {
  public:
    /// `heading` is the first line of what(); the problems follow, one a line, the first ones of many.
    Problems(const std::string& heading, std::vector<Finding> findings);
    const std::vector<Finding>& findings() const { return findings_; }

  private:
    std::vector<Finding> findings_;
};

/// Collects findings while work goes on as far as it can. Not thread-safe.
class Findings {
  public:
    void note(std::string subject, std::string message, std::string action = {});
    void warn(std::string subject, std::string message, std::string action = {});
    void problem(std::string subject, std::string message, std::string action = {});

    /// Says what to do about the last problem, where it does not say so itself.
    void advise(std::string action);

    /// Does `work`; what it throws as Error becomes a problem. True when it came to its end.
    template <typename Work>
    bool attempt(const std::string& subject, const Work& work) {
        try {
            work();
            return true;
        } catch (const Problems& problems) {
            all_.insert(all_.end(), problems.findings().begin(), problems.findings().end());
        } catch (const Error& error) {
            problem(subject, error.what());
        }
        return false;
    }

    const std::vector<Finding>& all() const { return all_; }
    std::vector<std::string> messages(Severity severity) const;
    size_t count(Severity severity) const;
    bool has_problems() const { return count(Severity::Problem) > 0; }
    /// Throws Error with every problem, if there is one. `where` begins its message.
    void throw_if_problems(const std::string& where) const;

  private:
    std::vector<Finding> all_;
};

}  // namespace ingot::converters
