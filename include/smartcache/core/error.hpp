#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smartcache::inline v0 {

/// Base of everything the library throws on its own account.
///
/// Each error also derives from the standard exception that fits it, so both `catch (const Error&)` and
/// `catch (const std::exception&)` work. What a caller's loader throws passes through unchanged.
class Error {
  public:
    virtual ~Error() = default;
    /// The message, naming what was wrong and what would be right. Valid as long as the error lives.
    [[nodiscard]] virtual const char* what() const noexcept = 0;

  protected:
    Error() = default;
    Error(const Error&) = default;
    Error(Error&&) = default;
    Error& operator=(const Error&) = default;
    Error& operator=(Error&&) = default;
};

/// One reason why a configuration was refused.
struct ConfigProblem {
    std::string field;    ///< dotted name, as in JSON: "memory.capacity"
    std::string value;    ///< what was given, as text
    std::string allowed;  ///< what would be accepted
};

/// The configuration is impossible. Thrown by constructors and parsers before any side effect; names *every*
/// wrong field, its value and what is allowed.
class ConfigError : public std::invalid_argument, public Error {
  public:
    explicit ConfigError(std::vector<ConfigProblem> problems)
        : std::invalid_argument(describe(problems)), problems_(std::move(problems)) {}

    ConfigError(std::string field, std::string value, std::string allowed)
        : ConfigError(std::vector<ConfigProblem>{
              ConfigProblem{std::move(field), std::move(value), std::move(allowed)}}) {}

    [[nodiscard]] const char* what() const noexcept override { return std::invalid_argument::what(); }

    /// The reasons, in the order in which the fields are declared. Never empty.
    [[nodiscard]] const std::vector<ConfigProblem>& problems() const noexcept { return problems_; }

  private:
    static std::string describe(const std::vector<ConfigProblem>& problems) {
        std::string text = "smartcache: configuration refused: ";
        bool first = true;
        for (const ConfigProblem& problem : problems) {
            if (!first) text += "; ";
            first = false;
            text += problem.field + " = " + problem.value + " (allowed: " + problem.allowed + ")";
        }
        return text;
    }

    std::vector<ConfigProblem> problems_;
};

/// A tier that is used alone could not be reached. Inside `SmartCache` this is a miss and a counter instead.
class TierUnavailable : public std::runtime_error, public Error {
  public:
    explicit TierUnavailable(const std::string& message) : std::runtime_error(message) {}
    [[nodiscard]] const char* what() const noexcept override { return std::runtime_error::what(); }
};

/// A load took longer than its `hard_timeout` and no stale value could be served.
class LoadTimeout : public std::runtime_error, public Error {
  public:
    explicit LoadTimeout(std::string_view key)
        : std::runtime_error("smartcache: the load of \"" + std::string(key) + "\" passed its deadline") {}
    [[nodiscard]] const char* what() const noexcept override { return std::runtime_error::what(); }
};

}  // namespace smartcache::inline v0
