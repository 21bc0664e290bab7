#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include <smartcache/http/message.hpp>
#include <smartcache/http/url.hpp>

namespace smartcache::inline v0::http::detail {

/// Splits a request's target into path and query. RFC 9112 section 3.2.2: of one in absolute form the host counts, and replaces
/// the Host field.
inline void set_target(Request& request, std::string_view target) {
    if (auto url = parse_url(target)) {
        if (!url->host.empty()) {
            request.host = url->host;
            request.headers.set("Host", url->host);
        }
        request.path = std::move(url->path);
        request.query = std::move(url->query);
        return;
    }
    const std::size_t question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string_view::npos) request.query = target.substr(question + 1);
}

}  // namespace smartcache::inline v0::http::detail
