#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "disk_process.hpp"
#include "disk_report.hpp"
#include "disk_rivals.hpp"
#include "disk_workload.hpp"

// What is measured of one store.
namespace bench {

using Clock = std::chrono::steady_clock;

struct Options {
    std::vector<std::size_t> sizes{100, 1024, 16384, 262144};
    std::set<std::string> stores;  // empty: all
    std::set<std::string> rows{"put", "get", "miss", "overwrite", "mix", "reopen"};
    std::size_t rounds = 3;
    double seconds = 0.5;
    double scale = 1;
};

inline double since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

inline void require(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

inline void add(Figures& figures, const std::string& row, Unit unit, double value) {
    figures.push_back({row, static_cast<int>(unit), value});
}

/// Calls `body(i)` for i = 0, 1, ... up to `most` times, for at most `seconds`. @return how often
template <class Body>
std::size_t repeat(std::size_t most, double seconds, Body body) {
    const auto start = Clock::now();
    std::size_t done = 0;
    while (done < most) {
        for (const std::size_t stop = std::min(most, done + 32); done < stop; ++done) body(done);
        if (since(start) > seconds) break;
    }
    return done;
}

/// One store with values of one size.
template <class Store>
class Trial {
  public:
    Trial(const Options& options, const Setup& setup, std::size_t count)
        : options_(options),
          setup_(setup),
          count_(count),
          values_(setup.value_size),
          suffix_(", " + std::to_string(setup.value_size) + " B") {}

    void run(Figures& figures) {
        fill(figures);
        if (options_.rows.contains("put"))
            add(figures, "bytes on disk per byte" + suffix_, Unit::ratio,
                bytes_on_disk(setup_.directory) / static_cast<double>(setup_.bytes));
        Store store(setup_);
        {
            typename Store::Session session(store);
            // Warm, and nothing is missing.
            for (std::size_t i = 0; i < count_; ++i) check_get(session, all_, i, 0);
            if (options_.rows.contains("get")) get(figures, session);
            if (options_.rows.contains("miss")) miss(figures, session);
        }
        // Before the overwrites: what those leave to be done in the background is not the mix's.
        if (options_.rows.contains("mix") && setup_.value_size == 1024) mix(figures, store);
        if (options_.rows.contains("overwrite")) overwrite(figures, store);
    }

  private:
    using Session = typename Store::Session;

    void fill(Figures& figures) {
        Store store(setup_);
        Session session(store);
        const auto start = Clock::now();
        for (std::size_t i = 0; i < count_; ++i) session.put(all_.text(i), values_.of(all_.number(i), 0));
        const double returned = since(start);
        store.flush();
        const double flushed = since(start);
        if (!options_.rows.contains("put")) return;
        const auto puts = static_cast<double>(count_);
        add(figures, "put" + suffix_, Unit::per_second, puts / flushed);
        add(figures, "put, last flush not counted" + suffix_, Unit::per_second, puts / returned);
        if constexpr (requires { session.rejected(); })
            add(figures, "puts tried again" + suffix_, Unit::count, static_cast<double>(session.rejected()));
    }

    void check_get(Session& session, const Keys& keys, std::size_t at, unsigned version) {
        thread_local std::string out;
        require(session.get(keys.text(at), out), "a value is missing");
        require(values_.holds(out, keys.number(at), version), "a wrong value");
    }

    void get(Figures& figures, Session& session) {
        const Keys keys = Keys::drawn(count_, 1);
        const auto start = Clock::now();
        const std::size_t gets = repeat(SIZE_MAX, options_.seconds,
                                        [&](std::size_t i) { check_get(session, keys, i % keys.size(), 0); });
        add(figures, "get" + suffix_, Unit::per_second, static_cast<double>(gets) / since(start));
    }

    void miss(Figures& figures, Session& session) {
        const Keys keys = Keys::drawn(count_, 2, true);
        std::string out;
        const auto start = Clock::now();
        const std::size_t gets = repeat(SIZE_MAX, options_.seconds, [&](std::size_t i) {
            require(!session.get(keys.text(i % keys.size()), out), "a value that nobody has stored");
        });
        add(figures, "miss" + suffix_, Unit::per_second, static_cast<double>(gets) / since(start));
    }

    /// Each key once, or as many as fit in a while.
    void overwrite(Figures& figures, Store& store) {
        Session session(store);
        const auto start = Clock::now();
        const std::size_t done = repeat(count_, 6 * options_.seconds, [&](std::size_t i) {
            session.put(all_.text(i), values_.of(all_.number(i), 1));
        });
        store.flush();
        add(figures, "overwrite" + suffix_, Unit::per_second, static_cast<double>(done) / since(start));
        for (std::size_t i = 0; i < done; i += 1 + done / 1000) check_get(session, all_, i, 1);
    }

    /// Two threads, each nine gets and a put of a key that is there.
    void mix(Figures& figures, Store& store) {
        const std::array<Keys, 2> keys{Keys::drawn(count_, 3), Keys::drawn(count_, 4)};
        std::array<std::size_t, 2> done{};
        std::array<std::exception_ptr, 2> errors;
        std::atomic<int> ready{0};
        const auto work = [&](std::size_t self) {
            try {
                Session session(store);
                std::string out;
                ++ready;
                while (ready < 2) std::this_thread::yield();
                done[self] = repeat(SIZE_MAX, options_.seconds, [&](std::size_t i) {
                    const std::size_t at = i % keys[self].size();
                    const std::size_t number = keys[self].number(at);
                    if (i % 10 == 9) {
                        session.put(keys[self].text(at), values_.of(number, 1));
                        return;
                    }
                    require(session.get(keys[self].text(at), out), "a value is missing");
                    require(values_.holds(out, number, 1) || values_.holds(out, number, 0), "a wrong value");
                });
            } catch (...) {
                errors[self] = std::current_exception();
                ready = 2;
            }
        };
        const auto start = Clock::now();
        std::thread other(work, 1);
        work(0);
        other.join();
        store.flush();
        const double elapsed = since(start);
        for (const std::exception_ptr& error : errors)
            if (error) std::rethrow_exception(error);
        add(figures, "90 % get, 10 % put, 2 threads" + suffix_, Unit::per_second,
            static_cast<double>(done[0] + done[1]) / elapsed);
    }

    const Options& options_;
    Setup setup_;
    std::size_t count_;
    Keys all_ = Keys::all(count_, 7);
    Values values_;
    std::string suffix_;
};

/// Until a store that is opened again has answered the first get.
template <class Store>
Figures reopen(const Options& options, bool flush, bool kill, const std::string& row) {
    const TemporaryDirectory directory;
    const auto count = static_cast<std::size_t>(500'000 * options.scale);
    const Setup setup{directory.path(), count * 224, 200, true};
    const Values values(setup.value_size);
    const Keys keys = Keys::all(count, 7);
    const auto fill = [&](Figures&) {
        Store store(setup);
        typename Store::Session session(store);
        for (std::size_t i = 0; i < count; ++i) session.put(keys.text(i), values.of(keys.number(i), 0));
        if (flush) store.flush();
        if (kill) (void)std::raise(SIGKILL);
    };
    (void)in_child(fill, kill);
    return in_child([&](Figures& figures) {
        std::string out;
        const auto start = Clock::now();
        Store store(setup);
        typename Store::Session session(store);
        require(session.get(keys.text(0), out), "a value is missing");
        add(figures, row, Unit::milliseconds, since(start) * 1e3);
        for (std::size_t i = 0; i < count; i += 97) {
            require(session.get(keys.text(i), out), "a value is missing");
            require(values.holds(out, keys.number(i), 0), "a wrong value");
        }
    });
}

}  // namespace bench
