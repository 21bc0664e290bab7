#pragma once

// Keys that are always at one server together, with the epochs they are judged by, and what this process knows of them: all
// keys of a server that is alone, or one of a cluster's partitions (see slots.hpp).
//
// A partition can come to another server: a sentinel names one, a replica takes over a master's slots, or slots are moved.
// To the partition that is all the same (R14): what this process changed lately may be missing there, so it is erased there
// before anything is believed. What is unacknowledged waits for whichever server the partition is at next (R10, R11).

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/hash.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/redis/common.hpp>
#include <smartcache/redis/connection.hpp>
#include <smartcache/redis/epochs.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/pool.hpp>
#include <smartcache/redis/recent_changes.hpp>
#include <smartcache/redis/scripts.hpp>
#include <smartcache/redis/server_clock.hpp>
#include <smartcache/redis/slots.hpp>
#include <smartcache/redis/unacknowledged.hpp>

namespace smartcache::inline v0::detail {

/// Reads the answer to `HMGET <epochs> clear token tags floor`, or to `epoch_script`.
[[nodiscard]] inline std::optional<EpochFields> take_epoch(Reply& reply) {
    if (reply.kind != Reply::Kind::array || reply.elements.size() != 4 || !reply.elements[0].is_text() ||
        !reply.elements[1].is_text() || reply.elements[1].text.empty())
        return std::nullopt;
    const std::optional<std::uint64_t> clear = parse_epoch(reply.elements[0].text);
    if (!clear) return std::nullopt;
    const auto count = [&reply](std::size_t i) {
        return reply.elements[i].is_text() ? parse_tag_count(reply.elements[i].text) : 0;
    };
    return EpochFields{*clear, std::move(reply.elements[1].text), count(2), count(3)};
}

/// Thread safety: any thread.
class Partition {
  public:
    /// Says commands on a connection. @return why it cannot
    using Execute = FunctionRef<Failure(const Pipeline&, Connection::OnReply)>;

    /// All keys of a server.
    explicit Partition(RedisCommon& common) : common_(common) {
        unacknowledged.keep_in(common.untold);
        ask_epoch(own_question_, own_epoch_name_ = epoch_name(common.own_space));
    }
    /// One of a cluster's partitions.
    Partition(RedisCommon& common, std::size_t number, const std::string& tag,
              std::atomic<std::uint64_t>& learnt_tags)
        : epochs(learnt_tags),
          unacknowledged(part_of_limits),
          changes(unacknowledged, {.keys = 256, .key_bytes = std::size_t{64} << 10U}),
          common_(common),
          number_(number),
          in_cluster_(true),
          record_prefix_("sc:{" + tag + "}:"),
          epoch_prefix_("sc:{" + tag + "}:epochs:"),
          slot_(hash_slot(record_prefix_)) {
        unacknowledged.keep_in(common.untold);
        ask_epoch(own_question_, own_epoch_name_ = epoch_name(common.own_space));
    }
    Partition(const Partition&) = delete;
    Partition& operator=(const Partition&) = delete;

    [[nodiscard]] std::size_t number() const noexcept { return number_; }
    [[nodiscard]] std::uint16_t slot() const noexcept { return slot_; }
    /// What the names of records begin with.
    [[nodiscard]] std::string_view record_prefix() const noexcept { return record_prefix_; }
    /// The name of a physical key's record in Redis.
    [[nodiscard]] std::string record_name(std::string_view key) const {
        std::string name = record_prefix_;
        name += key;
        return name;
    }
    /// The name of its load's lock, in the same slot. (A record's continues with digits.)
    [[nodiscard]] std::string lock_name(std::string_view key) const {
        std::string name = record_prefix_ + "lock:";
        name += key;
        return name;
    }
    /// The name of the hash with a namespace's epochs.
    [[nodiscard]] std::string epoch_name(std::string_view name_space) const {
        if (!in_cluster_) return epoch_key(name_space);
        return epoch_prefix_ + std::to_string(name_space.size()) + ":" + std::string(name_space);
    }

    /// Adds the question for a namespace's epoch; `take_epoch` reads the answer.
    /// @param name  receives the name of the hash, if that has to outlive the pipeline
    void ask_epoch(Pipeline& commands, std::string_view name_space, std::string& name) const {
        if (name_space == common_.own_space) return commands.append(own_question_);
        name = epoch_name(name_space);
        ask_epoch(commands, name);
    }

    /// Begins to talk to the server that a connection goes to.
    /// @return the server's number, for `settle` and `changes`: the highest is the newest; 0: they are not told apart
    std::uint64_t arrive(const Pool::Lease& lease) {
        const std::uint64_t server = in_cluster_ ? number_of(lease.server()) : lease.server();
        if (lease->time_at_log_in()) clock.observe(*lease->time_at_log_in());
        if (!in_cluster_) common_.move_to(server, lease->identity().run_id);
        changes.follow(server);
        return server;
    }

    /// Erases what is unacknowledged, before anything else is said on a connection that works.
    /// @return `Failure::redirected` with the answer, when that is that the partition is elsewhere
    [[nodiscard]] Failure settle(const Connection& connection, std::uint64_t server, Deadline deadline,
                                 Execute execute);

    /// Understands what the epoch script answered. @return nullopt: nothing that makes sense
    std::optional<std::uint64_t> take_new_epoch(std::string_view name_space, Reply& answer) {
        const std::optional<EpochFields> fields = take_epoch(answer);
        if (!fields) return std::nullopt;
        const Epochs::Seen seen = epochs.observe(name_space, fields);
        // Another thread may have seen a newer one meanwhile: it counts, ours is history.
        return seen.epoch ? seen.epoch : epochs.known(name_space);
    }

    Epochs epochs;
    Unacknowledged unacknowledged;
    RecentChanges changes{unacknowledged};
    ServerClock clock;

  private:
    /// Of many partitions each has a part of what one may remember.
    static constexpr Unacknowledged::Limits part_of_limits{
        .keys = 256, .key_bytes = std::size_t{64} << 10U, .namespaces = 256, .zombies = 64};

    static void ask_epoch(Pipeline& commands, std::string_view name) {
        commands.command({"HMGET", name, "clear", "token", "tags", "floor"});
    }
    /// In a cluster servers come and go and come back: each time that is a new one.
    std::uint64_t number_of(std::uint64_t run) {
        const std::lock_guard lock(arriving_);
        if (run == run_) return server_;
        run_ = run;
        clock.forget();
        return ++server_;
    }
    [[nodiscard]] Failure settle_all(const Connection& connection, std::uint64_t server, Execute execute);
    [[nodiscard]] Failure settle_batch(const Connection& connection, std::uint64_t server,
                                       const Unacknowledged::Batch& batch, Execute execute, bool& stuck);
    [[nodiscard]] Failure clear_batch(const Unacknowledged::Batch& batch, Execute execute, bool& stuck);
    [[nodiscard]] Failure clear_without_script(std::string_view key,
                                               const std::vector<std::string>& arguments,
                                               std::uint64_t too_low, Execute execute, Reply& answer);

    RedisCommon& common_;
    const std::size_t number_ = 0;
    const bool in_cluster_ = false;
    const std::string record_prefix_ = "sc:";
    const std::string epoch_prefix_;
    const std::uint16_t slot_ = 0;
    std::string own_epoch_name_;  // these two are set by the constructor only
    Pipeline own_question_;
    ProcessMutex settling_;
    Deadline::Clock::time_point settle_again_{};  // under settling_
    bool no_room_ = false;                        // the server has none for traces; under settling_
    std::atomic<std::uint64_t> settled_server_{0};
    Mutex arriving_;
    std::uint64_t run_ = 0;     // of which server it was last at, as pools count; under arriving_
    std::uint64_t server_ = 0;  // how many that were
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/partition.hpp>  // IWYU pragma: export
