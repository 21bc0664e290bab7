#pragma once

// Writes and erases whose outcome is unknown, or known to have failed (R3, R10, R11).
//
// The server may still hold the value from before, or still apply a write that was sent and never answered.
// Until it has acknowledged an erase of such a key this process believes nothing it says about it. Only
// erases are repeated, never values; a value that could not be written is gone.
//
// A write that was sent and never answered is a zombie: it may lie in the server's socket and be applied
// after the erase. So before the erase the server is told to close the connection it came over (CLIENT KILL
// ID). Where that cannot be done, because the server would not tell who we are or forbids the command, the
// whole namespace gets a new epoch instead: the zombie carries the old one.
//
// The set is bounded. What does not fit makes its namespace distrusted as a whole, until that has a new
// epoch.
//
// What is added is kept beyond the process, too, where there is a place for that (untold.hpp), before `add` returns.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/core/mutex.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/redis/identity.hpp>
#include <smartcache/redis/untold.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: any thread. One atomic load while nothing is outstanding.
class Unacknowledged {
  public:
    struct Limits {
        std::size_t keys = 4096;
        std::size_t key_bytes = std::size_t{4} << 20U;
        std::size_t namespaces = 256;
        std::size_t zombies = 256;
    };
    Unacknowledged() : Unacknowledged(Limits{}) {}
    explicit Unacknowledged(Limits limits) : limits_(limits) {}

    /// Before there are other threads. @param keeper  must outlive it
    void keep_in(UntoldKeeper& keeper) noexcept { keeper_ = &keeper; }

    // acquire: pairs with the release in `publish`; who sees the count change sees what it stands for.
    [[nodiscard]] bool empty() const noexcept { return outstanding_.load(std::memory_order_acquire) == 0; }

    /// Whether what the server says about `key` may not be believed.
    [[nodiscard]] bool distrusts(std::string_view key) const {
        if (empty()) return false;
        const std::lock_guard lock(mutex_);
        return everything_ || keys_.contains(key) || namespaces_.contains(namespace_of(key));
    }

    /// The outcome for `key` is failed.
    void add(std::string_view key) noexcept {
        News news;
        change([&] { news = add_key(key); });
        keep(news, keys_, {.name = key});
    }
    /// The outcome for `key`, sent over `connection`, is unknown.
    void add(std::string_view key, const ConnectionIdentity& connection) noexcept {
        News news;
        bool named = true;
        change([&] {
            named =
                connection.known() && (zombies_.size() < limits_.zombies || zombies_.contains(connection));
            if (!named) {
                news = add_namespace_locked(namespace_of(key));
                return;
            }
            const bool new_zombie = zombies_.insert(connection).second;
            news = add_key(key);
            news.kept = news.kept && !new_zombie;
        });
        if (named)
            keep(news, keys_, {.name = key, .zombie = connection});
        else
            keep(news, namespaces_, {.is_namespace = true, .name = namespace_of(key)});
    }
    /// A `clear` that failed or whose outcome is unknown.
    void add_namespace(std::string_view name_space) noexcept {
        News news;
        change([&] { news = add_namespace_locked(name_space); });
        keep(news, namespaces_, {.is_namespace = true, .name = name_space});
    }
    /// `name_space` has got a new epoch: no older value in it is valid any more, nor is any older zombie's.
    void cleared(std::string_view name_space, std::uint64_t before) noexcept {
        change([&] {
            if (const auto found = namespaces_.find(name_space);
                found != namespaces_.end() && found->second.ticket <= before)
                namespaces_.erase(found);
            forget_keys([&](std::string_view key, std::uint64_t ticket) {
                return ticket <= before && namespace_of(key) == name_space;
            });
        });
    }
    /// For `cleared`: what has been added so far.
    [[nodiscard]] std::uint64_t now() const {
        const std::lock_guard lock(mutex_);
        return last_ticket_;
    }

    /// What the server has to be told next.
    struct Batch {
        std::vector<ConnectionIdentity> zombies;
        std::vector<std::string> keys;
        std::vector<std::string> namespaces;
        std::uint64_t ticket = 0;  ///< what was added later is not part of it
        [[nodiscard]] bool empty() const noexcept { return keys.empty() && namespaces.empty(); }
    };
    [[nodiscard]] Batch next(std::size_t most_keys) const {
        const std::lock_guard lock(mutex_);
        Batch batch;
        batch.ticket = last_ticket_;
        batch.zombies.assign(zombies_.begin(), zombies_.end());
        for (const auto& [name_space, news] : namespaces_) batch.namespaces.push_back(name_space);
        for (const auto& [key, news] : keys_) {
            if (batch.keys.size() >= most_keys) break;
            batch.keys.push_back(key);
        }
        return batch;
    }
    /// The server has closed the zombies' connections and erased the keys. Namespaces are reported by
    /// `cleared`.
    void acknowledged(const Batch& batch) noexcept {
        change([&] {
            for (const ConnectionIdentity& zombie : batch.zombies) zombies_.erase(zombie);
            for (const std::string& key : batch.keys)
                if (const auto found = keys_.find(key);
                    found != keys_.end() && found->second.ticket <= batch.ticket) {
                    key_bytes_ -= key.size();
                    keys_.erase(found);
                }
        });
    }
    /// The server does not let us close the zombies' connections: new epochs instead.
    void cannot_kill(const Batch& batch) noexcept {
        change([&] {
            give_up_keys();
            for (const ConnectionIdentity& zombie : batch.zombies) zombies_.erase(zombie);
        });
    }

    [[nodiscard]] std::size_t keys() const {
        const std::lock_guard lock(mutex_);
        return keys_.size();
    }

  private:
    template <class Body>
    void change(Body body) noexcept {
        const std::lock_guard lock(mutex_);
        try {
            body();
        } catch (const std::bad_alloc&) {
            everything_ =
                true;  // what could not be noted might be any key: from now on this tier answers nothing
        }
        // release: pairs with the acquire in `empty`.
        outstanding_.store(keys_.size() + namespaces_.size() + (everything_ ? 1 : 0),
                           std::memory_order_release);
    }

    /// When something was added, and whether it is kept, by its own name, from an earlier time.
    struct News {
        std::uint64_t ticket = 0;
        bool kept = false;
    };
    using Added = std::map<std::string, News, std::less<>>;

    /// Whoever adds what another thread is just about to keep, or has failed to, keeps it as well.
    void keep(const News& news, Added& added, const UntoldIntent& intent) noexcept {
        if (keeper_ == nullptr || news.kept || !keeper_->add(intent)) return;
        const std::lock_guard lock(mutex_);
        if (const auto found = added.find(intent.name);
            found != added.end() && found->second.ticket == news.ticket)
            found->second.kept = true;
    }

    News add_key(std::string_view key) {
        ++last_ticket_;
        const std::string_view name_space = namespace_of(key);
        if (const auto found = namespaces_.find(name_space); found != namespaces_.end()) {
            found->second.ticket = last_ticket_;
            return {};  // it may stand for other keys, by whose names those are kept
        }
        if (const auto found = keys_.find(key); found != keys_.end()) {
            found->second.ticket = last_ticket_;
            return found->second;
        }
        if (keys_.size() >= limits_.keys || key_bytes_ + key.size() > limits_.key_bytes) {
            give_up_keys();
            (void)add_namespace_locked(name_space);
            return {};
        }
        const auto added = keys_.emplace(std::string(key), News{last_ticket_}).first;
        key_bytes_ += key.size();
        return added->second;
    }
    News add_namespace_locked(std::string_view name_space) {
        ++last_ticket_;
        if (const auto found = namespaces_.find(name_space); found != namespaces_.end()) {
            found->second.ticket = last_ticket_;
            return found->second;
        }
        if (namespaces_.size() >= limits_.namespaces) {
            everything_ = true;
            return {};
        }
        return namespaces_.emplace(std::string(name_space), News{last_ticket_}).first->second;
    }
    void give_up_keys() {
        for (const auto& [key, news] : keys_) (void)add_namespace_locked(namespace_of(key));
        keys_.clear();
        key_bytes_ = 0;
    }
    template <class Predicate>
    void forget_keys(Predicate predicate) {
        for (auto at = keys_.begin(); at != keys_.end();) {
            if (!predicate(at->first, at->second.ticket)) {
                ++at;
                continue;
            }
            key_bytes_ -= at->first.size();
            at = keys_.erase(at);
        }
    }

    const Limits limits_;
    UntoldKeeper* keeper_ = nullptr;
    mutable Mutex mutex_;
    Added keys_;
    Added namespaces_;
    std::set<ConnectionIdentity> zombies_;
    std::size_t key_bytes_ = 0;
    std::uint64_t last_ticket_ = 0;
    bool everything_ = false;
    std::atomic<std::size_t> outstanding_{0};
};

}  // namespace smartcache::inline v0::detail
