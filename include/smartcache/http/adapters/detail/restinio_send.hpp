#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <restinio/buffers.hpp>
#include <restinio/common_types.hpp>
#include <restinio/impl/connection_base.hpp>
#include <restinio/request_handler.hpp>

#include <http_parser.h>

#include <smartcache/core/executor.hpp>
#include <smartcache/http/adapters/detail/streamed.hpp>
#include <smartcache/http/detail/middleware_helpers.hpp>
#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/message.hpp>

// Responses on their way to RESTinio's connections.
//
// Its builders give every response a length or chunks, also 204, 304 and those to HEAD, and copy each field. This gives the
// connection what they would: groups of bytes, each with a function that is called when it is written.
namespace smartcache::inline v0::http::restinio::detail {

/// Bytes that RESTinio writes from where they lie.
class Piece {
  public:
    Piece(std::shared_ptr<const void> owner, std::string_view bytes) noexcept
        : owner_(std::move(owner)), bytes_(bytes) {}
    [[nodiscard]] const char* data() const noexcept { return bytes_.data(); }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

  private:
    std::shared_ptr<const void> owner_;
    std::string_view bytes_;
};

/// How the client wants the response sent.
struct Client {
    bool keep_alive = true;
    bool says_keep_alive = false;  ///< in so many words, as HTTP/1.0 must
    bool takes_chunks = true;
    bool head = false;  ///< the method is HEAD

    // RESTinio does not say which version a request has. What it does not keep alive although nobody says "close" is
    // HTTP/1.0; an upgrade that is not made it can only close, or it takes the request for one again.
    [[nodiscard]] static Client of(const ::restinio::http_request_header_t& header, const Request& request) {
        Client client;
        bool says_close = false;
        request.headers.for_each_member("Connection", [&](std::string_view option) {
            says_close = says_close || http::detail::equal_ignoring_case(option, "close");
            client.says_keep_alive =
                client.says_keep_alive || http::detail::equal_ignoring_case(option, "keep-alive");
        });
        client.keep_alive = header.should_keep_alive();
        const bool upgrade = header.connection() == ::restinio::http_connection_header_t::upgrade;
        client.takes_chunks = client.keep_alive || says_close || upgrade;
        client.head = request.method == "HEAD";
        return client;
    }
};

/// Sends one response. What is made as it is sent is made in the pool, a piece when the one before has been written.
///
/// A response is complete only when all of it has been written: RESTinio begins to read the next request when a handler
/// has answered at once, and begins again when the answer is written, where that was its last place for a request; what had
/// come of it in between is then forgotten.
class Sender : public std::enable_shared_from_this<Sender> {
  public:
    Sender(::restinio::request_id_t id, Executor& pool, const Client& client)
        : id_(id), pool_(&pool), keep_alive_(client.keep_alive) {}

    void send(const ::restinio::impl::connection_handle_t& connection, Streamed made, const Client& client) {
        connection_ = connection;
        made_ = std::move(made);
        length_ = http::detail::settle_length(made_, client.head);
        if (made_.next && !length_) {
            chunked_ = client.takes_chunks;
            keep_alive_ = keep_alive_ && chunked_;
        }
        write_head(client);
        ::restinio::writable_items_container_t head;
        head.reserve(4);
        head.emplace_back(piece(line_));
        head.emplace_back(piece(made_.head.headers.wire()));
        head.emplace_back(::restinio::const_buffer("\r\n", 2));
        if (!made_.next && !made_.head.body.empty()) head.emplace_back(piece(made_.head.body.view()));
        write(connection, std::move(head));
    }

  private:
    [[nodiscard]] Piece piece(std::string_view bytes) { return {shared_from_this(), bytes}; }

    void write_head(const Client& client) {
        Headers& headers = made_.head.headers;
        if (chunked_) headers.set("Transfer-Encoding", "chunked");
        if (!keep_alive_)
            headers.set("Connection", "close");
        else if (client.says_keep_alive)
            headers.set("Connection", "keep-alive");
        else
            headers.remove("Connection");
        line_ = "HTTP/1.1 " + std::to_string(made_.head.status) + ' ';
        // The last one of the enumeration, which cannot hold much more.
        if (made_.head.status <= HTTP_STATUS_NETWORK_AUTHENTICATION_REQUIRED) {
            const std::string_view reason = ::http_status_str(static_cast<::http_status>(made_.head.status));
            if (!reason.starts_with('<')) line_ += reason;  // "<unknown>"
        }
        line_ += "\r\n";
    }

    void write(const ::restinio::impl::connection_handle_t& connection,
               ::restinio::writable_items_container_t items) {
        ::restinio::write_group_t group(std::move(items));
        group.after_write_notificator(
            [self = shared_from_this()](const auto& error) { self->written(static_cast<bool>(error)); });
        give(connection, std::move(group), ::restinio::response_parts_attr_t::not_final_parts);
    }

    void give(const ::restinio::impl::connection_handle_t& connection, ::restinio::write_group_t group,
              ::restinio::response_parts_attr_t parts) {
        connection->write_response_parts(id_, {parts, ::restinio::response_connection_attr(keep_alive_)},
                                         std::move(group));
    }

    /// @param end  what is still to be written
    void complete(const ::restinio::impl::connection_handle_t& connection, std::string_view end = {}) {
        made_.next = nullptr;
        ::restinio::writable_items_container_t items;
        if (!end.empty()) items.emplace_back(::restinio::const_buffer(end.data(), end.size()));
        give(connection, ::restinio::write_group_t(std::move(items)),
             ::restinio::response_parts_attr_t::final_parts);
    }

    /// Ends the connection in the middle of the response.
    void break_off(const ::restinio::impl::connection_handle_t& connection) {
        keep_alive_ = false;
        complete(connection);
    }

    /// By a thread of the loop. The connection keeps what it writes, which must not keep the connection as well.
    void written(bool failed) {
        const auto connection = connection_.lock();
        if (failed || !connection)
            made_.next = nullptr;  // nobody is there to read it
        else if (made_.next)
            http::detail::run_by(*pool_,
                                 [self = shared_from_this(), connection] { self->write_next(connection); });
        else
            complete(connection);
    }

    void write_next(const ::restinio::impl::connection_handle_t& connection) {
        try {
            next_ = std::exchange(made_.head.body, {});
            if (next_.empty()) next_ = made_.next();
        } catch (...) {
            return break_off(connection);
        }
        sent_ += next_.size();
        if (length_ && (sent_ > *length_ || (next_.empty() && sent_ < *length_)))
            return break_off(connection);
        if (next_.empty()) return complete(connection, chunked_ ? "0\r\n\r\n" : "");
        ::restinio::writable_items_container_t items;
        items.reserve(3);
        if (chunked_) items.emplace_back(chunk_line(next_.size()));
        items.emplace_back(piece(next_.view()));
        if (chunked_) items.emplace_back(::restinio::const_buffer("\r\n", 2));
        write(connection, std::move(items));
    }

    [[nodiscard]] static std::string chunk_line(std::size_t size) {
        char digits[2 * sizeof size];
        const auto end = std::to_chars(digits, digits + sizeof digits, size, 16).ptr;
        return std::string(digits, end) + "\r\n";
    }

    ::restinio::request_id_t id_;
    Executor* pool_;
    std::weak_ptr<::restinio::impl::connection_base_t> connection_;
    bool keep_alive_;
    bool chunked_ = false;
    std::optional<std::uint64_t> length_;
    std::uint64_t sent_ = 0;
    Streamed made_;
    std::string line_;
    Body next_;  ///< what is being written
};

/// Answers one request.
class Answer {
  public:
    Answer(::restinio::impl::connection_handle_t connection, ::restinio::request_id_t id, Executor& pool,
           const Client& client)
        : connection_(std::move(connection)), id_(id), pool_(&pool), client_(client) {}

    template <class Made>
    [[nodiscard]] static Streamed made(Made&& from) {
        return http::detail::made(std::forward<Made>(from));
    }
    template <class Task>
    void ask(const Task& task) {
        task();
    }
    void complete(Streamed made) {
        const auto connection = std::exchange(connection_, nullptr);
        std::make_shared<Sender>(id_, *pool_, client_)->send(connection, std::move(made), client_);
    }
    void fail(const std::exception_ptr&) {
        complete({http::detail::short_response(500, "the application failed"), {}});
    }
    [[nodiscard]] bool completed() const noexcept { return connection_ == nullptr; }
    void letting_go() const noexcept {}

  private:
    ::restinio::impl::connection_handle_t connection_;
    ::restinio::request_id_t id_;
    Executor* pool_;
    Client client_;
};

}  // namespace smartcache::inline v0::http::restinio::detail
