#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <smartcache/core/canonical_key.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/core/features.hpp>
#include <smartcache/disk/validate.hpp>
#include <smartcache/facade/config.hpp>
#include <smartcache/facade/detail/config_fields.hpp>
#include <smartcache/memory/validate.hpp>
#include <smartcache/redis/url.hpp>
#include <smartcache/redis/validate.hpp>

#if SMARTCACHE_HAS_JSON
#include <nlohmann/json.hpp>
#endif

extern "C" char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves the declaration to us

namespace smartcache::inline v0 {

namespace detail {

/// "500ms", "10s", "10min", "1h", "7d" or "forever".
[[nodiscard]] inline std::optional<Duration> parse_duration(std::string_view text) noexcept {
    if (text == "forever") return Duration::max();
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{}) return std::nullopt;
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    constexpr std::array<std::pair<std::string_view, std::int64_t>, 5> units{
        {{"ms", 1}, {"s", 1000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
    for (const auto& [name, factor] : units) {
        if (unit != name) continue;
        constexpr std::int64_t limit = std::numeric_limits<std::int64_t>::max();
        if (count > limit / factor || count < -(limit / factor)) return std::nullopt;
        return Duration(count * factor);
    }
    return std::nullopt;
}

template <class T>
inline constexpr bool is_optional_field = false;
template <class T>
inline constexpr bool is_optional_field<std::optional<T>> = true;

/// What may be written into a field of this type, for error messages.
template <class Field>
[[nodiscard]] std::string allowed_for() {
    if constexpr (is_optional_field<Field>)
        return allowed_for<typename Field::value_type>() + ", or null";
    else if constexpr (std::is_same_v<Field, bool>)
        return "true or false";
    else if constexpr (std::is_integral_v<Field>)
        return "a whole number of at most " + std::to_string(std::numeric_limits<Field>::max());
    else if constexpr (std::is_floating_point_v<Field>)
        return "a number";
    else if constexpr (std::is_same_v<Field, Duration>)
        return "milliseconds as a number, or text like \"500ms\", \"10s\", \"10min\", \"1h\", \"7d\", "
               "\"forever\"";
    else if constexpr (std::is_enum_v<Field>) {
        std::string names;
        for (const auto& [choice, name] : choice_names<Field>)
            names += (names.empty() ? "" : ", ") + std::string(name);
        return names;
    } else
        return "text";
}

/// Sets a field from text, as it stands in an environment variable (and in JSON text values).
/// @return false when the text is not one of the field's values
template <class Field>
[[nodiscard]] bool assign_from_text(Field& field, std::string_view text) {
    if constexpr (is_optional_field<Field>) {
        typename Field::value_type value{};
        if (text == "null") {
            field.reset();
            return true;
        }
        if (!assign_from_text(value, text)) return false;
        field = value;
        return true;
    } else if constexpr (std::is_same_v<Field, bool>) {
        const bool yes = text == "true" || text == "1";
        if (!yes && text != "false" && text != "0") return false;
        field = yes;
        return true;
    } else if constexpr (std::is_arithmetic_v<Field>) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), field);
        return error == std::errc{} && end == text.data() + text.size();
    } else if constexpr (std::is_same_v<Field, Duration>) {
        std::int64_t count = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
        if (error == std::errc{} && end == text.data() + text.size()) {
            field = Duration(count);
            return true;
        }
        const std::optional<Duration> parsed = parse_duration(text);
        if (parsed) field = *parsed;
        return parsed.has_value();
    } else if constexpr (std::is_enum_v<Field>) {
        for (const auto& [choice, name] : choice_names<Field>)
            if (text == name) {
                field = choice;
                return true;
            }
        return false;
    } else {
        field = Field(std::string(text));
        return true;
    }
}

/// Whether these are the bytes of UTF-8 text: shortest forms, no surrogates (RFC 3629, section 4).
[[nodiscard]] constexpr bool is_utf8(std::string_view text) noexcept {
    for (std::size_t at = 0; at < text.size();) {
        const auto byte = [&](std::size_t index) {
            return index < text.size() ? static_cast<unsigned char>(text[index]) : 0U;
        };
        const unsigned first = byte(at);
        const std::size_t length = first < 0x80   ? 1
                                   : first < 0xC2 ? 0
                                   : first < 0xE0 ? 2
                                   : first < 0xF0 ? 3
                                   : first < 0xF5 ? 4
                                                  : 0;
        if (length == 0) return false;
        for (std::size_t i = 1; i < length; ++i)
            if ((byte(at + i) & 0xC0U) != 0x80U) return false;
        const unsigned second = byte(at + 1);
        if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
            (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F))
            return false;
        at += length;
    }
    return true;
}

inline void append_json_string(std::string& out, std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20) {
            out += "\\u00";
            out += digits[byte >> 4U];
            out += digits[byte & 0xFU];
        } else {
            out += c;
        }
    }
    out += '"';
}

template <class Field>
void append_json_value(std::string& out, std::string_view name, const Field& field) {
    if constexpr (is_optional_field<Field>) {
        if (field)
            append_json_value(out, name, *field);
        else
            out += "null";
    } else if constexpr (std::is_same_v<Field, bool>) {
        out += field ? "true" : "false";
    } else if constexpr (std::is_integral_v<Field>) {
        out += std::to_string(field);
    } else if constexpr (std::is_floating_point_v<Field>) {
        std::array<char, 32> buffer{};  // the shortest text that reads as the same number
        const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), field);
        out += std::isfinite(field) && error == std::errc{} ? std::string_view(buffer.data(), end) : "null";
    } else if constexpr (std::is_same_v<Field, Duration>) {
        if (field == Duration::max())
            out += "\"forever\"";
        else
            out += std::to_string(field.count());
    } else if constexpr (std::is_enum_v<Field>) {
        std::string_view text = "unknown";
        for (const auto& [choice, spelling] : choice_names<Field>)
            if (field == choice) text = spelling;
        append_json_string(out, text);
    } else {
        const auto& text = [&]() -> const std::string& {
            if constexpr (std::is_same_v<Field, std::string>)
                return field;
            else
                return field.native();
        }();
        if (!is_utf8(text))
            throw ConfigError(std::string(name), "other bytes", "UTF-8, to be written as JSON");
        append_json_string(out, text);
    }
}

inline void collect_problems(const Config& config, std::vector<ConfigProblem>& problems) {
    const auto wrong = [&problems](const char* field, std::string value, const char* allowed) {
        problems.push_back({field, std::move(value), allowed});
    };
    const auto text = [](Duration length) { return std::to_string(length.count()) + "ms"; };
    smartcache::validate(config.memory, problems);
    if (config.memory.compression && SMARTCACHE_HAS_LZ4 == 0)
        wrong("memory.compression", "true",
              "false: this build has no LZ4 (Debian: liblz4-dev, component lz4)");
    if (config.redis.enabled && SMARTCACHE_HAS_REDIS == 0)
        wrong("redis.enabled", "true",
              "false: this build has no Redis tier (Debian: libhiredis-dev, component redis)");
    smartcache::validate(config.redis, problems);
    if (config.disk.enabled && SMARTCACHE_HAS_DISK == 0)
        wrong("disk.enabled", "true", "false: this build has no disk tier (component disk)");
    smartcache::validate(config.disk, problems);
    if (config.disk.fill == DiskFill::on_evict && !config.memory.enabled)
        wrong("disk.fill", "on_evict", "on_set without L1: nothing would be evicted");
    constexpr std::size_t lz4_limit = 0x7E000000;
    if (config.max_value_size == 0 || config.max_value_size > lz4_limit)
        wrong("max_value_size", std::to_string(config.max_value_size), "1 to 2113929216 bytes");
    if (config.max_key_size == 0 || config.max_key_size > (std::size_t{1} << 24U))
        wrong("max_key_size", std::to_string(config.max_key_size), "1 to 16777216 bytes");
    if (config.stats.interval <= Duration::zero())
        wrong("stats.interval", text(config.stats.interval), "more than 0");
    if (!(config.stats.alert_below >= 0 && config.stats.alert_below <= 1))
        wrong("stats.alert_below", std::to_string(config.stats.alert_below), "0 (never) to 1");
    if (config.auto_expire_interval < Duration::zero())
        wrong("auto_expire_interval", text(config.auto_expire_interval), "0 (never) or more");
    if (config.background_threads > 256)
        wrong("background_threads", std::to_string(config.background_threads), "0 to 256");
    if (config.key_prefix.size() > 512)
        wrong("key_prefix", std::to_string(config.key_prefix.size()) + " bytes", "at most 512 bytes");
}

/// A configuration as it may be shown.
[[nodiscard]] inline Config without_secrets(Config config) {
    config.redis.url = redacted_redis_url(config.redis.url);
    if (!config.redis.integrity_key.empty()) config.redis.integrity_key = "***";
    return config;
}

/// What was given for a field, or for a name that is none, as it may be shown: who misspells the name of a secret does not want to
/// read it in a log.
[[nodiscard]] inline std::string without_secret(std::string_view name, std::string value) {
    std::string lower(name);
    for (char& c : lower) c = ascii_lower(c);
    for (const std::string_view word : {"url", "uri", "pass", "auth", "secret", "token", "integrity"})
        if (lower.find(word) != std::string::npos) return "***";
    return value;
}

/// Sets fields of a new Config from named texts or values; every mistake is kept until `finish`.
class ConfigReader {
  public:
    void problem(std::string field, std::string value, std::string allowed) {
        problems_.push_back({std::move(field), std::move(value), std::move(allowed)});
    }

    /// Throws what was collected, together with what validation finds.
    /// @param spelling  of a field's name, where the reader found it
    template <class Spelling>
    [[nodiscard]] Config finish(Spelling&& spelling) {
        const std::size_t own = problems_.size();
        collect_problems(config, problems_);
        for (std::size_t i = own; i < problems_.size(); ++i)
            problems_[i].field = spelling(problems_[i].field);
        if (!problems_.empty()) throw ConfigError(std::move(problems_));
        return std::move(config);
    }

    Config config;

  private:
    std::vector<ConfigProblem> problems_;
};

#if SMARTCACHE_HAS_JSON
template <class Field>
[[nodiscard]] bool assign_from_json(Field& field, const nlohmann::json& value) {
    if constexpr (is_optional_field<Field>) {
        if (value.is_null()) {
            field.reset();
            return true;
        }
        typename Field::value_type inner{};
        if (!assign_from_json(inner, value)) return false;
        field = inner;
        return true;
    } else if constexpr (std::is_same_v<Field, bool>) {
        if (!value.is_boolean()) return false;
        field = value.get<bool>();
        return true;
    } else if constexpr (std::is_integral_v<Field>) {
        if (!value.is_number_unsigned()) return false;
        const auto number = value.get<std::uint64_t>();
        if (number > std::numeric_limits<Field>::max()) return false;
        field = static_cast<Field>(number);
        return true;
    } else if constexpr (std::is_floating_point_v<Field>) {
        if (!value.is_number()) return false;
        field = value.get<Field>();
        return true;
    } else if constexpr (std::is_same_v<Field, Duration>) {
        if (value.is_string()) {
            const std::optional<Duration> parsed = parse_duration(value.get_ref<const std::string&>());
            if (parsed) field = *parsed;
            return parsed.has_value();
        }
        if (!value.is_number_integer()) return false;
        if (value.is_number_unsigned() &&
            value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            return false;
        field = Duration(value.get<std::int64_t>());
        return true;
    } else {
        return value.is_string() && assign_from_text(field, value.get_ref<const std::string&>());
    }
}

/// Lists the leaves of a JSON object under dotted names.
inline void flatten_json(const nlohmann::json& object, const std::string& prefix,
                         std::map<std::string, const nlohmann::json*>& leaves) {
    for (const auto& [name, value] : object.items()) {
        // A name that has dots of its own is no path.
        const std::string path = prefix + (name.find('.') == std::string::npos ? name : '"' + name + '"');
        if (value.is_object() && !value.empty())
            flatten_json(value, path + ".", leaves);
        else
            leaves.emplace(path, &value);
    }
}

/// Parses text that is not trusted to be well-meant: without recursion over its depth. Members that are given twice
/// are added to `problems`.
/// @throws ConfigError for text that is not JSON, or that is nested deeper than any field
[[nodiscard]] inline nlohmann::json parse_config_json(std::string_view text,
                                                      std::vector<ConfigProblem>& problems) {
    constexpr int deepest = 4;
    bool too_deep = false;
    struct Level {
        std::set<std::string> names;
        std::string name;  // the one whose value is being read
    };
    std::vector<Level> levels;
    const auto watch = [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
        using Event = nlohmann::json::parse_event_t;
        const bool opens = event == Event::object_start || event == Event::array_start;
        if (opens && depth >= deepest) too_deep = true;
        if (event == Event::object_start) levels.emplace_back();
        if (event == Event::object_end && !levels.empty()) levels.pop_back();
        if (event == Event::key && !levels.empty()) {
            levels.back().name = parsed.get<std::string>();
            if (!levels.back().names.insert(levels.back().name).second) {
                std::string path;
                for (const Level& level : levels) path += (path.empty() ? "" : ".") + level.name;
                problems.push_back({std::move(path), "given twice", "one value"});
            }
        }
        return !opens || depth < deepest;  // false: is read, not kept
    };
    nlohmann::json parsed = nlohmann::json::parse(text.begin(), text.end(), watch, false);
    if (too_deep) throw ConfigError("json", "deeply nested", "objects of at most three levels");
    if (parsed.is_discarded())  // it may hold secrets
        throw ConfigError("json", "a text of " + std::to_string(text.size()) + " bytes", "valid JSON");
    if (!parsed.is_object()) throw ConfigError("json", std::string(parsed.type_name()), "an object");
    return parsed;
}
#endif

}  // namespace detail

inline void Config::validate() const {
    std::vector<ConfigProblem> problems;
    detail::collect_problems(*this, problems);
    if (!problems.empty()) throw ConfigError(std::move(problems));
}

inline Config Config::from_json([[maybe_unused]] std::string_view text) {
#if SMARTCACHE_HAS_JSON
    std::vector<ConfigProblem> repeated;
    const nlohmann::json parsed = detail::parse_config_json(text, repeated);
    std::map<std::string, const nlohmann::json*> leaves;
    detail::flatten_json(parsed, "", leaves);
    detail::ConfigReader reader;
    for (ConfigProblem& each : repeated)
        reader.problem(std::move(each.field), std::move(each.value), std::move(each.allowed));
    const auto shown = [](const std::string& name, const nlohmann::json& value) {
        return detail::without_secret(name,
                                      value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    };
    std::set<std::string> objects;
    detail::for_each_field(reader.config, [&](const std::string& name, auto& field) {
        for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
            objects.insert(name.substr(0, dot));
        const auto leaf = leaves.find(name);
        if (leaf == leaves.end()) return;
        if (!detail::assign_from_json(field, *leaf->second))
            reader.problem(name, shown(name, *leaf->second),
                           detail::allowed_for<std::remove_cvref_t<decltype(field)>>());
        leaves.erase(leaf);
    });
    for (const auto& [name, value] : leaves)
        if (!objects.contains(name) || !value->is_object())
            reader.problem(name, shown(name, *value), objects.contains(name) ? "an object" : "no such field");
    return reader.finish([](const std::string& name) { return name; });
#else
    throw ConfigError("json", "text",
                      "nothing: this build has no JSON (Debian: nlohmann-json3-dev, component json)");
#endif
}

inline Config Config::from_env(std::string_view prefix) {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::size_t equals = text.find('=');
        if (equals == std::string_view::npos || !text.starts_with(prefix)) continue;
        variables.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    detail::ConfigReader reader;
    std::map<std::string, std::string> origins;  // of fields that were set
    detail::for_each_field(reader.config, [&](const std::string& name, auto& field) {
        std::string variable(prefix);
        for (const char c : name)
            variable += c == '.' ? '_' : (c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
        const auto found = variables.find(variable);
        if (found == variables.end()) return;
        if (!detail::assign_from_text(field, found->second))
            reader.problem(variable, detail::without_secret(variable, '"' + found->second + '"'),
                           detail::allowed_for<std::remove_cvref_t<decltype(field)>>());
        variables.erase(found);
        origins.emplace(name, std::move(variable));
    });
    for (const auto& [name, value] : variables)
        reader.problem(name, detail::without_secret(name, '"' + value + '"'), "no such field");
    return reader.finish([&origins](const std::string& name) {
        const auto origin = origins.find(name);
        return origin == origins.end() ? name : origin->second;
    });
}

inline std::string Config::to_json() const {
    std::string out = "{";
    std::vector<std::string_view> open;  // the objects around the field written last
    bool first = true;
    detail::for_each_field(*this, [&](const std::string_view full_name, const auto& field) {
        std::string_view name = full_name;
        std::vector<std::string_view> path;
        for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.')) {
            path.push_back(name.substr(0, dot));
            name.remove_prefix(dot + 1);
        }
        std::size_t common = 0;
        while (common < path.size() && common < open.size() && path[common] == open[common]) ++common;
        out.append(open.size() - common, '}');
        if (open.size() > common) first = false;
        open.resize(common);
        if (!first) out += ',';
        for (; open.size() < path.size(); open.push_back(path[open.size()])) {
            detail::append_json_string(out, path[open.size()]);
            out += ":{";
        }
        detail::append_json_string(out, name);
        out += ':';
        detail::append_json_value(out, full_name, field);
        first = false;
    });
    out.append(open.size(), '}');
    out += '}';
    return out;
}

inline Config Config::high_performance() {
    return {.memory = {.capacity = 50'000, .bucket_count = 12'500}, .compression = {.enabled = false}};
}

inline Config Config::memory_only() {
    return {.memory = {.capacity = 50'000, .ttl = std::chrono::minutes(10)},
            .compression = {.enabled = false}};
}

inline Config Config::memory_optimized(std::string url, std::filesystem::path path) {
    return {.memory = {.capacity = 5'000, .compression = SMARTCACHE_HAS_LZ4 != 0},
            .redis = {.enabled = true, .url = std::move(url)},
            .disk = {.enabled = true, .path = std::move(path)},
            .max_value_size = std::size_t{10} * 1024 * 1024};
}

inline Config Config::persistent(std::filesystem::path path) {
    return {.memory = {.capacity = 5'000, .ttl = std::chrono::minutes(5)},
            .disk = {.enabled = true, .path = std::move(path), .ttl = std::chrono::hours(24)}};
}

inline Config Config::distributed(std::string url, std::filesystem::path path) {
    return {.memory = {.capacity = 10'000, .ttl = std::chrono::minutes(3)},
            .redis = {.enabled = true,
                      .url = std::move(url),
                      .ttl = std::chrono::minutes(30),
                      .max_connections = 20},
            .disk = {.enabled = true, .path = std::move(path), .ttl = std::chrono::hours(24)}};
}

inline Config Config::production(std::string url, std::filesystem::path path) {
    return {.memory = {.capacity = 10'000, .ttl = std::chrono::minutes(5)},
            .redis = {.enabled = true, .url = std::move(url), .ttl = std::chrono::minutes(30)},
            .disk = {.enabled = true, .path = std::move(path), .ttl = std::chrono::hours(24)},
            .auto_expire_interval = std::chrono::seconds(60)};
}

inline Config Config::fit(std::size_t bytes, std::size_t average_value) {
    constexpr std::size_t overhead = 160;  // entry header, key of some 30 bytes, table and policy
    const std::size_t average =
        std::min(average_value, std::numeric_limits<std::size_t>::max() - overhead) + overhead;
    return {.memory = {.capacity = std::max<std::size_t>(bytes / average, 1), .capacity_bytes = bytes}};
}

}  // namespace smartcache::inline v0
