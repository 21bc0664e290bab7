#include <smartcache/redis/epochs.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "support/catch.hpp"

namespace epochs_test {

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

TEST_CASE("of several hashes that are learnt of one by one, each says what it was at a time",
          "[redis][epochs][r18]") {
    std::atomic<std::uint64_t> learnt{0};
    Epochs one(learnt);
    Epochs two(learnt);
    CHECK_FALSE(one.knows("a"));
    (void)one.observe("a", EpochFields{5, "t", 100});
    const std::uint64_t before_two = learnt;
    CHECK(one.tags_at("a", before_two) == 100);
    CHECK(two.tags_at("a", before_two) == 0);
    (void)two.observe("a", EpochFields{5, "u", 70});
    (void)one.observe("a", EpochFields{5, "t", 100});  // nothing new
    const std::uint64_t both = learnt;
    CHECK(both == before_two + 1);
    CHECK(two.tags_at("a", before_two) == 0);  // it was not known then
    CHECK(two.tags_at("a", both) == 70);
    (void)two.observe("a", EpochFields{5, "u", 80});
    CHECK(two.tags_at("a", both) == 70);
    CHECK(two.tags_at("a", learnt) == 80);
    CHECK(one.tags_at("a", learnt) == 100);
    (void)two.observe("a", EpochFields{5, "u", 90});
    CHECK(two.tags_at("a", both) == 0);  // forgotten: too old
    CHECK(two.tags_at("a", both + 1) == 80);
    CHECK(two.tags_at("a", std::numeric_limits<std::uint64_t>::max()) == 90);
    CHECK(two.tags_at("b", learnt) == 0);
}

}  // namespace epochs_test
