#include <smartcache/core/singletons.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/fork.hpp"

namespace singletons_test {

using smartcache::detail::Eternal;
using smartcache::detail::PerProcess;
using smartcache_test::in_child;

TEST_CASE("each process has its own of what is per process", "[core][mutex][fork][R33]") {
    PerProcess<std::atomic<int>> number;
    *number.get() = 1;
    const std::shared_ptr<std::atomic<int>> parents = number.get();
    CHECK(in_child([&] {
        const bool fresh = *number.get() == 0;
        *number.get() = 2;
        return fresh && *number.get() == 2 && *parents == 1;
    }));
    CHECK(*number.get() == 1);
}

TEST_CASE("what is eternal is made once", "[core][mutex]") {
    static constinit Eternal<std::atomic<int>> number;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([] { ++number.get(); });
    for (std::thread& thread : threads) thread.join();
    CHECK(number.get() == 4);
}

}  // namespace singletons_test
