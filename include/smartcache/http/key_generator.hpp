#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/canonical_key.hpp>
#include <smartcache/core/sha256.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/semantics/vary.hpp>
#include <smartcache/http/url.hpp>

namespace smartcache::inline v0::http {

struct KeyOptions {
    /// Query parameters that do not change the answer.
    std::vector<std::string> ignore_query_params{};
    /// Request fields that select a variant, whatever the response's Vary says; compared in normalised form.
    std::vector<std::string> headers{};
    /// Cookies that select a variant.
    std::vector<std::string> cookies{};
    /// Replaces scheme, host, method class, path and query; an empty result means "do not cache".
    std::function<std::string(const Request&)> custom{};
};

/// Makes the keys under which responses are stored.
///
///     KeyGenerator keys{{.ignore_query_params = {"_"}, .headers = {"Accept"}}};
///     keys(request);   // "http 3:GET 5:https 11:example.com 6:/a/b.c 3:x=1 6:accept=9:text/html"
///
/// The primary key names the resource; the variant key adds the fields that select one of its
/// representations, so that one erase of the primary invalidates them all. Both are readable, framed by
/// lengths and free of collisions (see core/canonical_key.hpp); credentials appear as their SHA-256. The same
/// in every process. Thread safety: const functions from any thread, if `custom` may be called so.
class KeyGenerator {
  public:
    explicit KeyGenerator(KeyOptions options = {}) : options_(std::move(options)) {
        for (const std::string& name : options_.headers) add_field_name(selecting_, name);
        for (const std::string& name : options_.cookies) selecting_.push_back(cookie_prefix + name);
        std::sort(selecting_.begin(), selecting_.end());
    }

    /// Primary and configured selecting fields: the key of a request as far as it is known without a
    /// response.
    [[nodiscard]] std::string operator()(const Request& request) const {
        std::string key = primary(request);
        return key.empty() || selecting_.empty() ? key : variant(key, request, selecting_);
    }

    /// The resource: scheme, host, method class, path and canonical query, or what `custom` says: "custom 6:user:7".
    /// What that one throws passes through.
    [[nodiscard]] std::string primary(const Request& request) const {
        if (!options_.custom) return standard(request);
        const std::string own = options_.custom(request);
        // Framed: what clients may have a say in must not pass for a variant of something else.
        return own.empty() ? own : KeyText("custom").part(own).text();
    }

    /// The key of a resource by its address alone.
    [[nodiscard]] std::string primary(const Url& url) const {
        Request request;
        request.scheme = url.scheme;
        request.host = url.host;
        request.path = url.path;
        request.query = url.query;
        return primary(request);
    }

    /// `primary` and the values that `request` has for `names`.
    [[nodiscard]] static std::string variant(std::string_view primary, const Request& request,
                                             const FieldNames& names) {
        std::string prefix;
        prefix.reserve(primary.size() + 16 + 32 * names.size());  // most need no more
        prefix = primary;
        KeyText key{std::move(prefix)};
        key.part("vary");
        for (const std::string& name : names) append(key, request.headers, name);
        return std::move(key).text();
    }

    /// Whether requests with other cookies than `request` has variants of their own, given the names that select them:
    /// Cookie is one of these, or each single cookie is.
    [[nodiscard]] static bool covers_cookies(const FieldNames& names, const Headers& request) {
        const auto selects = [&names](const std::string& name) {
            return std::binary_search(names.begin(), names.end(), name);
        };
        if (selects("cookie")) return true;
        bool all = true;
        for_each_cookie(request, [&](std::string_view name, std::string_view) {
            all = all && selects(cookie_prefix + std::string(name));
        });
        return all;
    }

    /// The configured headers and cookies, sorted, as `variant` takes them.
    [[nodiscard]] const FieldNames& selecting() const noexcept { return selecting_; }

  private:
    // Not a field name: ':' cannot occur in one.
    static constexpr const char* cookie_prefix = "cookie:";

    [[nodiscard]] std::string standard(const Request& request) const {
        KeyText key{"http"};
        key.reserve(64 + request.host.size() + request.path.size() + request.query.size());
        key.part(method_class(request.method)).part(detail::to_lower(request.scheme));
        key.part(normalised_host(request.scheme, request.host))
            .part(normalise_percent_encoding(request.path));
        key.part(request.query.empty() ? std::string{}
                                       : canonical_query(request.query, options_.ignore_query_params));
        return std::move(key).text();
    }

    static void append(KeyText& key, const Headers& headers, const std::string& name) {
        if (name.starts_with(cookie_prefix)) {
            const std::string pairs =
                cookie(headers, std::string_view(name).substr(std::string_view(cookie_prefix).size()));
            const std::string hash = pairs.empty() ? std::string{} : smartcache::detail::Sha256::hex(pairs);
            const std::string_view view = hash;
            key.named(name, pairs.empty() ? nullptr : &view);
            return;
        }
        // RFC 9111 section 4.1: an absent field matches only an absent one.
        if (!headers.has(name)) {
            key.named(name, nullptr);
            return;
        }
        const bool credential = name == "authorization" || name == "cookie" || name == "proxy-authorization";
        const std::string value = credential ? smartcache::detail::Sha256::hex(headers.combined(name))
                                             : normalised_field(headers, name);
        const std::string_view view = value;
        key.named(name, &view);
    }

    /// Calls `visit(name, pair)` for each cookie of a request (RFC 6265 section 4.2), as it stands there.
    template <class Visit>
    static void for_each_cookie(const Headers& headers, Visit&& visit) {
        headers.for_each("Cookie", [&](std::string_view line) {
            for (std::size_t start = 0; start <= line.size();) {
                const std::size_t end = std::min(line.find(';', start), line.size());
                const std::string_view pair = detail::trim(line.substr(start, end - start));
                if (!pair.empty()) visit(detail::trim(pair.substr(0, pair.find('='))), pair);
                start = end + 1;
            }
        });
    }

    /// All cookies of one name, in their order: which one counts where there are several is the application's choice
    /// (RFC 6265 section 5.4). No ';' can occur in one.
    static std::string cookie(const Headers& headers, std::string_view name) {
        std::string pairs;
        for_each_cookie(headers, [&](std::string_view each, std::string_view pair) {
            if (each == name) pairs.append(pairs.empty() ? "" : ";").append(pair);
        });
        return pairs;
    }

    KeyOptions options_;
    FieldNames selecting_;
};

}  // namespace smartcache::inline v0::http
