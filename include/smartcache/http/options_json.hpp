#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <smartcache/core/error.hpp>
#include <smartcache/facade/config.hpp>
#include <smartcache/http/options.hpp>

namespace smartcache::inline v0::http {

/// Reads options from a JSON object whose keys are the fields of `MiddlewareOptions` (hooks excepted); what
/// is not in it keeps its value from `base`. Lengths of time as in `Config::from_json`.
///
///     {"default_ttl": "5min", "cache_headers": [], "rules": [{"pattern": "/static/*", "ttl": "1d"}]}
///
/// @throws ConfigError naming every unknown key, wrong type and impossible value
[[nodiscard]] MiddlewareOptions options_from_json(std::string_view text, MiddlewareOptions base = {});

namespace detail {

/// Reads the fields of one JSON object, and complains in the end about keys nobody asked for.
class JsonFields {
  public:
    JsonFields(const nlohmann::json& object, std::string prefix, std::vector<ConfigProblem>& problems)
        : object_(object), prefix_(std::move(prefix)), problems_(problems) {
        if (!object_.is_object())
            problems_.push_back({prefix_.empty() ? "options" : prefix_, object_.dump(), "an object"});
    }
    ~JsonFields() {
        if (!object_.is_object()) return;
        for (const auto& [key, value] : object_.items())
            if (!holds_name(key))
                problems_.push_back({prefix_ + key, value.dump(), "nothing: there is no such option"});
    }
    JsonFields(const JsonFields&) = delete;
    JsonFields& operator=(const JsonFields&) = delete;

    void read(const char* name, bool& field) {
        if (const auto* value = find(name))
            value->is_boolean() ? void(field = value->get<bool>()) : refuse(name, *value, "true or false");
    }
    void read(const char* name, std::string& field) {
        if (const auto* value = find(name))
            value->is_string() ? void(field = value->get<std::string>()) : refuse(name, *value, "text");
    }
    void read(const char* name, std::size_t& field) {
        if (const auto* value = find(name))
            value->is_number_unsigned() ? void(field = value->get<std::size_t>())
                                        : refuse(name, *value, "a whole number, 0 or more");
    }
    void read(const char* name, Duration& field) {
        const auto* value = find(name);
        if (value == nullptr) return;
        if (value->is_number_integer()) {
            field = Duration(value->get<std::int64_t>());
        } else if (!value->is_string() ||
                   !smartcache::detail::assign_from_text(field, value->get<std::string>())) {
            refuse(name, *value, smartcache::detail::allowed_for<Duration>());
        }
    }
    void read(const char* name, std::vector<std::string>& field) {
        read_list(name, field, "a list of texts", [](const auto& v) { return v.is_string(); });
    }
    void read(const char* name, std::vector<int>& field) {
        read_list(name, field, "a list of statuses", [](const auto& v) {
            return v.is_number_unsigned() &&
                   v.template get<std::uint64_t>() <= std::numeric_limits<int>::max();
        });
    }
    void read(const char* name, SetCookie& field) {
        std::string text;
        read(name, text);
        if (text == "refuse_unless_public")
            field = SetCookie::refuse_unless_public;
        else if (text == "rfc")
            field = SetCookie::rfc;
        else if (text == "strip")
            field = SetCookie::strip;
        else if (find(name) != nullptr)
            refuse(name, *find(name), "\"refuse_unless_public\", \"rfc\" or \"strip\"");
    }
    template <class T>
    void read(const char* name, std::optional<T>& field) {
        if (find(name) == nullptr) return;
        T value{};
        read(name, value);
        field = std::move(value);
    }
    void read(const char* name, Rules& field) {
        const auto* value = find(name);
        if (value == nullptr) return;
        if (!value->is_array()) return refuse(name, *value, "a list of rules");
        Rules rules;
        std::size_t i = 0;
        for (const auto& item : *value) {
            Rule rule;
            JsonFields in(item, prefix_ + name + "[" + std::to_string(i++) + "].", problems_);
            in.read("pattern", rule.pattern);
            in.read("ttl", rule.ttl);
            in.read("force_ttl", rule.force_ttl);
            in.read("methods", rule.methods);
            in.read("status_codes", rule.status_codes);
            in.read("vary_headers", rule.vary_headers);
            in.read("tags", rule.tags);
            in.read("grace", rule.grace);
            in.read("bypass", rule.bypass);
            rules.add(std::move(rule));
        }
        field = std::move(rules);
    }

  private:
    const nlohmann::json* find(const char* name) {
        if (!holds_name(name)) known_.emplace_back(name);
        if (!object_.is_object()) return nullptr;
        const auto found = object_.find(name);
        return found == object_.end() ? nullptr : &*found;
    }
    [[nodiscard]] bool holds_name(std::string_view name) const {
        for (const std::string& known : known_)
            if (known == name) return true;
        return false;
    }
    void refuse(const char* name, const nlohmann::json& value, std::string allowed) {
        problems_.push_back({prefix_ + name, value.dump(), std::move(allowed)});
    }
    template <class T, class IsMember>
    void read_list(const char* name, std::vector<T>& field, const char* allowed, IsMember is_member) {
        const auto* value = find(name);
        if (value == nullptr) return;
        bool ok = value->is_array();
        if (ok)
            for (const auto& member : *value) ok = ok && is_member(member);
        if (!ok) return refuse(name, *value, allowed);
        field = value->template get<std::vector<T>>();
    }

    const nlohmann::json& object_;
    std::string prefix_;
    std::vector<ConfigProblem>& problems_;
    std::vector<std::string> known_;
};

}  // namespace detail

inline MiddlewareOptions options_from_json(std::string_view text, MiddlewareOptions base) {
    const nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
    if (object.is_discarded()) throw ConfigError("options", std::string(text.substr(0, 40)), "a JSON object");
    std::vector<ConfigProblem> problems;
    {
        detail::JsonFields in(object, "", problems);
        in.read("default_ttl", base.default_ttl);
        in.read("cache_methods", base.cache_methods);
        in.read("cache_status_codes", base.cache_status_codes);
        in.read("ignore_query_params", base.ignore_query_params);
        in.read("cache_headers", base.cache_headers);
        in.read("cache_vary_headers", base.cache_vary_headers);
        in.read("exclude_paths", base.exclude_paths);
        in.read("include_paths", base.include_paths);
        in.read("cache_private", base.cache_private);
        in.read("cache_authenticated", base.cache_authenticated);
        in.read("rules", base.rules);
        in.read("grace", base.grace);
        in.read("set_cookie", base.set_cookie);
        in.read("generate_etags", base.generate_etags);
        in.read("debug_headers", base.debug_headers);
        in.read("cache_name", base.cache_name);
        in.read("cache_cookies", base.cache_cookies);
        in.read("collapse", base.collapse);
        in.read("collapse_timeout", base.collapse_timeout);
        in.read("targeted_fields", base.targeted_fields);
        in.read("obey_client_reload", base.obey_client_reload);
        in.read("tag_fields", base.tag_fields);
        in.read("hide_tags", base.hide_tags);
        in.read("purge_depth", base.purge_depth);
        in.read("keep_stale", base.keep_stale);
    }
    if (!problems.empty()) throw ConfigError(std::move(problems));
    base.validate();
    return base;
}

}  // namespace smartcache::inline v0::http
