#include <smartcache/memory/arena.hpp>

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace arena_test {

namespace sc = smartcache;

TEST_CASE("blocks are aligned and writable, by either allocator", "[memory][arena]") {
    for (const bool jemalloc : {false, true}) {
        sc::detail::Arena* const arena = sc::detail::Arena::create(jemalloc);
        std::vector<std::pair<void*, std::size_t>> blocks;
        for (const std::size_t size : {1U, 64U, 1000U, 100'000U}) {
            void* const block = arena->allocate(size, 64);
            CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
            std::memset(block, 0xAB, size);
            blocks.emplace_back(block, size);
        }
        for (const auto& [block, size] : blocks) arena->deallocate(block, size, 64);
        arena->release();
    }
}

TEST_CASE("a block outlives the cache's hold on the arena", "[memory][arena][R30]") {
    sc::detail::Arena* const arena = sc::detail::Arena::create(true);
    auto* const block = static_cast<char*>(arena->allocate(100, 16));
    arena->release();
    std::memset(block, 1, 100);
    CHECK(block[99] == 1);
    arena->deallocate(block, 100, 16);  // ends the arena; sanitizers see it if it does not
}

TEST_CASE("more threads than stripes give back what others took, also after the cache has let go",
          "[memory][arena][stress][R30]") {
    for (int round = 0; round < 20; ++round) {
        sc::detail::Arena* const arena = sc::detail::Arena::create(true);
        constexpr std::size_t threads = 30;
        constexpr std::size_t each = 50;
        std::vector<std::vector<char*>> blocks(threads);
        std::vector<std::thread> takers;
        for (auto& mine : blocks)
            takers.emplace_back([&mine, arena] {
                for (std::size_t i = 0; i < each; ++i) {
                    mine.push_back(static_cast<char*>(arena->allocate(64 + i, 16)));
                    std::memset(mine.back(), static_cast<int>(i), 64 + i);
                }
            });
        for (std::thread& taker : takers) taker.join();
        std::vector<std::thread> givers;
        std::vector<int> wrong(threads);
        for (std::size_t t = 0; t < threads; ++t)
            givers.emplace_back([&blocks, &wrong, arena, t] {
                for (std::size_t i = 0; i < each; ++i) {
                    char* const block = blocks[(t + 1) % threads][i];
                    wrong[t] += block[63 + i] != static_cast<char>(i);
                    arena->deallocate(block, 64 + i, 16);
                }
            });
        arena->release();  // while they give back
        for (std::thread& giver : givers) giver.join();
        CHECK(wrong == std::vector<int>(threads));
    }
}

TEST_CASE("without jemalloc the arena says malloc", "[memory][arena]") {
    sc::detail::Arena* const arena = sc::detail::Arena::create(false);
    CHECK(arena->name() == "malloc");
    arena->release();
}

}  // namespace arena_test
