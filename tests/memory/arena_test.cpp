#include <smartcache/memory/arena.hpp>

#include <cstdint>
#include <cstring>
#include <vector>

#include "support/catch.hpp"

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

TEST_CASE("without jemalloc the arena says malloc", "[memory][arena]") {
    sc::detail::Arena* const arena = sc::detail::Arena::create(false);
    CHECK(arena->name() == "malloc");
    arena->release();
}
