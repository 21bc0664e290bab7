#pragma once

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/core/executor.hpp>
#include <smartcache/http.hpp>

#include "client.hpp"
#include "workers.hpp"

namespace proxy {

/// An event loop with its thread. It reads requests, answers those that memory has a fresh answer for, and gives the
/// others to the workers, client and all; they give the client back. It never waits for anything but events.
///
/// A client is in one place at a time: in one of the loop's lists, or with a task of the workers. The loop handles
/// an event to its end before the next, and each client has one event at most among those of one `epoll_wait`, so
/// that no event is left for a client that has gone.
class Loop {
  public:
    Loop(Site site, Workers& workers)
        : site_(site),
          workers_(workers),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)),
          wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.ptr = nullptr;
        if (epoll_ < 0 || wake_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0) {
            const std::string error = std::strerror(errno);
            close_all();
            throw std::runtime_error("epoll: " + error);
        }
        thread_ = std::thread([this] { run(); });
    }
    /// All its clients must have gone.
    ~Loop() {
        enter(Phase::ended);
        thread_.join();
        close_all();
    }
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Takes a client over, from whatever thread.
    void give(std::shared_ptr<Client> client) {
        {
            const std::lock_guard lock(mutex_);
            given_.push_back(std::move(client));
        }
        wake();
    }

    enum class Phase {
        serving,
        stopping,      ///< each client goes when the request that it has sent is answered
        breaking_off,  ///< all go at once
        ended,
    };
    /// From whatever thread.
    void enter(Phase phase) {
        phase_ = phase;
        wake();
    }

  private:
    struct Seat;
    using Seats = std::list<Seat>;
    /// A client in a list, the order of which is that of their deadlines.
    struct Seat {
        std::shared_ptr<Client> client;
        Seats* list;
        Seats::iterator place{};
        std::uint32_t watched = 0;  // events that epoll has been told of; 0: it does not know the client
        int farewell = 0;           // pieces of what it still sends that may be thrown away; 0: it is served
    };

    /// Keeps the tasks that the cache submits while the loop asks it, so that the client can be taken out of the loop
    /// before they run. All others go to the workers.
    class Tasks final : public sc::Executor {
      public:
        explicit Tasks(Loop& loop) : loop_(loop) {}
        [[nodiscard]] bool submit(Task task) override {
            if (loop_.asking() == nullptr) return loop_.workers_.submit(std::move(task));
            kept.push_back(std::move(task));
            return true;
        }
        [[nodiscard]] bool submit_after(sc::Duration delay, Task task) override {
            return loop_.workers_.submit_after(delay, std::move(task));
        }
        std::vector<Task> kept;

      private:
        Loop& loop_;
    };

    /// What the cache says to a request: at once in the loop, or in a worker. Dropped unheard, it takes the client with it.
    struct Answer {
        Loop& loop;
        std::shared_ptr<Client> client;
        void operator()(http::Transaction&& transaction) {
            if (loop.asking() == client.get()) {
                loop.answer_.emplace(std::move(transaction));
            } else if (client->serve(std::move(transaction))) {
                loop.give(std::move(client));
            }
        }
    };

    /// The client whose request the cache is being asked about, for who runs in the loop's thread; else null.
    [[nodiscard]] const Client* asking() const {
        return std::this_thread::get_id() == id_ ? asking_ : nullptr;
    }

    void wake() const {
        const std::uint64_t one = 1;
        (void)!::write(wake_, &one, sizeof one);
    }
    void close_all() const {
        for (const int fd : {epoll_, wake_})
            if (fd >= 0) ::close(fd);
    }

    void run() {
        id_ = std::this_thread::get_id();
        std::array<epoll_event, 256> events;
        for (;;) {
            const int n = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), patience());
            now_ = std::chrono::steady_clock::now();
            for (int i = 0; i < n; ++i) {
                if (events[static_cast<std::size_t>(i)].data.ptr == nullptr) {
                    std::uint64_t count = 0;
                    (void)!::read(wake_, &count, sizeof count);
                } else {
                    handle(*static_cast<Seat*>(events[static_cast<std::size_t>(i)].data.ptr));
                }
            }
            take_given();
            const Phase phase = phase_;
            if (phase == Phase::ended) return;
            if (phase != seen_phase_) change_phase(phase);
            expire(served_);
            expire(leaving_);
        }
    }

    /// Until the next deadline, in milliseconds.
    [[nodiscard]] int patience() const {
        SteadyTime next = SteadyTime::max();
        for (const Seats* seats : {&served_, &leaving_})
            if (!seats->empty()) next = std::min(next, seats->front().client->stream().deadline);
        if (next == SteadyTime::max()) return -1;
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(next - std::chrono::steady_clock::now());
        return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
    }

    void expire(Seats& seats) {
        while (!seats.empty() && seats.front().client->stream().deadline <= now_) drop(seats.front());
    }

    void take_given() {
        std::vector<std::shared_ptr<Client>> given;
        {
            const std::lock_guard lock(mutex_);
            given.swap(given_);
        }
        for (std::shared_ptr<Client>& client : given) {
            if (seen_phase_ == Phase::breaking_off) continue;
            Seat& seat = served_.emplace_back(Seat{std::move(client), &served_});
            seat.place = std::prev(served_.end());
            renew(seat);
            go_on(seat, true);
        }
    }

    void change_phase(Phase phase) {
        seen_phase_ = phase;
        if (phase == Phase::stopping) {
            // What has been sent whole is still answered; then, or else, they see the end of the stream.
            for (Seat& seat : served_) (void)::shutdown(seat.client->stream().fd(), SHUT_RD);
        } else {
            while (!served_.empty()) drop(served_.front());
        }
        while (!leaving_.empty()) drop(leaving_.front());
    }

    /// An event of this client.
    void handle(Seat& seat) {
        if (seat.watched == EPOLLOUT) return go_on(seat, true);
        switch (receive(seat)) {
            case Stream::Received::nothing:
                return;
            case Stream::Received::end:
                return drop(seat);
            case Stream::Received::more:
                if (seat.farewell == 0) return go_on(seat, false);
                seat.client->stream().consume(seat.client->stream().buffered().size());
                if (--seat.farewell == 0) drop(seat);
        }
    }
    [[nodiscard]] static Stream::Received receive(const Seat& seat) {
        try {
            return seat.client->stream().receive();
        } catch (const ConnectionError&) {
            return Stream::Received::end;
        }
    }

    /// Does all that can be done for this client without waiting, and says what it waits for then.
    /// @param sending  it may have an answer under way
    void go_on(Seat& seat, bool sending) {
        Client& client = *seat.client;
        try {
            for (;; sending = true) {
                if (sending) {
                    const std::size_t unsent = client.unsent();
                    if (!client.flush()) {
                        if (client.unsent() < unsent) renew(seat);
                        return watch(seat, EPOLLOUT);
                    }
                    if (!client.keep_alive() || seen_phase_ != Phase::serving) return say_goodbye(seat);
                    renew(seat);
                }
                if (!answer_next(seat)) return;
            }
        } catch (const ConnectionError&) {  // it does not take its answer
            drop(seat);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "caching_proxy: %s\n", error.what());
            drop(seat);
        }
    }

    /// Answers the next request. @return false when there is none, or a worker has it, client and all
    bool answer_next(Seat& seat) {
        Client& client = *seat.client;
        try {
            if (!client.next_request(asked_)) {
                watch(seat, EPOLLIN);
                return false;
            }
        } catch (const ConnectionError& error) {
            client.refuse(error);
            renew(seat);
            return true;
        }
        if (!asked_.framing.empty()) {
            let_work(seat, std::exchange(asked_, {}));
            return false;
        }
        answer_.reset();
        asking_ = &client;
        try {
            site_.web.begin(std::move(asked_.request), tasks_, Answer{*this, seat.client},
                            http::Refresh::after_answer);
        } catch (...) {
            asking_ = nullptr;
            tasks_.kept.clear();
            throw;
        }
        asking_ = nullptr;
        const bool answered = answer_.has_value();
        if (!answered) (void)take_out(seat);  // a task has it
        if (!tasks_.kept.empty())
            for (sc::Executor::Task& task : std::exchange(tasks_.kept, {})) submit(std::move(task));
        if (!answered) return false;
        if (!answer_->answered()) {
            let_work(seat, std::move(*answer_));
            return false;
        }
        client.prepare(answer_->take_response());
        if (answer_->wants_refresh()) client.refresh(std::move(*answer_));
        answer_.reset();
        renew(seat);
        return true;
    }

    /// Gives the client to a worker, with what it shall serve.
    template <class Work>
    void let_work(Seat& seat, Work work) {
        auto shared = std::make_shared<Work>(std::move(work));  // tasks are copyable
        sc::Executor::Task task = [this, client = seat.client, shared]() mutable {
            if (client->serve(std::move(*shared))) give(std::move(client));
        };
        (void)take_out(seat);
        submit(std::move(task));
    }
    /// Where there is no thread or no memory for it, the task goes, and its client with it: the seat has gone before.
    void submit(sc::Executor::Task task) noexcept {
        try {
            (void)workers_.submit(std::move(task));
        } catch (const std::exception& error) {
            std::fprintf(stderr, "caching_proxy: %s\n", error.what());
        }
    }

    /// Hangs up, and reads a little: what the client still sends must not turn our last answer into a reset.
    void say_goodbye(Seat& seat) {
        Stream& stream = seat.client->stream();
        (void)::shutdown(stream.fd(), SHUT_WR);
        if (seen_phase_ != Phase::serving) return drop(seat);
        stream.consume(stream.buffered().size());
        stream.deadline = now_ + 1s;
        seat.farewell = 16;
        leaving_.splice(leaving_.end(), served_, seat.place);
        seat.list = &leaving_;
        watch(seat, EPOLLIN);
    }

    void renew(Seat& seat) {
        seat.client->stream().deadline = now_ + site_.client_timeout;
        served_.splice(served_.end(), served_, seat.place);
    }
    void watch(Seat& seat, std::uint32_t events) {
        if (seat.watched == events) return;
        epoll_event event{};
        event.events = events;
        event.data.ptr = &seat;
        const int operation = seat.watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        if (::epoll_ctl(epoll_, operation, seat.client->stream().fd(), &event) != 0)
            throw ConnectionError(ConnectionError::closed, std::strerror(errno));
        seat.watched = events;
    }
    std::shared_ptr<Client> take_out(Seat& seat) {
        std::shared_ptr<Client> client = std::move(seat.client);
        if (seat.watched != 0) (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, client->stream().fd(), nullptr);
        seat.list->erase(seat.place);
        return client;
    }
    void drop(Seat& seat) { (void)take_out(seat); }

    Site site_;
    Workers& workers_;
    const int epoll_;
    const int wake_;
    std::atomic<Phase> phase_{Phase::serving};
    std::mutex mutex_;
    std::vector<std::shared_ptr<Client>> given_;

    // The loop's thread alone; `id_` is set before it has a client.
    std::thread::id id_;
    Tasks tasks_{*this};
    const Client* asking_ = nullptr;
    Asked asked_;  // one for all clients, so that the next request finds room
    std::optional<http::Transaction> answer_;
    SteadyTime now_ = std::chrono::steady_clock::now();
    Phase seen_phase_ = Phase::serving;
    Seats served_;
    Seats leaving_;

    std::thread thread_;
};

}  // namespace proxy
