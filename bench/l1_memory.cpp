// What an entry of L1 costs beyond its key and value, and what is left of memory after a long run, side by side.
//
//     build/release/bench/l1_memory
//
// Each cache runs in a process of its own. "Beyond": resident memory gained by filling a cache with 200 000
// entries of 24-byte keys and 100-byte values, per entry, less those 124 bytes. "Turned over": resident memory
// gained, over the bytes of the keys and values present, after values of 16 to 1024 bytes, uniform, have replaced
// all entries of a cache of 100 000 five times.

#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "l1_rivals.hpp"

namespace {

std::string key_of(std::size_t number) {
    char key[32];
    std::snprintf(key, sizeof(key), "key:%020zu", number);
    return key;
}

std::size_t resident_bytes() {
    std::size_t pages = 0;
    std::size_t resident = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    if (file == nullptr || std::fscanf(file, "%zu %zu", &pages, &resident) != 2)
        std::perror("/proc/self/statm");
    if (file != nullptr) std::fclose(file);
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

template <class Cache>
double beyond() {
    constexpr std::size_t entries = 200'000;
    const std::string value(100, 'v');
    const std::size_t before = resident_bytes();
    // Twice the room: no cache evicts here, nor needs an exact share in each of its shards.
    Cache cache(2 * entries);
    for (std::size_t i = 0; i < entries; ++i) cache.set(key_of(i), value);
    const std::size_t after = resident_bytes();
    std::size_t present = 0;
    for (std::size_t i = 0; i < entries; ++i) present += cache.contains(key_of(i)) ? 1U : 0U;
    return static_cast<double>(after - before) / static_cast<double>(present) - 124;
}

template <class Cache>
double turned_over() {
    constexpr std::size_t entries = 100'000;
    std::mt19937 random(1);
    const std::string letters(1024, 'v');
    const std::size_t before = resident_bytes();
    Cache cache(entries);
    std::vector<std::uint16_t> sizes;
    for (std::size_t i = 0; i < 6 * entries; ++i) {
        sizes.push_back(static_cast<std::uint16_t>(16 + random() % 1009));
        cache.set(key_of(i), std::string_view(letters).substr(0, sizes.back()));
    }
    const std::size_t after = resident_bytes() - sizes.capacity() * sizeof(sizes[0]);
    std::size_t payload = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i)
        if (cache.contains(key_of(i))) payload += 24 + sizes[i];
    return static_cast<double>(after - before) / static_cast<double>(payload);
}

template <class Cache>
void report() {
    if constexpr (Cache::has_set) {
        std::fflush(stdout);
        const auto apart = [](auto measure) {
            double figure = -1;
            int ends[2];
            if (::pipe(ends) != 0) return figure;
            const pid_t child = ::fork();
            if (child == 0) {
                figure = measure();
                const bool sent = ::write(ends[1], &figure, sizeof(figure)) == sizeof(figure);
                ::_exit(sent ? 0 : 1);
            }
            ::close(ends[1]);
            if (::read(ends[0], &figure, sizeof(figure)) != sizeof(figure)) figure = -1;
            ::close(ends[0]);
            (void)::waitpid(child, nullptr, 0);
            return figure;
        };
        const double each = apart(&beyond<Cache>);
        const double ratio = apart(&turned_over<Cache>);
        std::printf("%-26s %7.1f bytes beyond %9.3f resident / payload\n", Cache::name, each, ratio);
    }
}

}  // namespace

int main() {
    report<bench::Memory>();
    report<bench::Facade>();
    report<bench::MutexLru>();
#if SMARTCACHE_BENCH_HAS_LEVELDB
    report<bench::LevelDb>();
#endif
#if SMARTCACHE_BENCH_HAS_ROCKSDB
    report<bench::RocksDb<true>>();
    report<bench::RocksDb<false>>();
#endif
}
