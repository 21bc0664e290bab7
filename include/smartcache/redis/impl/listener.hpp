#pragma once

#include <smartcache/redis/listener.hpp>

namespace smartcache::inline v0::detail {

inline void Listener::step(Deadline wake, int waker) {
    // For a connection not longer at a time than whoever stops this would wait.
    const Clock::time_point until = work(earlier(wake, Deadline::in(std::chrono::milliseconds(100))));
    if (until <= Clock::now()) return;
    std::array<pollfd, 2> all{pollfd{waker, POLLIN, 0}, waits_for()};
    (void)::poll(all.data(), all.size(), Deadline(std::min(until, wake.at())).poll_timeout());
}

inline auto Listener::work(Deadline opened_by) -> Clock::time_point {
    constexpr Clock::time_point at_once{};
    const auto lost = [&](const std::string& why) {
        lose(why);
        return at_once;
    };
    try {
        if (!connection_ || !connection_->ready()) return open(opened_by);
        if (!subscribed_) {
            subscribe();
            return at_once;
        }
        // Before the lease is looked at, so that what has come while nobody looked counts.
        const bool heard = hears();
        bool more = false;
        Failure failure = connection_->listen([this](Reply& message) { take(message); }, more);
        if (failure) return lost(failure.message());
        if (hears() != heard) return at_once;  // whoever waits for that
        if (!refused_.empty()) return lost(refused_);
        if (left_behind()) return lost("the data is at another server by now");
        if (hears() && Clock::now() >= lease_until_) return lost("no sign of life within the lease");
        if (!hears() && Clock::now() >= asked_ + settings_.connect_timeout)
            return lost("no answer to SUBSCRIBE");
        if (hears()) keep_alive();
        if (!connection_ || more) return at_once;
        return hears() ? std::min(answered_ ? next_question() : lease_until_, lease_until_)
                       : asked_ + settings_.connect_timeout;
    } catch (const std::exception& error) {
        return lost(std::string("a message could not be dealt with: ") + error.what());
    }
}

inline auto Listener::open(Deadline opened_by) -> Clock::time_point {
    const auto now = Clock::now();
    if (now < retry_at_) return retry_at_;
    if (!connection_) {
        connection_ = std::make_unique<Connection>(settings_);
        moves_ = common_.moves();
        opening_until_ = now + settings_.connect_timeout;
    }
    const Failure failure = connection_->open(opened_by);
    // Its own limit counts what is spent in calls, and these may all be short.
    if (failure && (failure.kind != Failure::Kind::connecting || Clock::now() >= opening_until_)) {
        lose(failure.message());
        return {};
    }
    // Not all that it waits for is the socket.
    constexpr std::chrono::milliseconds patience{5};
    return failure ? Clock::now() + patience : Clock::time_point{};
}

inline void Listener::subscribe() {
    Pipeline commands;
    if (options_.tracking) {
        const std::uint64_t self = connection_->identity().client_id;
        if (self == 0) return lose("CLIENT ID is not permitted, which client tracking needs");
        commands.command(
            {"CLIENT", "TRACKING", "ON", "REDIRECT", std::to_string(self), "BCAST", "PREFIX", prefix_});
        commands.command({"SUBSCRIBE", channel_, tracking_channel});
    } else {
        commands.command({"SUBSCRIBE", channel_});
    }
    asked_ = Clock::now();
    acknowledged_ = 0;
    refused_.clear();
    subscribed_ = true;
    if (const Failure failure = connection_->tell(commands, Deadline::in(settings_.connect_timeout)))
        lose(failure.message());
}

inline void Listener::take(Reply& message) {
    if (message.is_error()) {
        refused_ = "the server does not let us listen: " + message.text;
    } else if (message.kind == Reply::Kind::array && message.elements.size() >= 2) {
        take_pushed(message);
    }
}

inline void Listener::take_pushed(Reply& message) {
    const std::string& what = message.elements[0].text;
    if (what == "subscribe") {
        if (++acknowledged_ == (options_.tracking ? 2U : 1U) && refused_.empty()) become_heard();
    } else if (what == "pong") {
        answered_ = true;
        lease_until_ = asked_ + options_.lease;
        failures_in_a_row_ = 0;
        if (std::string next = std::exchange(next_position_, {}); !next.empty()) {
            position_ = std::move(next);
            position_run_ = connection_->identity().run_id;
            told_({Invalidation::Kind::position, position_});
        }
    } else if (what == "message" && message.elements.size() == 3) {
        if (message.elements[1].text == tracking_channel) return take_tracked(message.elements[2]);
        const std::string_view text = message.elements[2].text;
        if (options_.is_news && !options_.is_news(text)) return;
        std::chrono::nanoseconds took{0};
        switch (common_.announcer.read(text, told_, took)) {
            case Announcer::Read::own:
                return counters_.add_own(took);
            case Announcer::Read::unreadable:
                // Something has changed, and what it was a later version may know.
                counters_.add_message(false);
                return told_({Invalidation::Kind::cleared});
            case Announcer::Read::done:
                return counters_.add_message(true);
        }
    }
}

/// The names of records that have changed, or nil: all have (FLUSHALL).
inline void Listener::take_tracked(Reply& message) {
    counters_.add_message(true);
    if (message.kind != Reply::Kind::array) return told_({Invalidation::Kind::cleared});
    for (const Reply& name : message.elements) {
        const std::string_view text = name.text;
        if (text.substr(0, prefix_.size()) == prefix_)
            told_({Invalidation::Kind::key, text.substr(prefix_.size())});
    }
}

/// Whether the pool's connections have gone to another server since this one was opened.
inline bool Listener::left_behind() {
    const std::uint64_t moves = common_.moves();
    if (moves == moves_) return false;
    moves_ = moves;
    return !common_.is_at(connection_->identity().run_id);
}

inline void Listener::keep_alive() {
    if (!answered_ || Clock::now() < next_question()) return;
    constexpr std::chrono::seconds between_looks{1};
    if (const auto now = Clock::now(); history_ && now >= next_look_) {
        next_look_ = now + between_looks;
        next_position_ =
            history_->newest(connection_->identity().run_id,
                             Deadline::in(std::min<Duration>(settings_.connect_timeout, options_.lease / 3)));
    }
    Pipeline question;
    question.command({"PING"});
    asked_ = Clock::now();
    answered_ = false;
    if (const Failure failure = connection_->tell(question, Deadline::in(options_.lease)))
        lose(failure.message());
}

inline void Listener::become_heard() {
    const std::string& run = connection_->identity().run_id;
    const bool may_resume = history_ && (!position_run_ || (!run.empty() && *position_run_ == run));
    if (const auto known = may_resume ? history_->catch_up(position_, run, told_) : std::nullopt) {
        asked_ = *known;
        told_({Invalidation::Kind::resumed});
    } else {
        told_({Invalidation::Kind::heard});
        position_.clear();
    }
    position_run_ = run;
    next_position_.clear();
    next_look_ = {};
    answered_ = true;
    lease_until_ = asked_ + options_.lease;
    (void)set_hears(true);
    set_problem({});
}

inline void Listener::lose(const std::string& why) {
    connection_.reset();
    subscribed_ = false;
    ++failures_;
    constexpr std::chrono::milliseconds first{10};
    constexpr std::chrono::milliseconds longest{1000};
    const auto delay = std::min(longest, first * (std::int64_t{1} << std::min(failures_in_a_row_, 8U)));
    // With jitter, so that many processes do not come back at the same moment.
    retry_at_ = Clock::now() + delay / 2 +
                std::chrono::milliseconds(static_cast<std::int64_t>(
                    random_stamp() % static_cast<std::uint64_t>(delay.count() / 2 + 1)));
    ++failures_in_a_row_;
    try {
        set_problem(why);
        common_.report("changes by other processes are not heard: " + why);
        if (set_hears(false)) told_({Invalidation::Kind::lost});
    } catch (const std::exception&) {  // no memory to say so
    }
}

}  // namespace smartcache::inline v0::detail
