#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/none.hpp>
#include <boost/optional.hpp>

#include <smartcache/http/detail/text.hpp>
#include <smartcache/http/headers.hpp>
#include <smartcache/http/message.hpp>

// What Beast's messages consist of when they come from the cache: fields and content that are not copied.
namespace smartcache::inline v0::http::beast {

/// Header fields as one block of text, in order: a model of Beast's Fields for requests and responses.
/// `headers()` is how they are read and changed.
class Fields {
    using Text = boost::beast::string_view;

  public:
    Fields() = default;
    explicit Fields(Headers headers) : headers_(std::move(headers)) {}

    [[nodiscard]] Headers& headers() noexcept { return headers_; }
    [[nodiscard]] const Headers& headers() const noexcept { return headers_; }
    /// Says that nothing follows the head, whatever it says of a length: it answers a HEAD.
    void end_with_head() noexcept { ends_with_head_ = true; }

    /// The head in three pieces, of which only the first line is written anew.
    class writer {
      public:
        using const_buffers_type = std::array<boost::asio::const_buffer, 3>;

        writer(const Fields& fields, unsigned version, unsigned status) : fields_(&fields) {
            const auto reason =
                boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(status));
            line_ = protocol(version) + ' ' + std::to_string(status) + ' ';
            if (!fields.reason_.empty())
                line_ += fields.reason_;
            else if (boost::beast::http::int_to_status(status) != boost::beast::http::status::unknown)
                line_.append(reason.data(), reason.size());
            line_ += "\r\n";
        }
        writer(const Fields& fields, unsigned version, boost::beast::http::verb method) : fields_(&fields) {
            const auto name = boost::beast::http::to_string(method);
            line_ = method == boost::beast::http::verb::unknown ? fields.method_
                                                                : std::string(name.data(), name.size());
            line_ += ' ' + fields.target_ + ' ' + protocol(version) + "\r\n";
        }

        [[nodiscard]] const_buffers_type get() const {
            const std::string_view wire = fields_->headers_.wire();
            return {boost::asio::buffer(line_), boost::asio::buffer(wire.data(), wire.size()),
                    boost::asio::buffer("\r\n", 2)};
        }

      private:
        [[nodiscard]] static std::string protocol(unsigned version) {
            return "HTTP/" + std::to_string(version / 10) + '.' + std::to_string(version % 10);
        }
        const Fields* fields_;
        std::string line_;
    };

  protected:
    // What message and header ask of Fields.
    [[nodiscard]] Text get_method_impl() const { return method_; }
    [[nodiscard]] Text get_target_impl() const { return target_; }
    [[nodiscard]] Text get_reason_impl() const { return reason_; }
    [[nodiscard]] bool get_chunked_impl() const {
        return http::detail::equal_ignoring_case(headers_.value("Transfer-Encoding"), "chunked");
    }
    [[nodiscard]] bool get_keep_alive_impl(unsigned version) const {
        bool close = false;
        bool keep = false;
        headers_.for_each_member("Connection", [&](std::string_view option) {
            close = close || http::detail::equal_ignoring_case(option, "close");
            keep = keep || http::detail::equal_ignoring_case(option, "keep-alive");
        });
        return version < 11 ? keep && !close : !close;
    }
    // Beast takes a response without a length for one that only the end of the connection ends: not a HEAD's.
    [[nodiscard]] bool has_content_length_impl() const {
        return ends_with_head_ || headers_.has("Content-Length");
    }
    void set_method_impl(Text method) { method_.assign(method.data(), method.size()); }
    void set_target_impl(Text target) { target_.assign(target.data(), target.size()); }
    void set_reason_impl(Text reason) { reason_.assign(reason.data(), reason.size()); }
    void set_chunked_impl(bool chunked) { set_or_remove("Transfer-Encoding", chunked ? "chunked" : ""); }
    void set_content_length_impl(const boost::optional<std::uint64_t>& length) {
        set_or_remove("Content-Length", length ? std::to_string(*length) : std::string());
    }
    void set_keep_alive_impl(unsigned version, bool keep) {
        set_or_remove("Connection", version < 11 ? (keep ? "keep-alive" : "") : (keep ? "" : "close"));
    }

  private:
    void set_or_remove(std::string_view name, std::string_view value) {
        if (!value.empty())
            headers_.set(name, value);
        else
            headers_.remove(name);
    }

    Headers headers_;
    std::string method_;
    std::string target_;
    std::string reason_;
    bool ends_with_head_ = false;
};

/// What a message carries: bytes that are there, then what `next` gives.
struct Content {
    Body bytes{};
    /// Called by whoever writes the message, whenever it has room: gives the next piece, an empty one at the
    /// end. What it throws breaks the connection off, so that the client knows. Under `async_write` it must not
    /// block.
    std::function<Body()> next{};
    /// What both give together, where the head says so; to give less or more breaks the connection off as well.
    std::optional<std::uint64_t> length{};
};

/// A Beast Body whose bytes are not copied: written from where they lie, and read into one string.
struct PinnedBody {
    using value_type = Content;

    class writer {
      public:
        using const_buffers_type = boost::asio::const_buffer;

        template <bool is_request, class AnyFields>
        writer(const boost::beast::http::header<is_request, AnyFields>&, const value_type& content)
            : content_(&content) {}

        void init(boost::beast::error_code& ec) { ec = {}; }
        boost::optional<std::pair<const_buffers_type, bool>> get(boost::beast::error_code& ec) {
            ec = {};
            piece_ = started_ ? Body{} : content_->bytes;
            started_ = true;
            try {
                if (piece_.empty() && content_->next) piece_ = content_->next();
            } catch (...) {
                return broken(ec);
            }
            sent_ += piece_.size();
            const bool ended = piece_.empty() || !content_->next;
            if (content_->length && (sent_ > *content_->length || (ended && sent_ < *content_->length)))
                return broken(ec);
            if (piece_.empty()) return boost::none;
            const std::string_view view = piece_.view();
            return {{boost::asio::buffer(view.data(), view.size()), !ended}};
        }

      private:
        static boost::none_t broken(boost::beast::error_code& ec) {
            ec = boost::asio::error::make_error_code(boost::asio::error::connection_aborted);
            return boost::none;
        }
        const value_type* content_;
        Body piece_;
        std::uint64_t sent_ = 0;
        bool started_ = false;
    };

    class reader {
      public:
        template <bool is_request, class AnyFields>
        reader(boost::beast::http::header<is_request, AnyFields>&, value_type& content)
            : content_(&content) {}

        void init(const boost::optional<std::uint64_t>& length, boost::beast::error_code& ec) {
            ec = {};
            // A promise only: what comes is bounded by the parser's body limit.
            if (length) text_.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(*length, 1U << 16U)));
        }
        template <class Buffers>
        std::size_t put(const Buffers& buffers, boost::beast::error_code& ec) {
            ec = {};
            const std::size_t before = text_.size();
            for (auto it = boost::asio::buffer_sequence_begin(buffers);
                 it != boost::asio::buffer_sequence_end(buffers); ++it) {
                const boost::asio::const_buffer piece = *it;
                text_.append(static_cast<const char*>(piece.data()), piece.size());
            }
            return text_.size() - before;
        }
        void finish(boost::beast::error_code& ec) {
            ec = {};
            content_->bytes = Body(std::move(text_));
        }

      private:
        value_type* content_;
        std::string text_;
    };
};

/// What the cache hands to Beast.
using Message = boost::beast::http::response<PinnedBody, Fields>;

}  // namespace smartcache::inline v0::http::beast
