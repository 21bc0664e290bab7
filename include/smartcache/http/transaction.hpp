#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/tier_id.hpp>
#include <smartcache/facade/fill.hpp>
#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/flights.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/reason.hpp>
#include <smartcache/http/rules.hpp>
#include <smartcache/http/semantics/cache_status.hpp>
#include <smartcache/http/stored_response.hpp>

namespace smartcache::inline v0::http {

class Transaction;

namespace detail {

/// A stored response that matches a request, pinned.
struct Found {
    std::string key;  ///< empty in a match without variants, which does not need it until it is forwarded
    StoredResponse stored;
    std::shared_ptr<const void> pin;
    TierId tier = TierId::none;  ///< of the cache, where it says
};

/// What the store had of a resource before the origin was asked: what comes takes the place of just that (R7).
struct Base {
    bool known = false;         ///< it was looked at
    std::uint64_t version = 0;  ///< of the primary record: see `Middleware::version_of`
    Fill fill;  ///< of the primary key, where nothing was there, and where the cache has fills
    TagSnapshot tags;
};

/// What is known about a request that goes to the origin.
struct Pending {
    Request client;   ///< as it came
    Request forward;  ///< as the origin should see it
    Reason skip = Reason::none;
    const Rule* rule = nullptr;
    CacheControl control;
    std::string primary;
    std::string variant;  ///< what its flight is about
    Flights::Ticket ticket;
    Base base;
    std::optional<Found> found;
    std::optional<Found> part;  ///< cannot answer the request, but may be combined with what comes
    bool completing = false;    ///< `forward` asks for what `part` lacks
    bool validating = false;    ///< `forward` carries the stored validators, not the client's conditions
    bool background = false;    ///< the client has its answer
    bool streamed = false;      ///< the response's content is not in it
    bool replaced = false;      ///< what the client gets is not what the origin sent
    bool done = false;
    CacheStatus::Forward why = CacheStatus::Forward::uri_miss;
    WallTime request_time{};
    StoredMeta stored_meta;           ///< of what was stored in the end
    std::unique_ptr<Pending> as_get;  ///< of a POST: the GET that its response may answer later
};

/// The middleware behind a transaction: the only one who makes them.
class TransactionOwner {
  public:
    virtual Response finish(Pending& pending, Response response) = 0;
    virtual std::optional<Response> fail(Pending& pending) = 0;
    [[nodiscard]] virtual bool wants_body(Pending& pending, const Response& head) = 0;
    virtual void abandon(Pending& pending) noexcept = 0;

  protected:
    ~TransactionOwner() = default;
    [[nodiscard]] Transaction transaction(std::optional<Response>&& answer, std::unique_ptr<Pending> pending);
    [[nodiscard]] static const Pending& pending_of(const Transaction& transaction);
};

}  // namespace detail

/// One request on its way through the cache.
///
///     Transaction t = middleware.begin(request);
///     if (t.answered()) return send(t.take_response());
///     std::optional<Response> got = origin(t.request());      // possibly made conditional
///     if (got) return send(t.finish(std::move(*got)));        // stores, merges, invalidates
///     return send(t.fail().value_or(bad_gateway()));          // a stale response, where one may be served
///
/// A transaction that was answered may still have something to forward (`wants_refresh`): the answer is
/// stale, and what the origin says should go to `finish` once the answer is on its way (RFC 5861 section 3).
/// Destroying an unfinished transaction abandons it and wakes whoever waits for it. Must not outlive its
/// middleware. Thread safety: one thread at a time, not always the same one.
class Transaction {
  public:
    Transaction(Transaction&&) noexcept = default;
    Transaction& operator=(Transaction&& other) noexcept {
        if (this != &other) {
            abandon();
            owner_ = other.owner_;
            answer_ = std::move(other.answer_);
            pending_ = std::move(other.pending_);
        }
        return *this;
    }
    ~Transaction() { abandon(); }

    [[nodiscard]] bool answered() const noexcept { return answer_.has_value(); }
    [[nodiscard]] bool wants_refresh() const noexcept { return answer_ && pending_ && !pending_->done; }

    /// The answer; `answered()` must be true.
    [[nodiscard]] const Response& response() const noexcept { return *answer_; }
    [[nodiscard]] Response take_response() { return std::move(*answer_); }

    /// What to forward: the client's request without the fields of its connection, perhaps with the cache's
    /// conditions. Without an answer, or with `wants_refresh()`.
    [[nodiscard]] Request& request() noexcept {
        assert(pending_ != nullptr);
        return pending_->forward;
    }

    /// Whether the cache has any use for the content that follows this head. If not, it may be streamed to
    /// the client as it comes, and the head given to `finish_streamed`.
    [[nodiscard]] bool wants_body(const Response& head) {
        assert(pending_ != nullptr && !pending_->done);
        return owner_->wants_body(*pending_, head);
    }
    /// Whether a stored response is being validated or replaced: where it may not be served stale and the
    /// origin is silent, the right answer is 504 (RFC 9111 section 5.2.2.2).
    [[nodiscard]] bool has_stored() const noexcept {
        return pending_ != nullptr && pending_->found.has_value();
    }

    /// Whether the request asks for the rest of a stored part, so that a 206 must be collected whatever its
    /// length; both together are no longer than `max_completed_bytes`.
    [[nodiscard]] bool completing() const noexcept { return pending_ != nullptr && pending_->completing; }

    /// Takes the origin's final response, complete or not at all: a response that was cut off must go to
    /// `fail`.
    /// @return what to send to the client
    Response finish(Response response) {
        assert(pending_ != nullptr && !pending_->done);
        pending_->done = true;
        return owner_->finish(*pending_, std::move(response));
    }

    /// The same for a response whose content goes past the cache, because it is streamed or too large to
    /// keep: everything but storing. @return the head to send; where it `replaced()` the origin's, or its status is
    /// 304, the stream is not wanted any more
    Response finish_streamed(Response head) {
        assert(pending_ != nullptr && !pending_->done);
        pending_->streamed = true;
        return finish(std::move(head));
    }

    /// Whether what `finish` or `finish_streamed` returned is not what the origin sent: a stored response that is served
    /// in its place, a part of it or a 304, which answer the client's own fields, or an error of the cache's. Its body,
    /// which may be empty, is all there is to send then.
    [[nodiscard]] bool replaced() const noexcept { return pending_ != nullptr && pending_->replaced; }

    /// The origin did not answer. @return a stored response that may be served instead (RFC 9111
    /// section 4.2.4)
    std::optional<Response> fail() {
        assert(pending_ != nullptr && !pending_->done);
        pending_->done = true;
        return owner_->fail(*pending_);
    }

  private:
    friend class detail::TransactionOwner;

    Transaction(detail::TransactionOwner& owner, std::optional<Response>&& answer,
                std::unique_ptr<detail::Pending> pending)
        : owner_(&owner), answer_(std::move(answer)), pending_(std::move(pending)) {}

    void abandon() noexcept {
        if (pending_ == nullptr || pending_->done) return;
        pending_->done = true;
        owner_->abandon(*pending_);
    }

    detail::TransactionOwner* owner_;
    std::optional<Response> answer_;
    std::unique_ptr<detail::Pending> pending_;
};

inline Transaction detail::TransactionOwner::transaction(std::optional<Response>&& answer,
                                                         std::unique_ptr<Pending> pending) {
    return Transaction(*this, std::move(answer), std::move(pending));
}

inline const detail::Pending& detail::TransactionOwner::pending_of(const Transaction& transaction) {
    return *transaction.pending_;
}

}  // namespace smartcache::inline v0::http
