#pragma once

#include <smartcache/http/middleware.hpp>

// From a request to an answer, or to a request for the origin.
namespace smartcache::inline v0::http {

template <ResponseCache Cache>
Middleware<Cache>::Middleware(std::unique_ptr<Cache> own, Cache* cache, MiddlewareOptions options)
    : own_(std::move(own)),
      cache_(own_ ? own_.get() : cache),
      options_((options.validate(), std::move(options))),
      keys_(detail::key_options(options_)) {
    if constexpr (!detail::HasTags<Cache>) {
        std::size_t i = 0;
        for (const Rule& rule : options_.rules) {
            if (!rule.tags.empty())
                throw ConfigError("rules[" + std::to_string(i) + "].tags", rule.tags.front(),
                                  "none: this cache has no tags");
            ++i;
        }
    }
}

// The order is that of the documentation: rule, method, paths, credentials, what the client asks for.
template <ResponseCache Cache>
Reason Middleware<Cache>::refuse(const Request& request, Gate& gate) const {
    const bool by_path =
        !options_.rules.empty() || !options_.include_paths.empty() || !options_.exclude_paths.empty();
    const std::string path = by_path ? rule_path(request.path) : std::string{};
    const std::string merged = by_path ? merged_rule_path(request.path) : std::string{};
    gate.rule = options_.rules.match(path);
    for (const Rule* rule : {gate.rule, options_.rules.match(merged)})
        if (rule != nullptr && rule->bypass) return Reason::bypass;

    const auto& methods =
        gate.rule != nullptr && gate.rule->methods ? *gate.rule->methods : options_.cache_methods;
    if (!detail::holds(methods, request.method)) return Reason::method;
    for (const std::string& spelling : {path, merged})
        if (!options_.include_paths.empty() && !detail::any_path_matches(options_.include_paths, spelling))
            return Reason::not_included;
    for (const std::string& spelling : {path, merged})
        if (detail::any_path_matches(options_.exclude_paths, spelling)) return Reason::excluded;
    if (!request.body.empty() || request.headers.has("Transfer-Encoding") ||
        request.headers.value("Content-Length", "0") != "0")
        return Reason::request_body;

    gate.control = request_control(request.headers);
    if (!options_.obey_client_reload) {
        gate.control.no_cache = {};
        if (gate.control.max_age && gate.control.max_age.seconds() == Seconds::zero())
            gate.control.max_age = {};
    }
    if (gate.control.no_store) return Reason::request_no_store;  // RFC 9111 section 5.2.1.5
    // Nobody knows which fields it looks at.
    if (options_.custom_key_generator && detail::hides_field(request.headers)) return Reason::key;
    try {
        gate.primary = keys_.primary(request);
    } catch (...) {  // the custom generator's: without a key there is no caching, and nothing else changes
    }
    return gate.primary.empty() ? Reason::key : Reason::none;
}

template <ResponseCache Cache>
auto Middleware<Cache>::judge(const Request& request) const -> Gate {
    Gate gate;
    gate.skip = refuse(request, gate);
    return gate;
}

template <ResponseCache Cache>
std::optional<Transaction> Middleware<Cache>::answer_at_once(const Request& request, Gate& gate) {
    if (options_.on_request) {
        RequestVerdict verdict = options_.on_request(request);
        if (verdict.kind() == RequestVerdict::Kind::respond) {
            events_.add(Event::skip);
            reasons_.add(Reason::bypass);
            return transaction(std::move(verdict.response()), nullptr);
        }
        if (verdict.kind() == RequestVerdict::Kind::bypass) gate.skip = Reason::bypass;
    }
    if (request.method == "PURGE" && options_.purge) {
        events_.add(Event::skip);
        reasons_.add(Reason::method);
        return transaction(answer_purge(request), nullptr);
    }
    return std::nullopt;
}

/// The GET whose answer a POST's response may be; null when it would not be cached either. Its ticket is
/// taken before the POST goes out, so that whatever is invalidated meanwhile, here or by its tag, is not filled with what
/// is older. The store is not asked: this may be a thread that must not block.
template <ResponseCache Cache>
std::unique_ptr<detail::Pending> Middleware<Cache>::as_get(const Request& post) {
    auto get = std::make_unique<Pending>();
    get->client = detail::get_like(post);
    Gate gate = judge(get->client);
    if (gate.skip != Reason::none) return nullptr;
    get->rule = gate.rule;
    get->control = std::move(gate.control);
    get->primary = std::move(gate.primary);
    get->ticket = flights_.join(get->primary);
    get->base.tags = tags_now();
    get->request_time = wall();
    return get;
}

/// RFC 9111 section 5.2.1.7: what a client gets that wants nothing from the origin.
template <ResponseCache Cache>
Transaction Middleware<Cache>::not_cached(std::string_view x_cache) {
    Response response = detail::short_response(504, "not in the cache");
    annotate(response, x_cache, {});
    return transaction(std::move(response), nullptr);
}

/// A request that the cache does not answer. Where the operator wants the cache to keep out of it, only-if-cached is for
/// others on the way.
template <ResponseCache Cache>
Transaction Middleware<Cache>::forward_untouched(const Request& request, Gate gate) {
    if (gate.skip != Reason::bypass && request_control(request.headers).only_if_cached) {
        events_.add(Event::skip);
        reasons_.add(gate.skip);
        return not_cached("BYPASS");
    }
    auto pending = std::make_unique<Pending>();
    pending->client = request;
    pending->client.state.reset();
    pending->forward = pending->client;
    remove_hop_by_hop(pending->forward.headers);
    pending->skip = gate.skip;
    pending->why = gate.skip == Reason::method ? CacheStatus::Forward::method : CacheStatus::Forward::bypass;
    pending->request_time = wall();
    if (request.method == "POST" && gate.skip == Reason::method) pending->as_get = as_get(request);
    return transaction(std::nullopt, std::move(pending));
}

template <ResponseCache Cache>
std::unique_ptr<detail::Pending> Middleware<Cache>::forward(Attempt& state, Match match, std::string variant,
                                                            bool background) {
    auto pending = std::make_unique<Pending>();
    pending->client = state.request;
    pending->client.state.reset();
    if (background) {
        // The client has its answer. What is stored is refreshed as what it is, not as what that one wanted of it.
        pending->background = true;
        pending->client.method = "GET";
        remove_conditions(pending->client.headers);
        const StoredResponse& stored = match.found->stored;
        if (const auto held = part_of(Headers::from_wire(stored.head), stored.body.size());
            held && stored.meta.status == 206)
            pending->client.headers.add("Range", "bytes=" + std::to_string(held->range.first) + "-" +
                                                     std::to_string(held->range.last));
    }
    pending->forward = pending->client;
    remove_hop_by_hop(pending->forward.headers);
    pending->rule = state.gate.rule;
    pending->control = state.gate.control;
    pending->primary = state.gate.primary;
    pending->variant = std::move(variant);
    pending->ticket = std::move(state.ticket);
    pending->base = std::move(match.base);
    pending->base.tags = tags_now();
    pending->request_time = wall();
    pending->why = match.resource_known ? CacheStatus::Forward::vary_miss : CacheStatus::Forward::uri_miss;
    for (std::optional<Found>* held : {&match.found, &match.part})
        if (*held && (*held)->key.empty()) (*held)->key = pending->primary;
    if (match.found) {
        const StoredMeta& meta = match.found->stored.meta;
        pending->why = meta.fresh(pending->request_time) && !meta.is(StoredMeta::always_validate)
                           ? CacheStatus::Forward::request
                           : CacheStatus::Forward::stale;
        // Ranges are cut here, from what is stored or comes: the origin is asked about the whole. Only where
        // a part is stored nobody wants the whole instead.
        pending->validating =
            make_conditional(pending->forward.headers, Headers::from_wire(match.found->stored.head));
        if (pending->validating && meta.status == 206)
            pending->forward.headers.add("Range", pending->client.headers.value("Range"));
        pending->found = std::move(match.found);
    }
    if (match.part) {
        pending->why = CacheStatus::Forward::partial;
        pending->part = std::move(match.part);
        ask_for_the_rest(*pending, pending->request_time);
    }
    return pending;
}

/// RFC 9111 section 3.3: a stored part is made whole by asking for what it lacks. If-Range gives the whole
/// instead where it has changed meanwhile.
template <ResponseCache Cache>
void Middleware<Cache>::ask_for_the_rest(Pending& pending, WallTime now) {
    if (pending.client.headers.has("Range") || is_conditional(pending.client.headers)) return;
    const Headers stored = Headers::from_wire(pending.part->stored.head);
    const auto held = part_of(stored, pending.part->stored.body.size());
    const auto validator = strong_validator(stored, now);
    const auto missing = held ? missing_of(*held) : std::nullopt;
    if (!missing || !validator || held->size > max_completed_bytes) return;
    pending.forward.headers.add(
        "Range", "bytes=" + std::to_string(missing->first) + "-" +
                     (missing->last + 1 == held->size ? std::string{} : std::to_string(missing->last)));
    pending.forward.headers.add("If-Range", *validator);
    pending.completing = true;
}

// What the store has may be served: now, or now and refreshed afterwards.
template <ResponseCache Cache>
std::optional<Transaction> Middleware<Cache>::serve(Attempt& state, Match& match, Reuse reuse, WallTime now) {
    const Found& found = *match.found;
    CacheStatus status;
    status.hit = true;
    status.ttl = found.stored.meta.remaining(now);
    status.collapsed = state.woken.has_value();
    if (found.tier != TierId::none) status.detail = to_string(found.tier);
    Response response = answer(state.request, found, now, reuse == Reuse::fresh ? "HIT" : "STALE", status);
    events_.add(Event::hit);
    if (reuse != Reuse::fresh) events_.add(Event::stale_served);
    if (state.woken) events_.add(Event::collapsed);
    log("HIT", state.request, {});

    std::unique_ptr<Pending> refresh;
    if (reuse == Reuse::background) {
        // One refresh at a time: who finds a leader leaves it to that one.
        const std::string& key = found.key.empty() ? state.gate.primary : found.key;
        state.ticket = flights_.join(state.gate.primary);
        if (flights_.take_part(state.ticket, key, true, false, false, [] { return Flights::Wake{}; }) ==
            Flights::Role::leader) {
            std::string variant = key;
            refresh = forward(state, std::move(match), std::move(variant), true);
        }
    }
    return transaction(std::move(response), std::move(refresh));
}

/// Serves what was found, where that is allowed. What is not the whole answer moves to `match.part`.
template <ResponseCache Cache>
std::optional<Transaction> Middleware<Cache>::from_store(Attempt& state, Match& match, WallTime now) {
    if (match.found && match.found->stored.meta.status == 206 &&
        !wanted_of(state.request, Headers::from_wire(match.found->stored.head),
                   match.found->stored.body.size(), now)) {
        if (state.request.method == "GET") match.part = std::move(match.found);
        match.found.reset();
    }
    if (!match.found) return std::nullopt;
    Reuse reuse = may_reuse(match.found->stored.meta, state.gate.control, now);
    if (reuse == Reuse::background && state.refresh == Refresh::before_answer) reuse = Reuse::validate;
    if (reuse == Reuse::validate) return std::nullopt;
    state.ticket = {};
    return serve(state, match, reuse, now);
}

/// What can be said without blocking; nullopt leaves nothing behind.
template <ResponseCache Cache>
std::optional<Transaction> Middleware<Cache>::from_memory(Attempt& state) {
    Match match = look_up(state.request, state.gate.primary, state.gate.rule, Tiers::memory);
    return from_store(state, match, wall());
}

// One look at the store. nullopt: `make_wake` was registered with the request that leads; look again when it
// ends.
template <ResponseCache Cache>
std::optional<Transaction> Middleware<Cache>::attempt(Attempt& state, bool blocking,
                                                      const MakeWake& make_wake) {
    for (bool last = false;;) {
        // The fence must be older than the look, or what is invalidated between the two would count as valid. Most looks
        // end in an answer: only those that do not pay for a ticket.
        const std::uint64_t invalidations = flights_.invalidations();
        if (state.ticket && !last) state.ticket.renew();
        Match match = look_up(state.request, state.gate.primary, state.gate.rule, Tiers::all, last);
        // Not from before the look, or what a soft purge has ended would still be fresh then.
        const WallTime now = wall();
        if (auto served = from_store(state, match, now)) return served;
        if (state.gate.control.only_if_cached) {
            events_.add(Event::miss);
            return not_cached("MISS");
        }

        std::string variant =
            KeyGenerator::variant(state.gate.primary, state.request,
                                  match.newest ? *match.newest : selecting_names(state.gate.rule));
        if (last) return transaction(std::nullopt, forward(state, std::move(match), std::move(variant)));
        if (!state.ticket) {
            state.ticket = flights_.join(state.gate.primary);
            if (flights_.invalidations() != invalidations) continue;
        }
        const bool whole = options_.collapse && detail::asks_for_the_whole(state.request);
        const bool alone = !whole || state.timed_out || state.woken == Flights::Ending::not_shared ||
                           uncacheable_.knows(variant, ticks());
        // R23: only full, unconditional GETs lead.
        const bool may_lead =
            !alone && state.request.method == "GET" && !is_conditional(state.request.headers);
        const bool may_wait = !alone && !state.gate.control.no_cache;
        switch (flights_.take_part(state.ticket, variant, may_lead, may_wait, blocking, make_wake)) {
            case Flights::Role::alone:
                // What was there is known by its version, and that nothing was there by a fill.
                if (match.base.known)
                    return transaction(std::nullopt, forward(state, std::move(match), std::move(variant)));
                break;
            case Flights::Role::waiter:
                return std::nullopt;
            case Flights::Role::leader:
                // Between the look and the lead the previous leader may have stored what is wanted: look once
                // more.
                break;
        }
        last = true;
    }
}

template <ResponseCache Cache>
Transaction Middleware<Cache>::begin(const Request& request, Refresh refresh) {
    Attempt state{request, refresh, judge(request), {}, {}, false};
    if (auto answered = answer_at_once(request, state.gate)) return std::move(*answered);
    if (state.gate.skip != Reason::none) return forward_untouched(request, std::move(state.gate));
    for (;;) {
        std::shared_ptr<detail::Latch> latch;
        auto ready = attempt(state, true, [&latch] {
            latch = std::make_shared<detail::Latch>();
            return [latch](Flights::Ending ending) { latch->open(ending); };
        });
        if (ready) return std::move(*ready);
        state.woken = latch->wait(options_.collapse_timeout);
        state.timed_out = !state.woken;
    }
}

template <ResponseCache Cache>
template <class Done>
requires std::is_invocable_v<Done&, Transaction>
void Middleware<Cache>::begin(Request&& request, Executor& executor, Done done, Refresh refresh) {
    if constexpr (detail::HasTryGet<Cache>) {
        if (options_.purge && request.method == "PURGE") {  // erases, below memory too
            const auto purge = [this, request = std::move(request),
                                callback = std::make_shared<Done>(std::move(done))] {
                (*callback)(begin(request));
            };
            return detail::run_by(executor, purge);
        }
    }
    Attempt first{request, refresh, judge(request), {}, {}, false};
    if (auto answered = answer_at_once(request, first.gate)) return done(std::move(*answered));
    if (first.gate.skip != Reason::none) return done(forward_untouched(request, std::move(first.gate)));
    if constexpr (detail::HasTryGet<Cache>)
        if (auto served = from_memory(first)) return done(std::move(*served));
    auto kept = std::make_shared<Request>(std::move(request));
    auto state = std::make_shared<Attempt>(Attempt{*kept, refresh, std::move(first.gate), {}, {}, false});
    auto callback = std::make_shared<Done>(std::move(done));
    if constexpr (detail::HasTryGet<Cache>)
        detail::run_by(executor,
                       [this, kept, state, &executor, callback] { resume(kept, state, executor, callback); });
    else
        resume(std::move(kept), std::move(state), executor, std::move(callback));
}

template <ResponseCache Cache>
template <class Done>
void Middleware<Cache>::resume(std::shared_ptr<Request> request, std::shared_ptr<Attempt> state,
                               Executor& executor, std::shared_ptr<Done> done) {
    std::shared_ptr<detail::Wait> wait;
    auto ready = attempt(*state, false, [&] {
        wait = std::make_shared<detail::Wait>(
            [this, request, state, &executor, done](std::optional<Flights::Ending> ending) {
                state->woken = ending;
                state->timed_out = !ending;
                resume(request, state, executor, done);
            });
        return [this, wait, &executor](Flights::Ending ending) {
            detail::run_by(executor, [this, wait, ending] { waits_.end(*wait, ending); });
        };
    });
    if (ready) return (*done)(std::move(*ready));
    waits_.add(wait, executor, options_.collapse_timeout);
}

template <ResponseCache Cache>
template <class Next>
requires std::is_invocable_r_v<Response, Next&, const Request&> Response
Middleware<Cache>::handle(const Request& request, Next&& next) {
    Transaction current = begin(request);
    if (current.answered()) return current.take_response();
    std::optional<Response> response;
    try {
        response = next(static_cast<const Request&>(current.request()));
    } catch (...) {
        if (auto stale = current.fail()) return std::move(*stale);
        throw;
    }
    return current.finish(std::move(*response));
}

template <ResponseCache Cache>
std::optional<Response> Middleware<Cache>::process_request(Request& request) {
    request.state.reset();
    auto current = std::make_shared<Transaction>(begin(request));
    if (current->answered()) return current->take_response();
    if (pending_of(*current).validating) request.headers = current->request().headers;
    request.state = std::move(current);
    return std::nullopt;
}

template <ResponseCache Cache>
void Middleware<Cache>::process_response(Request& request, Response& response) {
    if (request.state == nullptr) return;
    const auto current = std::static_pointer_cast<Transaction>(std::exchange(request.state, nullptr));
    response = current->finish(std::move(response));
}

template <ResponseCache Cache>
template <class Urls, class Origin>
std::size_t Middleware<Cache>::warm_cache(const Urls& urls, Origin&& origin) {
    std::size_t stored = 0;
    for (const auto& text : urls) {
        const auto url = parse_url(text);
        if (!url) continue;
        Request request;
        request.scheme = url->scheme;
        request.host = url->host;
        request.path = url->path;
        request.query = url->query;
        try {
            (void)handle(request, origin);
        } catch (...) {  // one URL that fails leaves the others alone
        }
        const Gate gate = judge(request);
        if (gate.skip == Reason::none && look_up(request, gate.primary, gate.rule).found) ++stored;
    }
    return stored;
}

template <ResponseCache Cache>
void Middleware<Cache>::log(std::string_view what, const Request& request, std::string_view detail) const {
    if (!options_.log) return;
    std::string line(what);
    line.append(" ").append(request.method).append(" ").append(request.host).append(request.path);
    if (!request.query.empty()) line.append("?").append(request.query);
    if (!detail.empty()) line.append(" (").append(detail).append(")");
    try {
        options_.log(LogLevel::debug, line);
    } catch (...) {  // a broken logger must not break the cache
    }
}

}  // namespace smartcache::inline v0::http
