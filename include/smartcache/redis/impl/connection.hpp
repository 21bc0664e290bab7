#pragma once

#include <smartcache/redis/connection.hpp>

namespace smartcache::inline v0::detail {

inline Failure Connection::open(Deadline deadline) {
    const auto started = Deadline::Clock::now();
    limit_ = Deadline(started + budget_);
    const Deadline until = earlier(deadline, limit_);
    Failure failure = settings_.finder ? search(until) : open_step(until);
    budget_ -= std::min<std::chrono::nanoseconds>(budget_, Deadline::Clock::now() - started);
    return failure;
}

/// Asks one after the other, until what one of them names can be opened and is a master.
inline Failure Connection::search(Deadline deadline) {
    // One who is silent, or names a server that is, must not use up the others' time.
    const auto begin_turn = [this] {
        const std::chrono::nanoseconds left = limit_.at() - Deadline::Clock::now();
        turn_ = search_->left() > 1 ? left / 2 : left;
    };
    if (!search_) {
        search_ = settings_.finder->search();
        begin_turn();
    }
    for (;;) {
        const auto started = Deadline::Clock::now();
        const Deadline until = earlier(deadline, Deadline(started + turn_));
        Failure failure = step_ == Step::start ? search_->ask(until, server_) : Failure{};
        if (!failure) failure = open_step(until);
        turn_ -= std::min<std::chrono::nanoseconds>(turn_, Deadline::Clock::now() - started);
        if (!failure) {
            search_->succeeded();
            search_.reset();
            return {};
        }
        if (failure.kind == Failure::Kind::local) return failure;
        const bool slow = failure.kind == Failure::Kind::connecting;
        if (slow && turn_ != turn_.zero() && !limit_.passed()) return failure;
        search_->skip();
        if (search_->left() == 0 || limit_.passed()) {
            if (slow) failure.kind = Failure::Kind::timeout;  // nobody goes on with it
            return failure;
        }
        start_over();
        begin_turn();
        if (deadline.passed()) return late();
    }
}

inline void Connection::start_over() {
    step_ = Step::start;
    socket_.close();
    reader_.emplace();
    reader_->expect_arrays_of(settings_.max_elements, settings_.max_nested);
    greeting_.clear();
    greeted_.clear();
    greeting_progress_ = {};
    refused_ = {};
    identity_ = {};
    time_.reset();
}

inline Failure Connection::open_step(Deadline until) {
    if (step_ == Step::start) {
        if (settings_.url.scheme == RedisUrl::Scheme::unix_socket) {
            addresses_ = {unix_address(settings_.url.path)};
            if (Failure failure = next_address()) return failure;
        } else {
            lookup_.start(server_, settings_.threads);
            step_ = Step::resolving;
        }
    }
    if (step_ == Step::resolving)
        if (Failure failure = resolve(until)) return failure;
    if (step_ == Step::connecting)
        if (Failure failure = connect(until)) return failure;
    if (step_ == Step::securing)
        if (Failure failure = secure(until)) return failure;
    if (step_ == Step::greeting)
        if (Failure failure = greet(until)) return failure;
    return {};
}

inline Failure Connection::resolve(Deadline deadline) {
    if (!lookup_.wait(deadline)) return late();
    std::string problem;
    addresses_ = lookup_.take(problem);
    if (addresses_.empty())
        return {Failure::Kind::connect, 0, where("no address for " + server_.name + " (" + problem + ")")};
    std::reverse(addresses_.begin(), addresses_.end());
    return next_address();
}

/// Starts connecting to the next address that does not refuse at once.
inline Failure Connection::next_address() {
    while (!addresses_.empty()) {
        // An address that swallows packets must not use up the others' time.
        const auto now = Deadline::Clock::now();
        const auto share = (limit_.at() - now) / static_cast<std::int64_t>(addresses_.size());
        address_limit_ = Deadline(now + share);
        const SocketAddress address = addresses_.back();
        const Socket::Connect result = socket_.start_connect(address);
        if (result != Socket::Connect::failed) {
            addresses_.pop_back();
            step_ = Step::connecting;
            if (result == Socket::Connect::done) connected();
            return {};
        }
        last_error_ = errno;
        if (last_error_ == EAGAIN &&
            address.family() == AF_UNIX) {  // the server's backlog is full: try again
            step_ = Step::connecting;
            return {};
        }
        addresses_.pop_back();
    }
    return Failure::system(
        last_error_ == EMFILE || last_error_ == ENFILE ? Failure::Kind::local : Failure::Kind::connect,
        where("cannot connect"), last_error_);
}

inline Failure Connection::connect(Deadline deadline) {
    while (step_ == Step::connecting) {
        if (!socket_.is_open()) {
            if (deadline.passed()) return late();
            ::poll(nullptr, 0, 1);
            if (Failure failure = next_address()) return failure;
            continue;
        }
        if (socket_.wait(POLLOUT, earlier(deadline, address_limit_)) != 0) {
            last_error_ = socket_.connect_error();
            if (last_error_ == 0) {
                connected();
                return {};
            }
        } else if (deadline.passed()) {
            return late();
        } else {
            last_error_ = ETIMEDOUT;
        }
        if (Failure failure = next_address()) return failure;
    }
    return {};
}

inline void Connection::connected() {
    if (settings_.tls == nullptr) {
        socket_.let_wait();
        return prepare_greeting();
    }
    tls_ = settings_.tls->session(socket_, server_.name);
    step_ = Step::securing;
}

inline Failure Connection::secure(Deadline deadline) {
    for (;;) {
        const TlsSession::Handshake handshake = tls_->shake_hands();
        if (handshake == TlsSession::Handshake::done) break;
        if (handshake == TlsSession::Handshake::failed) return io_failure("TLS");
        const short events = handshake == TlsSession::Handshake::wants_write ? POLLOUT : POLLIN;
        if (socket_.wait(events, deadline) == 0 || deadline.passed()) return late();
    }
    prepare_greeting();
    return {};
}

inline void Connection::prepare_greeting() {
    const RedisUrl& url = settings_.url;
    const auto add = [this](Greeting what, std::initializer_list<std::string_view> arguments) {
        greeting_.command(arguments);
        greeted_.push_back(what);
    };
    if (url.password && url.user.empty()) add(Greeting::log_in, {"AUTH", *url.password});
    if (url.password && !url.user.empty()) add(Greeting::log_in, {"AUTH", url.user, *url.password});
    if (url.db != 0) add(Greeting::select, {"SELECT", std::to_string(url.db)});
    add(Greeting::name, {"CLIENT", "SETNAME", "smartcache"});
    add(Greeting::id, {"CLIENT", "ID"});
    add(Greeting::info, {"INFO", "server"});
    add(Greeting::time, {"TIME"});
    if (settings_.finder) add(Greeting::role, {"ROLE"});
    greeting_sent_ = Deadline::Clock::now();
    step_ = Step::greeting;
}

inline Failure Connection::greet(Deadline deadline) {
    Failure failure = exchange(
        greeting_, deadline, [this](std::size_t i, Reply& reply) { on_greeting(greeted_[i], reply); },
        greeting_progress_);
    if (refused_) return refused_;
    if (failure.kind == Failure::Kind::timeout) return late();
    if (failure) return failure;
    step_ = Step::ready;
    greeting_ = {};
    greeted_ = {};
    return {};
}

inline void Connection::on_greeting(Greeting what, const Reply& reply) {
    // Before anything else a server that has no room says so, whatever it was asked.
    if (reply.is_error("NOAUTH") || reply.is_error("ERR max number of clients") || reply.is_error("DENIED") ||
        (reply.is_error() && (what == Greeting::log_in || what == Greeting::select))) {
        const std::string secret = settings_.url.password.value_or(std::string());
        const bool repeats = !secret.empty() && reply.text.find(secret) != std::string::npos;
        if (!refused_)
            refused_ = {Failure::Kind::log_in, 0,
                        where("log-in refused: " + (repeats ? std::string("***") : reply.text))};
        return;
    }
    if (what == Greeting::role) {
        // Whoever named it may lag behind: a master that is none any more would lose what is written to it.
        const bool known = reply.kind == Reply::Kind::array && !reply.elements.empty();
        if (known && reply.elements.front().text == "master") return;
        const std::string answer = known ? reply.elements.front().text : reply.text;
        if (!refused_)
            refused_ = {Failure::Kind::not_ready, 0, where("is no master, its ROLE is: " + answer)};
        return;
    }
    // The rest is useful and not needed: a server or a user that may not do it has other ways (see
    // RedisTier).
    if (what == Greeting::id && reply.kind == Reply::Kind::integer && reply.integer > 0)
        identity_.client_id = static_cast<std::uint64_t>(reply.integer);
    if (what == Greeting::info && reply.is_text()) {
        constexpr std::string_view field = "run_id:";
        const std::size_t at = reply.text.find(field);
        if (at != std::string::npos) {
            const std::size_t start = at + field.size();
            identity_.run_id = reply.text.substr(start, reply.text.find_first_of("\r\n", start) - start);
        }
    }
    if (what == Greeting::time) {
        if (const std::optional<std::int64_t> server = milliseconds_of(reply))
            time_ = ServerTime::between(*server, greeting_sent_, Deadline::Clock::now());
    }
}

inline Failure Connection::exchange(const Pipeline& commands, Deadline deadline, OnReply on_reply,
                                    Progress& progress) {
    for (;;) {
        if (progress.sent < commands.bytes())
            if (Failure failure = send_some(commands, progress)) return failure;
        const bool unsent = progress.sent < commands.bytes();
        std::size_t count = 0;
        // Most answers come so soon that waiting for them and taking them may be one call.
        if (!unsent && tls_ == nullptr && socket_.may_wait(deadline))
            if (Failure failure = receive_into_buffer(count, true)) return failure;
        if (count == 0) {
            const short ready =
                socket_.wait(static_cast<short>(unsent ? POLLIN | POLLOUT : POLLIN), deadline);
            if (ready == 0) return {Failure::Kind::timeout, 0, where("no answer in time")};
            if ((ready & (POLLIN | POLLHUP | POLLERR)) != 0)
                if (Failure failure = receive_into_buffer(count)) return failure;
        }
        if (Failure failure = take(count, commands, on_reply, progress)) return failure;
        if (progress.answered == commands.commands()) return {};
        if (deadline.passed()) return {Failure::Kind::timeout, 0, where("no complete answer in time")};
    }
}

/// @param what  failed, in errno's words unless TLS knows more
inline Failure Connection::io_failure(const char* what) const {
    const int error = errno;
    if (tls_ == nullptr) return Failure::system(Failure::Kind::io, where(what), error);
    Failure failure = tls_->problem();
    failure.text = where(failure.text);
    return failure;
}

inline Failure Connection::send_some(const Pipeline& commands, Progress& progress) {
    std::array<iovec, 64> parts{};
    while (progress.sent < commands.bytes()) {
        const std::size_t count = commands.gather(progress.sent, parts);
        const std::span<iovec> next = std::span(parts).first(count);
        const ssize_t sent = tls_ ? tls_->send(next) : socket_.send(next);
        if (sent < 0) return io_failure("sending failed");
        if (sent == 0) return {};
        progress.sent += static_cast<std::size_t>(sent);
    }
    return {};
}

/// @param count  0 when nothing has arrived @param waits  see `Socket::receive`; not over TLS
inline Failure Connection::receive_into_buffer(std::size_t& count, bool waits) {
    count = 0;
    const std::span<char> buffer(buffer_.get(), buffer_size);
    switch (tls_ ? tls_->receive(buffer, count) : socket_.receive(buffer, count, waits)) {
        case Socket::Received::nothing:
            return {};
        case Socket::Received::closed:
            return {Failure::Kind::io, 0, where("the server closed the connection")};
        case Socket::Received::failed:
            return io_failure("receiving failed");
        case Socket::Received::some:
            break;
    }
    return {};
}

/// @param count  bytes in the buffer
inline Failure Connection::take(std::size_t count, const Pipeline& commands, OnReply on_reply,
                                Progress& progress) {
    // The reader moves what it has left to the front after each answer: in small slices that stays cheap for
    // many small answers, while the inside of a big one may be fed whole.
    constexpr std::size_t slice = 16 * 1024;
    for (std::size_t at = 0; at < count;) {
        const std::size_t size = reader_->unparsed() > slice ? count - at : std::min(slice, count - at);
        if (!reader_->feed(std::span<const char>(buffer_.get() + at, size)))
            return {Failure::Kind::local, ENOMEM, where("no memory for an answer")};
        at += size;
        if (Failure failure = parse(commands, on_reply, progress)) return failure;
    }
    return {};
}

inline Failure Connection::parse(const Pipeline& commands, OnReply on_reply, Progress& progress) {
    while (progress.answered < commands.commands()) {
        const ReplyReader::Next next = reader_->next();
        if (next == ReplyReader::Next::broken)
            return {Failure::Kind::protocol, 0, where(std::string("not an answer: ") + reader_->problem())};
        if (next == ReplyReader::Next::incomplete) break;
        on_reply(progress.answered, reader_->reply());
        ++progress.answered;
    }
    return check_length();
}

inline Failure Connection::tell(const Pipeline& commands, Deadline deadline) {
    Progress progress;
    for (;;) {
        if (Failure failure = send_some(commands, progress)) return failure;
        if (progress.sent == commands.bytes()) return {};
        if (socket_.wait(POLLOUT, deadline) == 0) return {Failure::Kind::timeout, 0, where("takes nothing")};
    }
}

inline Failure Connection::listen(FunctionRef<void(Reply&)> on_message, bool& more) {
    more = false;
    constexpr int at_once = 4;
    for (int i = 0; i < at_once; ++i) {
        std::size_t count = 0;
        if (Failure failure = receive_into_buffer(count)) return failure;
        if (count == 0) return {};
        if (!reader_->feed(std::span<const char>(buffer_.get(), count)))
            return {Failure::Kind::local, ENOMEM, where("no memory for a message")};
        for (;;) {
            const ReplyReader::Next next = reader_->next();
            if (next == ReplyReader::Next::broken)
                return {Failure::Kind::protocol, 0,
                        where(std::string("not a message: ") + reader_->problem())};
            if (next == ReplyReader::Next::incomplete) break;
            on_message(reader_->reply());
        }
        if (Failure failure = check_length()) return failure;
    }
    more = true;
    return {};
}

inline Failure Connection::check_length() const {
    if (reader_->unparsed() > settings_.max_reply)
        return {Failure::Kind::too_long, 0,
                where("an answer of more than " + std::to_string(settings_.max_reply) + " bytes")};
    return {};
}

}  // namespace smartcache::inline v0::detail
