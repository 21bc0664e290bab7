#include <smartcache/redis/untold.hpp>

#include <algorithm>
#include <optional>
#include <semaphore>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <smartcache/record/key.hpp>
#include <smartcache/redis/unacknowledged.hpp>

#include "support/catch.hpp"
#include "support/fork.hpp"

namespace untold_test {

using smartcache::Intents;
using smartcache::physical_key;
using smartcache::detail::ConnectionIdentity;
using smartcache::detail::Unacknowledged;
using smartcache::detail::UntoldIntent;
using smartcache::detail::UntoldKeeper;

namespace {

class Kept final : public Intents {
  public:
    std::vector<std::string> texts;
    bool broken = false;

    [[nodiscard]] Intents::Kept take() noexcept override { return {texts, false}; }
    bool add(std::string_view intent, std::string_view /*instead*/) noexcept override {
        if (!broken) texts.emplace_back(intent);
        return !broken;
    }
    void forget() noexcept override { texts.clear(); }

    [[nodiscard]] bool names(std::string_view key) const {
        return std::any_of(texts.begin(), texts.end(), [&](const std::string& text) {
            const auto intent = UntoldIntent::parse(text);
            return intent && !intent->is_namespace && intent->name == key;
        });
    }
};

struct World {
    World() {
        keeper.begin(kept, [this] { ++failures; });
        lost.keep_in(keeper);
    }
    Kept kept;
    int failures = 0;
    UntoldKeeper keeper;
    Unacknowledged lost{{.keys = 2, .key_bytes = 1000, .namespaces = 4, .zombies = 1}};
};

const std::string k1 = physical_key("app", "1");
const std::string k2 = physical_key("app", "2");
const std::string k3 = physical_key("app", "3");

}  // namespace

TEST_CASE("an intent says what it was made of", "[redis][r11]") {
    const ConnectionIdentity zombie{.client_id = 7, .run_id = "run"};
    for (const UntoldIntent& intent :
         {UntoldIntent{.name = k1}, UntoldIntent{.name = k1, .zombie = zombie}, UntoldIntent{.name = ""},
          UntoldIntent{.is_namespace = true, .name = "app"},
          UntoldIntent{.is_namespace = true, .name = ""}}) {
        const std::string text = intent.text();
        const std::optional<UntoldIntent> again = UntoldIntent::parse(text);
        REQUIRE(again);
        CHECK(again->is_namespace == intent.is_namespace);
        CHECK(again->name == intent.name);
        CHECK(again->zombie == intent.zombie);
    }
    for (const char* const text : {"", "x", "k", "k\x05run", "k\x03run1234567"}) {
        INFO(text);
        CHECK_FALSE(UntoldIntent::parse(text));
    }
}

TEST_CASE("what is unacknowledged is kept once, with the connection that may still bring it",
          "[redis][r10][r11]") {
    World world;
    world.lost.add(k1);
    world.lost.add(k1);
    CHECK(world.kept.texts.size() == 1);
    const ConnectionIdentity zombie{.client_id = 7, .run_id = "run"};
    world.lost.add(k1, zombie);
    world.lost.add(k1, zombie);
    REQUIRE(world.kept.texts.size() == 2);
    CHECK(UntoldIntent::parse(world.kept.texts[1])->zombie == zombie);
    world.lost.add(k2, ConnectionIdentity{});
    REQUIRE(world.kept.texts.size() == 3);
    CHECK(UntoldIntent::parse(world.kept.texts[2])->is_namespace);
    CHECK(UntoldIntent::parse(world.kept.texts[2])->name == "app");
    world.lost.add_namespace("other");
    CHECK(UntoldIntent::parse(world.kept.texts[3])->name == "other");
    CHECK(world.failures == 0);
    world.kept.broken = true;
    world.lost.add_namespace("third");
    CHECK(world.failures == 1);
}

// What is kept has no such bound, so it names the keys for which the namespace stands.
TEST_CASE("keys for which their namespace stands by now are kept all the same", "[redis][r11]") {
    World world;
    for (const std::string& key : {k1, k2, k3}) world.lost.add(key);
    REQUIRE(world.lost.keys() == 0);
    const std::string late = physical_key("app", "late");
    world.lost.add(late);
    for (const std::string& key : {k1, k2, k3, late}) CHECK(world.kept.names(key));
}

// Its lock may be held by a thread that only the parent has.
TEST_CASE("a child of fork does not wait for an intent that its parent was keeping",
          "[redis][r11][r33][fork]") {
    class Slow final : public Intents {
      public:
        [[nodiscard]] Intents::Kept take() noexcept override { return {}; }
        bool add(std::string_view, std::string_view) noexcept override {
            entered.release();
            leave.acquire();
            return true;
        }
        void forget() noexcept override {}
        std::binary_semaphore entered{0};
        std::binary_semaphore leave{0};
    } slow;
    int failures = 0;
    UntoldKeeper keeper;
    keeper.begin(slow, [&] { ++failures; });
    Unacknowledged lost;
    lost.keep_in(keeper);
    std::thread other([&] { lost.add(k1); });
    slow.entered.acquire();
    const bool went_on = smartcache_test::in_child([&] {
        lost.add(k2);
        keeper.forget_if([] { return true; });
        return failures == 1 && lost.distrusts(k2);
    });
    slow.leave.release();
    other.join();
    CHECK(went_on);
    CHECK(failures == 0);
}

TEST_CASE("what could not be kept is kept when it is added again", "[redis][r11]") {
    World world;
    const ConnectionIdentity zombie{.client_id = 7, .run_id = "run"};
    const auto add_all = [&] {
        world.lost.add(k1);
        world.lost.add(k2, zombie);
        world.lost.add_namespace("other");
    };
    world.kept.broken = true;
    add_all();
    CHECK(world.failures == 3);
    world.kept.broken = false;
    add_all();
    CHECK(world.kept.texts.size() == 3);
    CHECK(world.kept.names(k1));
    add_all();
    CHECK(world.kept.texts.size() == 3);
}

TEST_CASE("a clear is kept, though its namespace stands for keys already", "[redis][r11]") {
    World world;
    for (const std::string& key : {k1, k2, k3}) world.lost.add(key);
    REQUIRE(world.lost.keys() == 0);
    world.lost.add_namespace("app");
    REQUIRE(world.kept.texts.size() == 4);
    CHECK(UntoldIntent::parse(world.kept.texts[3])->is_namespace);
    world.lost.add_namespace("app");
    CHECK(world.kept.texts.size() == 4);
}

TEST_CASE("what is kept is forgotten when nothing is unacknowledged", "[redis][r11]") {
    World world;
    const auto settled = [&] { return world.lost.empty(); };
    world.lost.add(k1);
    world.lost.add(k2);
    const Unacknowledged::Batch first = world.lost.next(1);
    world.lost.acknowledged(first);
    world.keeper.forget_if(settled);
    CHECK(world.kept.texts.size() == 2);
    world.lost.acknowledged(world.lost.next(10));
    world.keeper.forget_if(settled);
    CHECK(world.kept.texts.empty());
}

}  // namespace untold_test
