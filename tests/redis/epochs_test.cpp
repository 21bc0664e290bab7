#include <smartcache/redis/epochs.hpp>

#include <optional>
#include <string>

#include "support/catch.hpp"

using smartcache::detail::EpochFields;
using smartcache::detail::Epochs;
using Epoch = std::optional<std::uint64_t>;

TEST_CASE("the newest epoch seen is the one to write", "[redis][epochs]") {
    Epochs epochs;
    CHECK_FALSE(epochs.known("a"));
    CHECK(epochs.observe("a", EpochFields{5, "t"}).epoch == Epoch(5));
    CHECK(epochs.observe("a", EpochFields{9, "t"}).epoch == Epoch(9));
    CHECK(epochs.known("a") == Epoch(9));
    CHECK(epochs.observe("a", EpochFields{9, "t"}).epoch == Epoch(9));
    CHECK_FALSE(epochs.known("b"));
}

TEST_CASE("a missing hash is a loss: the next epoch must be above what was seen", "[redis][epochs]") {
    Epochs epochs;
    CHECK(epochs.observe("a", std::nullopt).too_low == 0);
    (void)epochs.observe("a", EpochFields{5, "t"});
    const Epochs::Seen seen = epochs.observe("a", std::nullopt);
    CHECK_FALSE(seen.epoch);
    CHECK(seen.too_low == 5);
    CHECK_FALSE(epochs.known("a"));  // what is written with 5 now might be cleared
    CHECK(epochs.highest("a") == 5);
    CHECK(epochs.observe("a", EpochFields{6, "u"}).epoch == Epoch(6));
    CHECK(epochs.known("a") == Epoch(6));
}

TEST_CASE("another token is believed only with a higher epoch", "[redis][epochs]") {
    Epochs epochs;
    (void)epochs.observe("a", EpochFields{5, "t"});
    for (const std::uint64_t low : {4U, 5U}) {
        const Epochs::Seen seen = epochs.observe("a", EpochFields{low, "u"});
        CHECK_FALSE(seen.epoch);
        CHECK(seen.too_low == 5);
    }
    CHECK(epochs.observe("a", EpochFields{6, "u"}).epoch == Epoch(6));
}

TEST_CASE("an answer that was overtaken, or an old snapshot, asks for at least what was seen",
          "[redis][epochs]") {
    Epochs epochs;
    (void)epochs.observe("a", EpochFields{9, "t"});
    const Epochs::Seen seen = epochs.observe("a", EpochFields{5, "t"});
    CHECK_FALSE(seen.epoch);
    CHECK(seen.too_low == 9);
    CHECK(seen.token == "t");
    CHECK(epochs.known("a") == Epoch(9));
}

// Several threads that met a new namespace at once used to raise its epoch one after the other, each making
// invalid what the one before had just written.
TEST_CASE("a miss that was overtaken by the first epoch asks for that epoch again", "[redis][epochs]") {
    Epochs epochs;
    (void)epochs.observe("a", EpochFields{5, "t"});
    const Epochs::Seen seen = epochs.observe("a", std::nullopt);
    CHECK(seen.too_low == 5);
    CHECK(seen.token == "t");
    CHECK(epochs.observe("a", EpochFields{5, "t"}).epoch == Epoch(5));
    CHECK(epochs.known("a") == Epoch(5));
}

TEST_CASE("only digits in range are an epoch", "[redis][epochs]") {
    using smartcache::detail::parse_epoch;
    CHECK(parse_epoch("1700000000000000") == Epoch(1700000000000000));
    for (const char* bad :
         {"", "0", "-1", "1e9", " 1", "1 ", "nan", "9007199254740993", "99999999999999999999"})
        CHECK_FALSE(parse_epoch(bad));
}

TEST_CASE("the hashes of different namespaces, and records, have different names", "[redis][epochs]") {
    using smartcache::detail::epoch_key;
    CHECK(epoch_key("") == "sc:{epochs}:0:");
    CHECK(epoch_key("app") == "sc:{epochs}:3:app");
}
