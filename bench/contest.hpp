#pragma once

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// Several ways to do one thing, measured in turns: what else the machine does hits all of them alike.
namespace bench {

/// The compiler may not leave out what made `value`.
template <class T>
inline void keep(const T& value) {
    asm volatile("" : : "r,m"(value) : "memory");
}

/// Quartiles. @param values  at least one
struct Quartiles {
    explicit Quartiles(std::vector<double> values) {
        std::sort(values.begin(), values.end());
        const std::size_t last = values.size() - 1;
        low = values[last / 4];
        median = values[last / 2];
        high = values[last - last / 4];
    }
    double low, median, high;
};

/// How many calls are made at once.
struct Pace {
    std::size_t step = 500;             ///< between two looks at the clock
    std::size_t warm_up_calls = 2'000;  ///< not timed: fetch what the others have displaced
};

/// Nanoseconds of a call, of each contestant a short slice in every round.
class Contest {
  public:
    static constexpr std::size_t none = static_cast<std::size_t>(-1);

    /// @param slice  short: most slices are not interrupted. But threads that get in each other's way must meet, which on a
    ///               busy machine they do in slices of some 20 ms, not of less than one
    /// @param pace  smaller for calls that take longer
    Contest(std::string title, int threads, std::size_t rounds,
            std::chrono::microseconds slice = std::chrono::microseconds(400), Pace pace = {})
        : title_(std::move(title)), threads_(threads), rounds_(rounds), slice_length_(slice), pace_(pace) {}

    /// @param call  called as `call(thread, i)` with i = 0, 1, ...
    /// @param over  index of the contestant whose time this one's is compared with
    /// @param aim   printed behind it
    /// @return its index
    template <class Call>
    std::size_t add(std::string name, Call call, std::size_t over = none, std::string aim = {}) {
        contestants_.push_back({std::move(name), over, std::move(aim),
                                [call](std::size_t thread, std::size_t count) {
                                    for (std::size_t i = 0; i < count; ++i) call(thread, i);
                                },
                                std::vector<double>(rounds_)});
        return contestants_.size() - 1;
    }

    void run() {
        const auto threads = static_cast<std::size_t>(threads_);
        std::vector<std::vector<double>> took(threads, std::vector<double>(rounds_ * contestants_.size()));
        std::atomic<std::size_t> arrived = 0;
        const auto work = [&](std::size_t thread) {
            if (threads > 1) run_on(thread);
            for (std::size_t round = 0; round < rounds_; ++round) {
                for (std::size_t i = 0; i < contestants_.size(); ++i) {
                    // Each round begins with another one: what the one before leaves in the processor's caches is no
                    // advantage of always the same.
                    const std::size_t turn = (i + round) % contestants_.size();
                    // All are running when the slice begins. Who slept, or yielded, on a busy machine would find the others
                    // done.
                    arrived.fetch_add(1);
                    while (arrived.load() < (round * contestants_.size() + i + 1) * threads) {
                    }
                    took[thread][round * contestants_.size() + turn] =
                        slice(contestants_[turn].calls, thread);
                }
            }
        };
        std::vector<std::thread> running;
        for (std::size_t thread = 0; thread < threads; ++thread) running.emplace_back(work, thread);
        for (std::thread& each : running) each.join();
        for (std::size_t i = 0; i < rounds_ * contestants_.size(); ++i) {
            double sum = 0;
            for (const auto& own : took) sum += own[i];
            contestants_[i % contestants_.size()].ns[i / contestants_.size()] =
                sum / static_cast<double>(threads);
        }
        print();
    }

  private:
    struct Contestant {
        std::string name;
        std::size_t over;
        std::string aim;
        std::function<void(std::size_t thread, std::size_t count)> calls;
        std::vector<double> ns;
    };

    /// Keeps the calling thread on one processor: two threads that share one, because others use the rest, never meet.
    static void run_on(std::size_t processor) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(processor, &set);
        (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    }

    double slice(const std::function<void(std::size_t, std::size_t)>& calls, std::size_t thread) const {
        calls(thread, pace_.warm_up_calls);
        const auto begin = std::chrono::steady_clock::now();
        std::size_t count = 0;
        std::chrono::duration<double, std::nano> took{};
        do {
            calls(thread, pace_.step);
            count += pace_.step;
            took = std::chrono::steady_clock::now() - begin;
        } while (took < slice_length_);
        return took.count() / static_cast<double>(count);
    }

    /// Ratios and differences are those of slices of the same round.
    void print() const {
        std::printf("\n%s, %d thread(s), %zu rounds\n%52s %8s %15s   %6s %13s %9s\n", title_.c_str(),
                    threads_, rounds_, "", "ns", "quartiles", "ratio", "quartiles", "ns more");
        for (const Contestant& each : contestants_) {
            const Quartiles ns(each.ns);
            std::printf("    %-48s %8.1f %7.1f %7.1f", each.name.c_str(), ns.median, ns.low, ns.high);
            if (each.over != none) {
                const Contestant& base = contestants_[each.over];
                std::vector<double> ratios;
                std::vector<double> differences;
                for (std::size_t i = 0; i < rounds_; ++i) {
                    ratios.push_back(each.ns[i] / base.ns[i]);
                    differences.push_back(each.ns[i] - base.ns[i]);
                }
                const Quartiles ratio(ratios);
                std::printf("   %5.2fx %6.2f %6.2f %9.1f  over: %s%s%s", ratio.median, ratio.low, ratio.high,
                            Quartiles(differences).median, base.name.c_str(),
                            each.aim.empty() ? "" : "; aim: ", each.aim.c_str());
            } else if (!each.aim.empty()) {
                std::printf("   aim: %s", each.aim.c_str());
            }
            std::printf("\n");
        }
        std::fflush(stdout);
    }

    std::string title_;
    int threads_;
    std::size_t rounds_;
    std::chrono::microseconds slice_length_;
    Pace pace_;
    std::vector<Contestant> contestants_;
};

}  // namespace bench
