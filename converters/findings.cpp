#include "converters/findings.h"

#include <algorithm>

namespace ingot::converters {

namespace {

constexpr size_t kShownProblems = 40;

std::string line_of(const Finding& finding) {
    // Many messages name what they are about themselves; saying it twice would not help.
    std::string line = finding.message.find(finding.subject) != std::string::npos
                           ? finding.message
                           : fmt::format("{}: {}", finding.subject, finding.message);
    if (!finding.action.empty()) line += "; " + finding.action;
    return line;
}

std::string listed(const std::string& heading, const std::vector<Finding>& findings) {
    std::string text = heading;
    size_t n_shown = 0, n_problems = 0;
    for (const Finding& finding : findings) {
        if (finding.severity != Severity::Problem) continue;
        if (++n_problems <= kShownProblems && ++n_shown) text += "\n  " + line_of(finding);
    }
    if (n_problems > n_shown) text += fmt::format("\n  … and {} more problems", n_problems - n_shown);
    return text;
}

}  // namespace

Problems::Problems(const std::string& heading, std::vector<Finding> findings)
    : Error(listed(heading, findings)), findings_(std::move(findings)) {}

void Findings::note(std::string subject, std::string message, std::string action) {
    all_.push_back({Severity::Note, std::move(subject), std::move(message), std::move(action)});
}

void Findings::warn(std::string subject, std::string message, std::string action) {
    all_.push_back({Severity::Warning, std::move(subject), std::move(message), std::move(action)});
}

void Findings::problem(std::string subject, std::string message, std::string action) {
    all_.push_back({Severity::Problem, std::move(subject), std::move(message), std::move(action)});
}

void Findings::advise(std::string action) {
    if (!all_.empty() && all_.back().severity == Severity::Problem && all_.back().action.empty())
        all_.back().action = std::move(action);
}

std::vector<std::string> Findings::messages(Severity severity) const {
    std::vector<std::string> messages;
    for (const Finding& finding : all_) {
        if (finding.severity == severity) messages.push_back(line_of(finding));
    }
    return messages;
}

size_t Findings::count(Severity severity) const {
    return size_t(std::ranges::count(all_, severity, &Finding::severity));
}

void Findings::throw_if_problems(const std::string& where) const {
    const size_t n_problems = count(Severity::Problem);
    if (n_problems == 0) return;
    if (n_problems > 1) throw Problems(fmt::format("{}: {} problems", where, n_problems), all_);
    const std::string line = messages(Severity::Problem).front();
    throw Error(line.find(where) == std::string::npos ? fmt::format("{}: {}", where, line) : line);
}

}  // namespace ingot::converters
