#pragma once

// SmartCache: one load for many keys.

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <ranges>
#include <span>
#include <stdexcept>
#include <unordered_map>

#include <smartcache/facade/smart_cache.hpp>

namespace smartcache::inline v0 {

/// A call of `get_or_compute_many`. It leads the flights of the keys that nobody else is loading, all at once, and ends them
/// before it waits for anybody: so that two of them that share keys do not wait for each other (R32).
template <class Codec>
template <class T, class F>
class SmartCache<Codec>::BulkLoad {
  public:
    using Loader = detail::bulk_loader<F>;
    using Element = typename Loader::element;
    static constexpr bool may_be_absent = detail::is_optional<Element>;

    BulkLoad(SmartCache& cache, F& load, const EntryOptions& options)
        : cache_(cache), load_(load), options_(options) {
        options_.refresh_ahead = 0;
        options_.early_beta = 0;
    }
    BulkLoad(const BulkLoad&) = delete;
    BulkLoad& operator=(const BulkLoad&) = delete;
    ~BulkLoad() = default;

    std::vector<Lookup<T>> run(auto& keys) {
        try {
            look_in_memory(keys);
            join();
            look_below();
            load_missing();
        } catch (...) {  // whatever happens, nobody waits for these for ever
            fail(std::current_exception());
            throw;
        }
        return collect();
    }

  private:
    /// A key that L1 does not have.
    struct Missing {
        std::string key;
        std::uint64_t hash = 0;
        std::vector<std::size_t> places;  // in the results: the same key may be asked for several times
        std::shared_ptr<detail::Flight> flight{};  // if it is led here and has not ended
        bool led = false;
        std::vector<WriteCondition> seen{};
        Found found{};
        std::exception_ptr error{};
    };

    void look_in_memory(auto& keys) {
        std::unordered_map<std::string_view, std::size_t> known;
        for (auto&& each : keys) {
            const std::string_view key(each);
            const std::size_t place = results_.size();
            results_.emplace_back();
            if (find_here(key, place)) continue;
            if (const auto at = known.find(key); at != known.end()) {
                missing_[at->second].places.push_back(place);
                continue;
            }
            missing_.push_back({std::string(key), cache_.hash_of(key), {place}});
            known.emplace(missing_.back().key, missing_.size() - 1);
        }
    }

    bool find_here(std::string_view key, std::size_t place) {
        if (key.size() > cache_.config_.max_key_size || !contains(options_.read, TierId::memory))
            return false;
        Found found = cache_.find_memory(key, cache_.hash_of(key), false);
        if (!answers(found)) return false;
        results_[place] = cache_.template answer_loaded<T>(key, std::move(found));
        return true;
    }

    [[nodiscard]] bool answers(const Found& found) const {
        if (!found.entry) return false;
        if (found.entry->negative()) return may_be_absent;
        return static_cast<bool>(cache_.template present<T>({share(found.entry), found.tier, found.stale}));
    }

    void join() {
        for (Missing& one : missing_) {
            if (one.key.size() > cache_.config_.max_key_size)
                continue;  // by itself, as get_or_compute does it
            auto [flight, leads] = cache_.fences_.join(one.key, one.hash);
            if (!leads) continue;
            one.flight = std::move(flight);
            one.led = true;
            if (!contains(options_.read, TierId::memory)) continue;
            Found found =
                cache_.find_memory(one.key, one.hash, false);  // another load may have ended just now
            if (answers(found)) end(one, std::move(found));
        }
    }

    void look_below() {
        std::vector<Wanted> wanted;
        if constexpr (readable_below<T>) {
            if (cache_.lower_.empty()) return;
            for (std::size_t i = 0; i < missing_.size(); ++i)
                if (missing_[i].flight) wanted.push_back(cache_.want(missing_[i].key, missing_[i].hash, i));
            cache_.template find_lower_many<T>(wanted, options_.read, options_.idle.has_value());
        }
        for (Wanted& each : wanted) {
            Missing& one = missing_[each.at];
            if (answers(each.result.found)) {
                cache_.promote(one.key, one.hash, each.result, *one.flight, options_.write,
                               copy_options(options_));
                end(one, std::move(each.result.found));
            } else {
                one.seen = std::move(each.result.seen);
            }
        }
    }

    void load_missing() {
        std::vector<std::string_view> keys;
        std::vector<Missing*> loaded;
        for (Missing& one : missing_) {
            if (!one.flight) continue;
            if (options_.retry_after > Duration::zero() &&
                cache_.failures_.paused(one.hash, cache_.now_ms())) {
                Found old = cache_.template find_servable<T>(one.key, one.hash, options_);
                if (old && !cache_.fences_.ended(*one.flight)) {
                    end(one, std::move(old));
                    continue;
                }
            }
            cache_.see_unasked(one.key, options_.read, one.seen);
            keys.push_back(one.key);
            loaded.push_back(&one);
        }
        if (keys.empty()) return;
        cache_.count(Event::loads);
        const detail::TagsSeen tags_seen = cache_.see_tags();
        const auto start = std::chrono::steady_clock::now();
        std::vector<std::optional<Element>> values;
        try {
            values = call(keys);
        } catch (...) {
            cache_.count(Event::load_failures);
            for (const std::string_view key : keys)
                cache_.tell({.kind = EventKind::load_failed,
                             .key = key,
                             .took = since(start),
                             .error = std::current_exception()});
            serve_stale(loaded, std::current_exception());
            return;
        }
        const std::chrono::microseconds cost = since(start);
        for (const std::string_view key : keys)
            cache_.tell({.kind = EventKind::loaded, .key = key, .took = cost});
        for (std::size_t i = 0; i < loaded.size(); ++i) {
            Missing& one = *loaded[i];
            detail::PreparedValue prepared = prepare(one.key, std::move(*values[i]), tags_seen);
            Ref entry =
                cache_.store_loaded(one.key, one.hash, prepared, cost, options_, *one.flight, &one.seen);
            if (options_.retry_after > Duration::zero()) cache_.failures_.end(one.hash);
            end(one, {std::move(entry), TierId::none, false});
        }
    }

    [[nodiscard]] static std::chrono::microseconds since(std::chrono::steady_clock::time_point start) {
        return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                     start);
    }

    [[nodiscard]] detail::PreparedValue prepare(std::string_view key, Element value,
                                                const detail::TagsSeen& seen) const {
        if constexpr (may_be_absent) {
            if (!value) return cache_.prepare_negative(key, options_, seen);
            return cache_.prepare(key, std::move(*value), options_, seen);
        } else {
            return cache_.prepare(key, std::move(value), options_, seen);
        }
    }

    /// What the loader returns, in the order of the keys.
    [[nodiscard]] std::vector<std::optional<Element>> call(const std::vector<std::string_view>& keys) {
        std::vector<std::optional<Element>> values(keys.size());
        auto loaded = std::invoke(load_, std::span<const std::string_view>(keys));
        if constexpr (requires { typename Loader::result::mapped_type; }) {
            std::unordered_map<std::string_view, std::size_t> places;
            for (std::size_t i = 0; i < keys.size(); ++i) {
                values[i].emplace();
                places.emplace(keys[i], i);
            }
            for (auto& [key, value] : loaded)
                if (const auto at = places.find(std::string_view(key)); at != places.end())
                    values[at->second].emplace(std::move(value));
        } else {
            std::size_t i = 0;
            for (auto&& value : loaded) {
                if (i < values.size()) values[i].emplace(taken(value));
                ++i;
            }
            if (i != values.size())
                throw std::logic_error("smartcache: a loader of " + std::to_string(keys.size()) +
                                       " keys returned " + std::to_string(i) + " values");
        }
        return values;
    }

    /// An element of what the loader returned: moved, unless that is a view of what is somebody else's.
    template <class V>
    [[nodiscard]] static decltype(auto) taken(V& value) noexcept {
        if constexpr (std::ranges::view<typename Loader::result>)
            return static_cast<const V&>(value);
        else
            return std::move(value);
    }

    void serve_stale(const std::vector<Missing*>& failed, const std::exception_ptr& error) {
        for (Missing* const one : failed) {
            Found old;
            if (!cache_.fences_.ended(*one->flight))
                old = cache_.template find_servable<T>(one->key, one->hash, options_);
            if (old && !cache_.fences_.ended(*one->flight)) {
                if (options_.retry_after > Duration::zero())
                    cache_.failures_.pause(
                        one->hash, detail::Pauses::after(cache_.now_ms(), options_.retry_after.count()));
                end(*one, std::move(old));
            } else {
                one->error = error;
                cache_.end_flight(*std::exchange(one->flight, nullptr), {.error = error});
            }
        }
    }

    void end(Missing& one, Found found) {
        cache_.end_flight(*std::exchange(one.flight, nullptr),
                          {share(found.entry), found.tier, found.stale, {}});
        one.found = std::move(found);
    }
    void fail(const std::exception_ptr& error) noexcept {
        for (Missing& one : missing_)
            if (one.flight) cache_.end_flight(*std::exchange(one.flight, nullptr), {.error = error});
    }

    std::vector<Lookup<T>> collect() {
        std::exception_ptr error;
        for (Missing& one : missing_) {
            if (one.error) error = one.error;
            for (const std::size_t place : one.places) {
                if (one.error)
                    cache_.count_miss(one.key);
                else if (one.led)
                    results_[place] = cache_.template answer_loaded<T>(
                        one.key, {share(one.found.entry), one.found.tier, one.found.stale});
            }
        }
        if (error) std::rethrow_exception(error);
        for (Missing& one : missing_) {
            if (one.led) continue;
            // Somebody else loads it; or did: then it is loaded by itself.
            const auto alone = [&]() -> Element {
                return std::move(*call({std::string_view(one.key)}).front());
            };
            for (const std::size_t place : one.places)
                results_[place] = cache_.get_or_compute(one.key, alone, options_);
        }
        return std::move(results_);
    }

    SmartCache& cache_;
    F& load_;
    EntryOptions options_;
    std::deque<Missing> missing_;  // their keys stay where they are
    std::vector<Lookup<T>> results_;
};

template <class Codec>
template <class Keys, detail::BulkLoader F>
std::vector<Lookup<detail::bulk_loaded_t<F>>> SmartCache<Codec>::get_or_compute_many(
    Keys&& keys, F&& load, const EntryOptions& options) {
    check(options);
    if (options.soft_timeout || options.hard_timeout)
        throw std::logic_error(
            "smartcache: a load of many keys runs to its end: no soft_timeout, no hard_timeout");
    using T = detail::bulk_loaded_t<F>;
    return BulkLoad<T, std::remove_reference_t<F>>(*this, load, options).run(keys);
}

}  // namespace smartcache::inline v0
