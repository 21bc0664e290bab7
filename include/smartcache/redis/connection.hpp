#pragma once

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <smartcache/core/function_ref.hpp>
#include <smartcache/redis/failure.hpp>
#include <smartcache/redis/identity.hpp>
#include <smartcache/redis/pipeline.hpp>
#include <smartcache/redis/reply.hpp>
#include <smartcache/redis/resolve.hpp>
#include <smartcache/redis/server_clock.hpp>
#include <smartcache/redis/socket.hpp>
#include <smartcache/redis/tls.hpp>
#include <smartcache/redis/url.hpp>

namespace smartcache::inline v0::detail {

/// Finds the server that connections go to, where the URL does not say it. Thread safety: any thread.
class ServerFinder {
  public:
    ServerFinder() = default;
    ServerFinder(const ServerFinder&) = delete;
    ServerFinder& operator=(const ServerFinder&) = delete;
    virtual ~ServerFinder() = default;

    /// The search for one connection: a list of those who may know. Used by one thread at a time.
    class Search {
      public:
        Search() = default;
        Search(const Search&) = delete;
        Search& operator=(const Search&) = delete;
        virtual ~Search() = default;

        /// Asks the one whose turn it is, or goes on with that.
        /// @return `Failure::connecting` when `deadline` passed first: call again
        [[nodiscard]] virtual Failure ask(Deadline deadline, RedisUrl::Host& server) = 0;
        /// How many may still be asked, the one whose turn it is included.
        [[nodiscard]] virtual std::size_t left() const noexcept = 0;
        /// Neither the one whose turn it was nor what it named was of use: it is the next one's turn.
        virtual void skip() = 0;
        /// The server that was named is the right one.
        virtual void succeeded() noexcept = 0;
    };
    /// @return a search that this must outlive
    [[nodiscard]] virtual std::unique_ptr<Search> search() const = 0;
};

/// What all connections of a tier have in common.
struct ConnectionSettings {
    RedisUrl url;
    Duration connect_timeout{};
    std::size_t max_reply = 0;                ///< bytes that one answer may take
    bool threads = true;                      ///< whether a thread may be started to look up a name
    std::shared_ptr<const TlsContext> tls{};  ///< nullptr: bytes go as they are
    /// Where the server is; what it names is believed only if it calls itself a master. nullptr: at the URL's
    /// host
    std::shared_ptr<const ServerFinder> finder{};
    std::size_t max_elements = 64;  ///< that an answer may have
    std::size_t max_nested = 64;    ///< that an array in an answer may have
    /// Numbers the servers that are found, a restarted one anew. nullptr: a finder's are counted by its pool, others not
    std::shared_ptr<std::atomic<std::uint64_t>> numbers{};
};

/// Reads the answer to TIME.
[[nodiscard]] inline std::optional<std::int64_t> milliseconds_of(const Reply& reply) {
    if (reply.kind != Reply::Kind::array || reply.elements.size() != 2) return std::nullopt;
    std::array<std::int64_t, 2> parts{};
    for (std::size_t i = 0; i < 2; ++i) {
        const std::string& text = reply.elements[i].text;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parts[i]);
        if (error != std::errc{} || end != text.data() + text.size() || parts[i] < 0) return std::nullopt;
    }
    constexpr std::int64_t latest = 1'000'000'000'000;  // far beyond any date, far below overflow
    if (parts[0] > latest || parts[1] >= 1'000'000) return std::nullopt;
    return parts[0] * 1000 + parts[1] / 1000;
}

/// One connection to one server, used by one thread at a time. After any failure but `connecting` it is of no
/// use.
class Connection {
  public:
    using OnReply = FunctionRef<void(std::size_t, Reply&)>;

    /// Starts nothing yet.
    /// @param settings  must outlive the connection
    explicit Connection(const ConnectionSettings& settings)
        : settings_(settings),
          budget_(std::min<Duration>(settings.connect_timeout, std::chrono::hours(24))),
          buffer_(std::make_unique<char[]>(buffer_size)) {
        if (!settings_.url.hosts.empty()) server_ = settings_.url.hosts.front();
        reader_->expect_arrays_of(settings_.max_elements, settings_.max_nested);
    }

    /// Connects and logs in, or goes on with that.
    ///
    /// Opening takes at most `connect_timeout` altogether, but a caller who has less time is not held up:
    /// then the result is `Failure::connecting`, and the next caller goes on where this one stopped.
    [[nodiscard]] Failure open(Deadline deadline);

    [[nodiscard]] bool ready() const noexcept { return step_ == Step::ready; }
    /// Whether it can be used again: nothing arrived that nobody asked for, and the server has not hung up.
    ///
    /// Over TLS, too, anything that arrives is suspect: Redis sends session tickets before its first answer
    /// only.
    [[nodiscard]] bool quiet() const noexcept { return step_ != Step::ready || socket_.quiet(); }

    /// How far a pipeline got.
    struct Progress {
        std::size_t sent = 0;      ///< bytes handed to the kernel: 0 means that the server saw nothing
        std::size_t answered = 0;  ///< commands
    };

    /// Sends all commands and takes all answers in one go, sending and receiving at the same time so that
    /// neither side can stall the other. `on_reply(i, reply)` is called in order and may take the reply's
    /// contents.
    [[nodiscard]] Failure execute(const Pipeline& commands, Deadline deadline, OnReply on_reply,
                                  Progress& progress) {
        if (commands.empty()) return {};
        Failure failure = exchange(commands, deadline, on_reply, progress);
        // More bytes than answers: whatever they are, the next command must not take them for its own.
        if (!failure && (progress.sent != commands.bytes() || reader_->unparsed() != 0))
            failure = {Failure::Kind::protocol, 0, where("answered what was not asked")};
        return failure;
    }

    // For a connection that listens: the server speaks unasked, or answers later.

    /// Sends all commands and takes no answers.
    [[nodiscard]] Failure tell(const Pipeline& commands, Deadline deadline);
    /// Takes what has arrived, without waiting, or a part of it if it is much. @param more  whether there may be more
    [[nodiscard]] Failure listen(FunctionRef<void(Reply&)> on_message, bool& more);
    /// For poll(2): until there is more to listen to, or to open; -1: that is not for the socket to say.
    [[nodiscard]] pollfd waits_for_more() const noexcept {
        return {socket_.fd(), static_cast<short>(step_ == Step::connecting ? POLLOUT : POLLIN), 0};
    }

    /// For poll(2), while a pipeline is under way.
    [[nodiscard]] pollfd waits_for(const Pipeline& commands, const Progress& progress) const noexcept {
        const bool unsent = progress.sent < commands.bytes();
        return {socket_.fd(), static_cast<short>(unsent ? POLLIN | POLLOUT : POLLIN), 0};
    }

    [[nodiscard]] const ConnectionIdentity& identity() const noexcept { return identity_; }
    /// Where it goes to; of no meaning for a unix socket.
    [[nodiscard]] const RedisUrl::Host& server() const noexcept { return server_; }
    [[nodiscard]] const std::optional<ServerTime>& time_at_log_in() const noexcept { return time_; }

  private:
    enum class Step { start, resolving, connecting, securing, greeting, ready };
    enum class Greeting { log_in, select, name, id, info, time, role };
    static constexpr std::size_t buffer_size = 64 * 1024;

    [[nodiscard]] std::string where(std::string_view what) const {
        return "Redis at " +
               (settings_.finder && step_ != Step::start ? server_.endpoint() + ", " : std::string()) +
               settings_.url.endpoint() + ": " + std::string(what);
    }
    [[nodiscard]] Failure late() const {
        if (limit_.passed())
            return {
                Failure::Kind::timeout, 0,
                where("no connection within " + std::to_string(settings_.connect_timeout.count()) + " ms")};
        return {Failure::Kind::connecting, 0, where("still connecting")};
    }
    [[nodiscard]] Failure search(Deadline deadline);
    void start_over();
    [[nodiscard]] Failure open_step(Deadline deadline);
    [[nodiscard]] Failure resolve(Deadline deadline);
    [[nodiscard]] Failure connect(Deadline deadline);
    void connected();
    [[nodiscard]] Failure secure(Deadline deadline);
    [[nodiscard]] Failure greet(Deadline deadline);
    void prepare_greeting();
    [[nodiscard]] Failure next_address();
    void on_greeting(Greeting what, const Reply& reply);
    [[nodiscard]] Failure exchange(const Pipeline& commands, Deadline deadline, OnReply on_reply,
                                   Progress& progress);
    [[nodiscard]] Failure send_some(const Pipeline& commands, Progress& progress);
    [[nodiscard]] Failure io_failure(const char* what) const;
    [[nodiscard]] Failure take(std::size_t count, const Pipeline& commands, OnReply on_reply,
                               Progress& progress);
    [[nodiscard]] Failure receive_into_buffer(std::size_t& count, bool waits = false);
    [[nodiscard]] Failure parse(const Pipeline& commands, OnReply on_reply, Progress& progress);
    [[nodiscard]] Failure check_length() const;

    const ConnectionSettings& settings_;
    std::chrono::nanoseconds budget_;                // of waiting, left for opening
    Deadline limit_{Deadline::Clock::time_point{}};  // when the budget ends, during `open`
    Step step_ = Step::start;
    RedisUrl::Host server_;
    std::unique_ptr<ServerFinder::Search> search_;  // while opening, where there is a finder
    std::chrono::nanoseconds turn_{};               // left for whom the search asks, and what it names
    NameLookup lookup_;
    std::vector<SocketAddress> addresses_;  // left to try, the next one last
    Deadline address_limit_ = limit_;
    int last_error_ = 0;
    Pipeline greeting_;
    std::vector<Greeting> greeted_;
    Progress greeting_progress_;
    Failure refused_;
    Deadline::Clock::time_point greeting_sent_{};

    Socket socket_;
    std::unique_ptr<TlsSession> tls_;  // over socket_
    std::optional<ReplyReader> reader_{std::in_place};
    std::unique_ptr<char[]> buffer_;
    ConnectionIdentity identity_;
    std::optional<ServerTime> time_;
};

}  // namespace smartcache::inline v0::detail

#include <smartcache/redis/impl/connection.hpp>  // IWYU pragma: export
