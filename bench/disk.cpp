// L3 against the stores one would use instead, in one run: put, get, miss, overwrite, a mix, bytes on disk, and how
// long it takes to open a store again.
//
//     build/release/bench/disk [options]
//         --sizes 100,1024,16384,262144   bytes of the values (default)
//         --stores SmartCache,RocksDB     default: all that were found
//         --rows put,get,miss,overwrite,mix,reopen   default: all; every store is filled and read once anyway
//         --rounds 3                      medians of so many
//         --seconds 0.5                   that gets, misses and the mix last
//         --scale 1                       of the data: 128 MiB of each size, but at most 500 000 values
//
// 24-byte keys in no order, incompressible values, everything in the page cache. Each store has a process of its own
// in each round, and they take turns; one whose first round takes longer than 15 seconds has no second one. The first
// and the last 8 bytes of each value that is read are compared; a wrong or a missing one ends the measurement.
// disk_rivals.hpp tells what each store was told.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "disk_process.hpp"
#include "disk_report.hpp"
#include "disk_rivals.hpp"
#include "disk_workload.hpp"

namespace {

using bench::Figures, bench::Keys, bench::Setup, bench::Unit, bench::Values;
using Clock = std::chrono::steady_clock;

struct Options {
    std::vector<std::size_t> sizes{100, 1024, 16384, 262144};
    std::set<std::string> stores;  // empty: all
    std::set<std::string> rows{"put", "get", "miss", "overwrite", "mix", "reopen"};
    std::size_t rounds = 3;
    double seconds = 0.5;
    double scale = 1;
};

double since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

void require(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

void add(Figures& figures, const std::string& row, Unit unit, double value) {
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
                bench::bytes_on_disk(setup_.directory) / static_cast<double>(setup_.bytes));
        Store store(setup_);
        {
            typename Store::Session session(store);
            // Warm, and nothing is missing.
            for (std::size_t i = 0; i < count_; ++i) check_get(session, all_, i, 0);
            if (options_.rows.contains("get")) get(figures, session);
            if (options_.rows.contains("miss")) miss(figures, session);
        }
        if (options_.rows.contains("overwrite")) overwrite(figures, store);
        if (options_.rows.contains("mix") && setup_.value_size == 1024) mix(figures, store);
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

    /// Each key once, or as many as fit in a while; the mix goes on from there.
    void overwrite(Figures& figures, Store& store) {
        Session session(store);
        const auto start = Clock::now();
        overwritten_ = repeat(count_, 6 * options_.seconds, [&](std::size_t i) {
            session.put(all_.text(i), values_.of(all_.number(i), 1));
        });
        store.flush();
        add(figures, "overwrite" + suffix_, Unit::per_second,
            static_cast<double>(overwritten_) / since(start));
        for (std::size_t i = 0; i < count_; i += 1 + count_ / 1000)
            check_get(session, all_, i, i < overwritten_ ? 1 : 0);
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
                while (ready != 2) std::this_thread::yield();
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
    std::size_t overwritten_ = 0;
};

/// Until a store that is opened again has answered the first get.
template <class Store>
Figures reopen(const Options& options, bool flush, bool kill, const std::string& row) {
    const bench::TemporaryDirectory directory;
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
    (void)bench::in_child(fill, kill);
    return bench::in_child([&](Figures& figures) {
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

class Run {
  public:
    explicit Run(const Options& options) : options_(options) {}

    int all() {
        for (std::size_t round = 0; round < options_.rounds && bench::interrupted == 0; ++round) {
            for (const std::size_t size : options_.sizes) {
                each_store([&]<class Store>(const Store*) { trial<Store>(size); });
            }
            if (options_.rows.contains("reopen"))
                each_store([&]<class Store>(const Store*) { reopenings<Store>(); });
        }
        report_.print();
        return failed_ || bench::interrupted != 0 ? 1 : 0;
    }

  private:
    template <class Body>
    void each_store(Body body) {
        body(static_cast<const bench::Smart*>(nullptr));
#if SMARTCACHE_BENCH_HAS_ROCKSDB
        body(static_cast<const bench::RocksDb*>(nullptr));
#endif
#if SMARTCACHE_BENCH_HAS_LMDB
        body(static_cast<const bench::Lmdb*>(nullptr));
#endif
#if SMARTCACHE_BENCH_HAS_LEVELDB
        body(static_cast<const bench::LevelDb*>(nullptr));
#endif
#if SMARTCACHE_BENCH_HAS_SQLITE3
        body(static_cast<const bench::Sqlite*>(nullptr));
#endif
        body(static_cast<const bench::Files*>(nullptr));
    }

    template <class Store>
    void trial(std::size_t size) {
        const std::string what = std::to_string(size) + " B";
        measure<Store>(what, [&] {
            const bench::TemporaryDirectory directory;
            const double most =
                std::min(double{128 << 20} / static_cast<double>(bench::key_size + size), 5e5);
            const std::size_t count =
                std::max<std::size_t>(16, static_cast<std::size_t>(most * options_.scale));
            const Setup setup{directory.path(), count * (bench::key_size + size), size, false};
            return bench::in_child(
                [&](Figures& figures) { Trial<Store>(options_, setup, count).run(figures); });
        });
    }

    template <class Store>
    void reopenings() {
        if constexpr (Store::reopened) {
            measure<Store>("reopen", [&] { return reopen<Store>(options_, false, false, "reopen, closed"); });
            measure<Store>("reopen, flushed", [&] {
                return reopen<Store>(options_, true, false, "reopen, flushed and closed");
            });
            measure<Store>("reopen, killed", [&] {
                // What the queue held would be lost; a write-ahead log needs no flush.
                constexpr bool queued = std::is_same_v<Store, bench::Smart>;
                return reopen<Store>(options_, queued, true, "reopen, kill -9");
            });
        }
    }

    template <class Store, class Body>
    void measure(const std::string& what, Body body) {
        const std::string name = std::string(Store::name) + ", " + what;
        if (bench::interrupted != 0 || slow_.contains(name)) return;
        if (!options_.stores.empty() && !options_.stores.contains(Store::name)) return;
        const auto start = Clock::now();
        try {
            for (const bench::Figure& each : body())
                report_.add(each.row, static_cast<Unit>(each.unit), Store::name, each.value);
            std::fprintf(stderr, "%s: %.1f s\n", name.c_str(), since(start));
        } catch (const std::exception& error) {
            failed_ = true;
            std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
        }
        if (since(start) > 15) slow_.insert(name);
    }

    const Options& options_;
    bench::DiskReport report_;
    std::set<std::string> slow_;
    bool failed_ = false;
};

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
    return parts;
}

Options parse(const std::vector<std::string>& words) {
    Options options;
    for (std::size_t i = 0; i < words.size(); i += 2) {
        const std::string& word = words[i];
        if (i + 1 == words.size()) throw std::invalid_argument(word + " wants a value");
        const std::string& value = words[i + 1];
        const std::vector<std::string> parts = split(value);
        if (word == "--sizes") {
            options.sizes.clear();
            for (const std::string& part : parts) options.sizes.push_back(std::stoul(part));
            // Both ends of a value are compared.
            if (std::any_of(options.sizes.begin(), options.sizes.end(),
                            [](std::size_t size) { return size < 8; }))
                throw std::invalid_argument("values have 8 bytes at least");
        } else if (word == "--stores") {
            options.stores = {parts.begin(), parts.end()};
        } else if (word == "--rows") {
            options.rows = {parts.begin(), parts.end()};
        } else if (word == "--rounds") {
            options.rounds = std::stoul(value);
        } else if (word == "--seconds") {
            options.seconds = std::stod(value);
        } else if (word == "--scale") {
            options.scale = std::stod(value);
        } else {
            throw std::invalid_argument("unknown option " + word + "; the head of bench/disk.cpp lists them");
        }
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options = parse({argv + 1, argv + argc});
        bench::stop_when_interrupted();
        return Run(options).all();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "disk: %s\n", error.what());
        return 2;
    }
}
