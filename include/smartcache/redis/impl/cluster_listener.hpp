#pragma once

#include <smartcache/redis/cluster_listener.hpp>

namespace smartcache::inline v0::detail {

inline void ClusterListener::step(Deadline wake, int waker) {
    Clock::time_point until = wake.at();
    try {
        until = std::min(until, keep_map());
        follow_map();
        for (const Ear& ear : ears_) until = std::min(until, ear.listener->work(Deadline(Clock::now())));
        tell_repeated();
        look();
        if (question_ == nullptr)
            until = std::min(until, question_due());  // sooner, if it does not hear any more
        polls_.assign(1, pollfd{waker, POLLIN, 0});
        for (const Ear& ear : ears_) polls_.push_back(ear.listener->waits_for());
        if (question_ != nullptr) polls_.push_back(question_->waits_for());
    } catch (const std::exception& error) {
        begin_anew(error.what());
        polls_.resize(std::min<std::size_t>(polls_.size(), 1));  // to be woken
        until = std::min(wake.at(), Clock::now() + std::chrono::milliseconds(100));
    }
    if (until > Clock::now()) (void)::poll(polls_.data(), polls_.size(), Deadline(until).poll_timeout());
}

inline std::uint64_t ClusterListener::failures() const noexcept {
    std::uint64_t sum = ended_failures_;
    for (const Ear& ear : ears_) sum += ear.listener->failures();
    return sum;
}

/// While it does not hear more often: perhaps somebody else serves by now what it does not hear.
inline auto ClusterListener::question_due() const noexcept -> Clock::time_point {
    if (ask_now_) return {};
    const Clock::duration usual = options_.lease / 2;
    return asked_ + (hears() ? usual : std::min<Clock::duration>(usual, std::chrono::milliseconds(100)));
}

/// @return when it is to be called again, unless something happens to the question before
inline auto ClusterListener::keep_map() -> Clock::time_point {
    const auto now = Clock::now();
    if (question_ == nullptr) {
        if (now < question_due()) return question_due();
        begin_question(now);
    }
    std::vector<SlotRange> ranges;
    const Failure failure = question_->ask(Deadline(now), ranges);
    if (failure.kind == Failure::Kind::connecting && Clock::now() < give_up_) {
        constexpr std::chrono::milliseconds patience{5};  // not all that it waits for is the socket
        return std::min(give_up_, now + patience);
    }
    if (failure)
        end_question(failure);
    else
        take_answer(ranges);
    return question_due();
}

inline void ClusterListener::begin_question(Clock::time_point now) {
    if (candidates_.empty()) {
        candidates_ = candidates();
        ++turn_;
    }
    const RedisUrl::Host& node = candidates_.back();
    auto kept = questions_.find(node.endpoint());
    // Who is silent must not use up the others' time.
    Duration patience = options_.lease;
    if (kept == questions_.end()) {
        auto made = std::make_unique<SlotsQuestion>(settings_of(node), node);
        kept = questions_.emplace(node.endpoint(), std::move(made)).first;
        patience = std::max(patience, cluster_.settings().connect_timeout);
    }
    question_ = kept->second.get();
    version_asked_ = cluster_.version();
    ask_now_ = false;
    asked_ = now;
    give_up_ = now + patience / 4;
}

inline void ClusterListener::take_answer(const std::vector<SlotRange>& ranges) {
    question_ = nullptr;
    candidates_.clear();
    // A trip that was sent elsewhere meanwhile knows better. (If that happens all the time, something is to be believed, too.)
    ask_now_ = cluster_.version() != version_asked_ && !overtaken_;
    overtaken_ = ask_now_;
    if (overtaken_) return;
    cluster_.learn(ranges);
    map_until_ = asked_ + options_.lease;
    map_problem_.clear();
}

inline void ClusterListener::end_question(const Failure& failure) {
    const std::string endpoint = question_->node().endpoint();
    map_problem_ = failure.kind == Failure::Kind::connecting
                       ? "Redis at " + endpoint + " does not say in time who serves which slots"
                       : failure.message();
    question_ = nullptr;
    questions_.erase(endpoint);
    candidates_.pop_back();
    ask_now_ = !candidates_.empty();
    if (!ask_now_) ++ended_failures_;
}

/// Who may be asked, the first one last: masters that are heard, by turns, then those that are not, then who is in the URL.
inline std::vector<RedisUrl::Host> ClusterListener::candidates() const {
    std::vector<RedisUrl::Host> all;
    for (const bool heard : {true, false})
        for (std::size_t i = 0; i < ears_.size(); ++i) {
            const Ear& ear = ears_[(i + turn_) % ears_.size()];
            if (ear.listener->hears() == heard) all.push_back(ear.master);
        }
    for (const RedisUrl::Host& host : cluster_.settings().url.hosts)
        if (std::find(all.begin(), all.end(), host) == all.end()) all.push_back(host);
    std::reverse(all.begin(), all.end());
    return all;
}

inline ConnectionSettings ClusterListener::settings_of(const RedisUrl::Host& node) const {
    ConnectionSettings settings = cluster_.settings();
    settings.url.hosts = {node};
    settings.url.scheme = RedisUrl::Scheme::tcp;
    settings.numbers.reset();
    return settings;
}

/// Listens to whom the map names.
inline void ClusterListener::follow_map() {
    const std::uint64_t version = cluster_.version();
    if (version == version_) return;
    const Cluster::Serving now = cluster_.serving();
    std::erase_if(ears_, [&](const Ear& ear) {
        if (std::find(now.masters.begin(), now.masters.end(), ear.master) != now.masters.end()) return false;
        ended_failures_ += ear.listener->failures();
        return true;
    });
    std::erase_if(questions_, [&](const auto& each) {
        const RedisUrl::Host& node = each.second->node();
        return each.second.get() != question_ &&
               std::find(now.masters.begin(), now.masters.end(), node) == now.masters.end();
    });
    for (const RedisUrl::Host& master : now.masters) {
        const auto is_it = [&](const Ear& ear) { return ear.master == master; };
        if (std::any_of(ears_.begin(), ears_.end(), is_it)) continue;
        Listener::Options options = options_;
        options.is_news = [this](std::string_view message) { return recent_.add(message); };
        ears_.push_back(
            {master, std::make_unique<Listener>(settings_of(master), std::move(options), common_, counters_,
                                                [this](const Invalidation& what) { take(what); })});
    }
    all_served_ = now.all;
    version_ = version;
}

/// What one of the listeners tells.
inline void ClusterListener::take(const Invalidation& what) {
    using Kind = Invalidation::Kind;
    switch (what.kind) {
        case Kind::key:
            return told_(what);
        case Kind::tag_erased:
        case Kind::tag_expired:
        case Kind::cleared: {
            const bool there = std::any_of(repeated_.begin(), repeated_.end(), [&](const Repeated& each) {
                return each.kind == what.kind && each.name == what.name;
            });
            constexpr std::size_t most = 64;
            if (there) return;
            if (repeated_.size() >= most) tell_repeated();
            repeated_.push_back({what.kind, std::string(what.name)});
            return;
        }
        case Kind::lost:
            return stop_hearing();
        case Kind::heard:  // `look` sees whether that is all of them
        case Kind::resumed:
        case Kind::position:
            return;
    }
}

inline void ClusterListener::tell_repeated() {
    const std::vector<Repeated> now = std::exchange(repeated_, {});
    for (const Repeated& each : now) told_({each.kind, each.name});
}

/// Whether all of it is heard.
inline void ClusterListener::look() {
    const bool all =
        all_served_ && Clock::now() < map_until_ &&
        std::all_of(ears_.begin(), ears_.end(), [](const Ear& ear) { return ear.listener->hears(); });
    if (!all) {
        stop_hearing();
        set_problem(why_not());
    } else if (!hears()) {
        told_({Invalidation::Kind::heard});
        (void)set_hears(true);
        set_problem({});
    }
}

inline std::string ClusterListener::why_not() const {
    std::string all;
    const auto add = [&all](const std::string& problem) { all += (all.empty() ? "" : "; ") + problem; };
    for (const Ear& ear : ears_)
        if (!ear.listener->hears())
            add("the master at " + ear.master.endpoint() + ": " + ear.listener->problem());
    if (Clock::now() >= map_until_)
        add("it is not known who serves which slots" + (map_problem_.empty() ? "" : ": " + map_problem_));
    else if (!all_served_)
        add("nobody serves some of the slots");
    return all;
}

inline void ClusterListener::stop_hearing() noexcept {
    if (!set_hears(false)) return;
    try {
        told_({Invalidation::Kind::lost});
    } catch (const std::exception&) {  // no memory to say so
    }
}

/// What was to be told was not: as if nothing had been heard.
inline void ClusterListener::begin_anew(const std::string& why) noexcept {
    stop_hearing();
    ++ended_failures_;
    for (const Ear& ear : ears_) ended_failures_ += ear.listener->failures();
    ears_.clear();
    repeated_.clear();
    version_ = 0;
    all_served_ = false;
    try {
        set_problem("a message could not be dealt with: " + why);
    } catch (const std::exception&) {
    }
}

}  // namespace smartcache::inline v0::detail
