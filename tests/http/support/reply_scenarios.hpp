#pragma once

#include <stdexcept>
#include <string>

#include <smartcache/core/executor.hpp>
#include <smartcache/http/message.hpp>

#include "http/support/adapter_server.hpp"
#include "http/support/site.hpp"
#include "support/catch.hpp"

namespace smartcache_test {

/// What whoever asked must get, exactly once, whatever an application does with its reply and a pool with its tasks.
/// @param ask  (executor, application) -> the content, or what a failure reads like: `dropped`, `thrown`. Its application takes a
/// request, and a `Reply` by which it may answer later
template <class Reply, class Ask>
void check_replies(Site& site, Ask ask, const std::string& dropped, const std::string& thrown) {
    using namespace std::chrono_literals;
    using smartcache::http::Request;
    using smartcache::http::Response;
    smartcache::InlineExecutor here;
    CHECK(ask(here, [](const Request&, Reply) {}) == dropped);
    CHECK(ask(here, [](const Request&, const Reply& reply) { reply.fail(); }) == dropped);
    CHECK(ask(here, [](const Request&, Reply) { throw std::runtime_error("thrown"); }) == thrown);
    CHECK(ask(here, [](const Request&) -> Response { throw std::runtime_error("thrown"); }) == thrown);
    CHECK(ask(here, [](const Request&, const Reply& reply) {
              reply(page("first", "no-store"));
              reply(page("second"));
              reply.fail();
              throw std::runtime_error("too late");
          }) == "first");
    CHECK(site.cache.contents().empty());

    // A pool that drops what it accepted, when the program ends.
    struct Dropping final : smartcache::Executor {
        bool submit(Task) override { return true; }
    } dropping;
    CHECK(ask(dropping, [](const Request&) { return page("never"); }) == dropped);
    struct Refusing final : smartcache::Executor {
        bool submit(Task) override { return false; }
    } refusing;
    CHECK(ask(refusing, [](const Request&) { return page("made"); }) == "made");
    CHECK(ask(dropping, [](const Request&) { return page("never"); }) == "made");  // a hit needs no pool

    // Stale where that is allowed, even when nobody answers.
    site.clock.advance(1h);
    CHECK(ask(here, [](const Request&) { return page("good", "max-age=10, stale-if-error=100"); }) == "good");
    site.clock.advance(50s);
    CHECK(ask(here, [](const Request&, Reply) {}) == "good");
}

}  // namespace smartcache_test
