// L3 against the stores one would use instead, in one run: put, get, miss, overwrite, a mix, bytes on disk, and how
// long it takes to open a store again.
//
//     build/release/bench/disk [options]
//         --sizes 100,1024,16384,262144   bytes of the values (default)
//         --stores SmartCache,RocksDB     default: all that were found
//         --rows put,get,miss,overwrite,mix,reopen   default: all; each store is filled and read once anyway
//         --rounds 3                      medians, and the best, of so many
//         --seconds 0.5                   that gets, misses and the mix last
//         --scale 1                       of the data: 128 MiB of each size, but at most 500 000 values; SQLite at most
//                                         50 000 and files 5000, which favours them: more would take minutes
//
// 24-byte keys in no order, incompressible values, everything in the page cache. Each store has a process of its own
// in each round, and they take turns. The two ends of each value that is read are compared; a wrong or a missing value
// ends the measurement. disk_rivals.hpp tells what each store was told.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "disk_process.hpp"
#include "disk_report.hpp"
#include "disk_rivals.hpp"
#include "disk_trial.hpp"
#include "disk_workload.hpp"

namespace {

using bench::Options, bench::Setup;

class Run {
  public:
    explicit Run(const Options& options) : options_(options) {}

    int all() {
        const bool only_reopen = options_.rows == std::set<std::string>{"reopen"};
        const std::vector<std::size_t> sizes = only_reopen ? std::vector<std::size_t>() : options_.sizes;
        for (std::size_t round = 0; round < options_.rounds && bench::interrupted == 0; ++round) {
            for (const std::size_t size : sizes) {
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
            const double most = std::min(double{128 << 20} / static_cast<double>(bench::key_size + size),
                                         static_cast<double>(Store::most));
            const std::size_t count =
                std::max<std::size_t>(16, static_cast<std::size_t>(most * options_.scale));
            const Setup setup{directory.path(), count * (bench::key_size + size), size, false};
            return bench::in_child(
                [&](bench::Figures& figures) { bench::Trial<Store>(options_, setup, count).run(figures); });
        });
    }

    template <class Store>
    void reopenings() {
        if constexpr (Store::reopened) {
            measure<Store>("reopen",
                           [&] { return bench::reopen<Store>(options_, false, false, "reopen, closed"); });
            measure<Store>("reopen, flushed", [&] {
                return bench::reopen<Store>(options_, true, false, "reopen, flushed and closed");
            });
            measure<Store>("reopen, killed", [&] {
                // What the queue held would be lost; a write-ahead log needs no flush.
                constexpr bool queued = std::is_same_v<Store, bench::Smart>;
                return bench::reopen<Store>(options_, queued, true, "reopen, kill -9");
            });
        }
    }

    template <class Store, class Body>
    void measure(const std::string& what, Body body) {
        const std::string name = std::string(Store::name) + ", " + what;
        if (bench::interrupted != 0) return;
        if (!options_.stores.empty() && !options_.stores.contains(Store::name)) return;
        const auto start = bench::Clock::now();
        try {
            for (const bench::Figure& each : body())
                report_.add(each.row, static_cast<bench::Unit>(each.unit), Store::name, each.value);
            std::fprintf(stderr, "%s: %.1f s\n", name.c_str(), bench::since(start));
        } catch (const std::exception& error) {
            failed_ = true;
            std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
        }
    }

    const Options& options_;
    bench::DiskReport report_;
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

void say_what_is_missing() {
#if !SMARTCACHE_BENCH_HAS_ROCKSDB
    std::puts("without RocksDB: not installed (Debian: librocksdb-dev)");
#endif
#if !SMARTCACHE_BENCH_HAS_LMDB
    std::puts("without LMDB: not installed (Debian: liblmdb-dev)");
#endif
#if !SMARTCACHE_BENCH_HAS_LEVELDB
    std::puts("without LevelDB: not installed (Debian: libleveldb-dev)");
#endif
#if !SMARTCACHE_BENCH_HAS_SQLITE3
    std::puts("without SQLite: not installed (Debian: libsqlite3-dev)");
#endif
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options = parse({argv + 1, argv + argc});
        say_what_is_missing();
        bench::stop_when_interrupted();
        return Run(options).all();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "disk: %s\n", error.what());
        return 2;
    }
}
