// SmartCache in coroutines of Boost.Asio: what is in memory is there at once, anything else runs on the cache's threads while
// the event loop goes on.

#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <smartcache/smartcache.hpp>

namespace sc = smartcache;
namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

/// Awaits a lookup in a coroutine of Asio, which takes Asio's own operations only. It goes on in the coroutine's executor.
template <class T, class Work, class On>
asio::awaitable<sc::Lookup<T>> await(sc::AsyncLookup<T, Work, On> lookup) {
    if (lookup.await_ready()) co_return lookup.await_resume();  // neither a handler nor an allocation
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&,
                                            void(std::exception_ptr, sc::Lookup<T>)>(
        [](auto handler, auto started) {
            auto kept = std::make_shared<decltype(handler)>(std::move(handler));
            std::move(started).then([kept](std::exception_ptr error, sc::Lookup<T> result) {
                auto executor = asio::get_associated_executor(*kept);
                asio::post(executor, [kept, error = std::move(error), result = std::move(result)]() mutable {
                    std::move (*kept)(std::move(error), std::move(result));
                });
            });
        },
        asio::use_awaitable, std::move(lookup));
}

std::string render(int id) {  // slow
    std::this_thread::sleep_for(50ms);
    return "page " + std::to_string(id);
}

asio::awaitable<void> serve(sc::SmartCache<>& cache, int& ticks) {
    const std::thread::id loop = std::this_thread::get_id();
    const auto load = sc::owned([] { return render(7); });

    const auto page = co_await await(cache.async_get_or_compute("page:7", load, {.ttl = 1min}));
    std::printf("%s, back in the event loop: %s, which went on meanwhile: %s\n", page->c_str(),
                std::this_thread::get_id() == loop ? "yes" : "no", ticks > 0 ? "yes" : "no");

    const int before = ticks;
    const auto again = co_await await(cache.async_get_or_compute("page:7", load, {.ttl = 1min}));
    std::printf("%s, from memory: %s, without leaving the event loop: %s\n", again->c_str(),
                again.tier() == sc::TierId::memory ? "yes" : "no", ticks == before ? "yes" : "no");
}

/// Something else to do for the event loop.
asio::awaitable<void> tick(int& ticks, const bool& done) {
    while (!done) {
        ++ticks;
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    }
}

}  // namespace

int main() {
    sc::SmartCache<> cache;
    asio::io_context loop;
    int ticks = 0;
    bool done = false;
    asio::co_spawn(loop, serve(cache, ticks), [&done](const std::exception_ptr& error) {
        done = true;
        if (error) std::puts("failed");
    });
    asio::co_spawn(loop, tick(ticks, done), asio::detached);
    loop.run();
}

// Expected output:
// page 7, back in the event loop: yes, which went on meanwhile: yes
// page 7, from memory: yes, without leaving the event loop: yes
