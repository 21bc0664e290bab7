#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/verb.hpp>

#include <smartcache/http/adapters/detail/beast_body.hpp>
#include <smartcache/http/adapters/detail/streamed.hpp>
#include <smartcache/http/adapters/detail/target.hpp>
#include <smartcache/http/message.hpp>

// From Beast's messages to the cache's and back.
namespace smartcache::inline v0::http::beast {

using http::Streamed;

/// What the response to a request depends on besides the cache: how the client wants it sent.
struct Client {
    unsigned version = 11;
    bool keep_alive = true;
    bool head = false;  ///< the method is HEAD

    template <class AnyBody, class AnyFields>
    [[nodiscard]] static Client of(const boost::beast::http::request<AnyBody, AnyFields>& request) {
        return {request.version(), request.keep_alive(), request.method() == boost::beast::http::verb::head};
    }
};

namespace detail {

[[nodiscard]] inline std::string_view view(boost::beast::string_view text) {
    return {text.data(), text.size()};
}

template <class AnyFields>
[[nodiscard]] Headers headers_of(const AnyFields& fields) {
    if constexpr (std::is_base_of_v<Fields, AnyFields>) {
        return fields.headers();
    } else {
        Headers headers;
        for (const auto& field : fields) headers.add(view(field.name_string()), view(field.value()));
        return headers;
    }
}

/// Any of Beast's bodies that holds its bytes in memory.
template <class Value>
[[nodiscard]] Body body_of(Value&& value) {
    using Plain = std::remove_cvref_t<Value>;
    if constexpr (std::is_same_v<Plain, boost::beast::http::empty_body::value_type>)
        return {};
    else if constexpr (std::is_same_v<Plain, Content>)
        return value.bytes;
    else if constexpr (std::is_convertible_v<Value&&, Body>)
        return std::forward<Value>(value);
    else
        return std::string(reinterpret_cast<const char*>(value.data()), value.size());
}

template <class AnyBody, class AnyFields>
[[nodiscard]] Request without_body(const boost::beast::http::request<AnyBody, AnyFields>& from,
                                   std::string_view scheme) {
    Request request;
    request.method = view(from.method_string());
    request.scheme = scheme;
    request.headers = headers_of(from.base());
    request.host = request.headers.value("Host");
    http::detail::set_target(request, view(from.target()));
    return request;
}

template <class T>
struct is_request : std::false_type {};
template <class AnyBody, class AnyFields>
struct is_request<boost::beast::http::request<AnyBody, AnyFields>> : std::true_type {};

}  // namespace detail

/// A request of Beast's with any body that holds its bytes in memory.
template <class T>
concept AnyRequest = detail::is_request<std::remove_cvref_t<T>>::value;

/// Beast's request as the cache sees it: the target is split, fields keep their order and repeats. Of a target
/// in absolute form the host counts, and replaces the Host field (RFC 9112 section 3.2.2), so that the cache
/// and the application speak of the same host. The body of an rvalue is moved.
template <AnyRequest BeastRequest>
[[nodiscard]] Request to_request(BeastRequest&& from, std::string_view scheme = "http") {
    Request request = detail::without_body(from, scheme);
    if constexpr (std::is_lvalue_reference_v<BeastRequest>)
        request.body = detail::body_of(from.body());
    else
        request.body = detail::body_of(std::move(from.body()));
    return request;
}

/// The other way, for applications that speak Beast and for clients of an origin. `AnyBody` is one that holds
/// its bytes in memory. Beast's own fields keep the order of equal names only.
template <class AnyBody = PinnedBody>
[[nodiscard]] boost::beast::http::request<AnyBody> to_beast(const Request& from) {
    boost::beast::http::request<AnyBody> request;
    request.version(11);
    request.method_string(from.method);
    request.target(from.query.empty() ? from.path : from.path + '?' + from.query);
    for (const auto field : from.headers)
        request.insert(boost::beast::string_view(field.name.data(), field.name.size()),
                       boost::beast::string_view(field.value.data(), field.value.size()));
    if constexpr (std::is_same_v<AnyBody, PinnedBody>)
        request.body().bytes = from.body;
    else if constexpr (!std::is_same_v<AnyBody, boost::beast::http::empty_body>)
        request.body().assign(from.body.view().begin(), from.body.view().end());
    return request;
}

/// Beast's response as the cache sees it.
template <class AnyBody, class AnyFields>
[[nodiscard]] Response to_response(boost::beast::http::response<AnyBody, AnyFields> from) {
    Response response;
    response.status = static_cast<int>(from.result_int());
    response.headers = detail::headers_of(from.base());
    response.body = detail::body_of(std::move(from.body()));
    return response;
}

/// The response as it is to be sent: with the right length, without a body where there must be none, shut where
/// the client asks for it or nothing else can end it. `next`: see `Streamed`.
[[nodiscard]] inline Message to_message(Response from, const Client& client,
                                        std::function<Body()> next = {}) {
    Streamed made{std::move(from), std::move(next)};
    const auto length = http::detail::settle_length(made, client.head);
    const bool chunked = made.next && !length && client.version >= 11;
    Message message(boost::beast::http::response_header<Fields>(std::move(made.head.headers)));
    message.version(client.version);
    message.result(static_cast<unsigned>(made.head.status));
    if (chunked) message.chunked(true);
    if (client.head) message.end_with_head();
    message.keep_alive(client.keep_alive);
    if (message.need_eof()) message.keep_alive(false);
    message.body() = Content{std::move(made.head.body), std::move(made.next), length};
    return message;
}

namespace detail {

using http::detail::made;
template <class AnyBody, class AnyFields>
[[nodiscard]] Streamed made(boost::beast::http::response<AnyBody, AnyFields> from) {
    std::function<Body()> next;
    if constexpr (std::is_same_v<AnyBody, PinnedBody>) next = std::move(from.body().next);
    return {to_response(std::move(from)), std::move(next)};
}

}  // namespace detail

}  // namespace smartcache::inline v0::http::beast
