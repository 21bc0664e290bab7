// What a hit in memory costs, by turns: all caches in one program, each a slice of some milliseconds in every round, so that what
// else the machine does, and how fast its processor just is, hits all of them alike. bench/l1 has the other workloads.
//
//     build/release/bench/l1_turns [--rounds 200]
//
// 24-byte keys, 100-byte values, copied out. The same keys in the same order for all.

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "contest.hpp"
#include "l1_rivals.hpp"
#include "l1_workload.hpp"

namespace {

using bench::Contest;

/// Where each thread has got to in its keys.
struct alignas(64) Position {
    std::size_t at = 0;
};

template <class Cache>
std::size_t add(Contest& contest, std::size_t keys, int threads, std::size_t over, const char* aim) {
    std::shared_ptr<Cache> cache = bench::filled<Cache>(keys * 2, keys);
    std::vector<const bench::Sequence*> sequences;
    for (int thread = 0; thread < threads; ++thread) sequences.push_back(&bench::uniform_for(keys, thread));
    const auto positions = std::make_shared<std::array<Position, 2>>();
    return contest.add(
        Cache::name,
        [cache, sequences, positions](std::size_t thread, std::size_t) {
            const bench::Sequence& sequence = *sequences[thread];
            std::size_t& at = (*positions)[thread].at;
            char out[bench::value_size];
            const bool hit = cache->get(sequence[at], out);
            bench::keep(out);
            if (!hit) bench::require(false, Cache::name, "a get was a miss");
            if (++at == sequence.size()) at = 0;
        },
        over, aim);
}

void compare(const char* what, std::size_t keys, int threads, std::size_t rounds) {
    Contest contest(what, threads, rounds, std::chrono::milliseconds(2),
                    {.step = 1'000, .warm_up_calls = 4'000});
    std::size_t rocksdb = Contest::none;
    std::size_t absl = Contest::none;
#if SMARTCACHE_BENCH_HAS_ROCKSDB
    rocksdb = add<bench::RocksDb<true>>(contest, keys, threads, Contest::none, "");
#endif
#if SMARTCACHE_BENCH_HAS_ABSL
    if (threads == 1) absl = add<bench::AbslMap>(contest, keys, threads, Contest::none, "");
#endif
    const std::size_t over = threads == 1 && absl != Contest::none ? absl : rocksdb;
    const char* const aim = over == absl ? "1x" : "0.33x";
    add<bench::Memory>(contest, keys, threads, over, aim);
    add<bench::Facade>(contest, keys, threads, over, aim);
    add<bench::MutexLru>(contest, keys, threads, over, "");
    contest.run();
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t rounds = 200;
    if (argc == 3 && std::string_view(argv[1]) == "--rounds")
        rounds = std::strtoul(argv[2], nullptr, 10);
    else if (argc != 1)
        rounds = 0;
    if (rounds == 0) {
        std::fprintf(stderr, "usage: %s [--rounds n]\n", argv[0]);
        return 2;
    }
    for (const int threads : {1, 2}) {
        compare("get, 1k hot keys", bench::hot_keys, threads, rounds);
        compare("get, 100k keys", bench::many_keys, threads, rounds);
    }
    return 0;
}
