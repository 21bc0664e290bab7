#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/headers.hpp>
#include <smartcache/http/rules.hpp>
#include <smartcache/http/url.hpp>

// Names under which many responses are purged at once: those that the origin gives ("surrogate keys"), and those of
// the paths above a response.
namespace smartcache::inline v0::http {

/// Calls `visit(tag)` for each tag under the named fields, in order, repeats included. Tags are compared byte by byte.
///
/// No standard says how tags are separated: by spaces in Surrogate-Key (Fastly), by spaces or commas in xkey (Varnish),
/// by commas in Cache-Tag (Cloudflare) and every other field (Edge-Cache-Tag, X-Magento-Tags, ...).
template <class Visit>
void for_each_tag(const Headers& headers, const std::vector<std::string>& fields, Visit&& visit);

/// The tag of all that lies at or below the path of `url`: of the resource itself, whatever its query, and of
/// everything behind a further slash. A slash at the end, and which of its spellings the path has, make no difference.
/// No field can hold it.
[[nodiscard]] std::string path_tag(const Url& url);

/// Calls `visit(tag)` with the path tags of the first `depth` folders of `url`'s path, its host's first; that is
/// `path_tag` of everything that it lies below.
template <class Visit>
void for_each_path_tag(const Url& url, std::size_t depth, Visit&& visit);

namespace detail {

template <class Visit>
void split_tags(std::string_view text, std::string_view separators, Visit&& visit) {
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t end = std::min(text.find_first_of(separators, start), text.size());
        const std::string_view tag = trim(text.substr(start, end - start));
        if (!tag.empty()) visit(tag);
        start = end + 1;
    }
}

/// What all path tags of a host begin with. Field values hold no line ends.
[[nodiscard]] inline std::string path_tag_root(const Url& url) {
    return "path\n" + to_lower(url.scheme) + "://" + normalised_host(url.scheme, url.host);
}

}  // namespace detail

template <class Visit>
void for_each_tag(const Headers& headers, const std::vector<std::string>& fields, Visit&& visit) {
    for (const std::string& field : fields) {
        const std::string_view separators = detail::equal_ignoring_case(field, "Surrogate-Key") ? " \t"
                                            : detail::equal_ignoring_case(field, "xkey")        ? " \t,"
                                                                                                : ",";
        headers.for_each(field,
                         [&](std::string_view value) { detail::split_tags(value, separators, visit); });
    }
}

inline std::string path_tag(const Url& url) {
    std::string path = merged_rule_path(url.path);
    while (path.ends_with('/')) path.pop_back();
    return detail::path_tag_root(url) + path;
}

template <class Visit>
void for_each_path_tag(const Url& url, std::size_t depth, Visit&& visit) {
    std::string tag = detail::path_tag_root(url);
    const std::string path = merged_rule_path(url.path);
    visit(tag);
    for (std::size_t start = path.find_first_not_of('/'); start < path.size() && depth > 0; --depth) {
        const std::size_t end = std::min(path.find('/', start), path.size());
        tag.append("/").append(path, start, end - start);
        visit(tag);
        start = path.find_first_not_of('/', end);
    }
}

}  // namespace smartcache::inline v0::http
