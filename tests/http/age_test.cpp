#include <smartcache/http/semantics/age.hpp>

#include <initializer_list>

#include "support/catch.hpp"

namespace age_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;

TEST_CASE("RFC 9111 section 5.1: the first member of Age counts, what is no number is ignored",
          "[http][age]") {
    struct Case {
        const char* text;
        std::int64_t seconds;
    };
    for (const Case& c : std::initializer_list<Case>{{"7200", 7200},
                                                     {"0", 0},
                                                     {"10, 20", 10},
                                                     {"20, 10", 20},
                                                     {" 5 ", 5},
                                                     {"-5", 0},
                                                     {"abc", 0},
                                                     {"1.5", 0},
                                                     {"5 s", 0},
                                                     {"", 0},
                                                     {", 5", 0},
                                                     {"7200;foo=bar", 0},
                                                     {"99999999999999999999", std::int64_t{1} << 31}}) {
        CAPTURE(c.text);
        CHECK(age_value(Headers{{"Age", c.text}}) == Seconds(c.seconds));
    }
    CHECK(age_value(Headers{}) == Seconds(0));
    CHECK(age_value(Headers{{"Age", "1"}, {"Age", "100"}}) == Seconds(1));
}

TEST_CASE("RFC 9111 section 4.2.3: the age on arrival is the greater of apparent age and Age plus delay",
          "[http][age]") {
    const WallTime sent{1'000'000'000s};
    const WallTime got = sent + 2s;
    CHECK(initial_age(Headers{}, sent, got) == 2s);  // the delay alone
    CHECK(initial_age(Headers{{"Age", "10"}}, sent, got) == 12s);
    CHECK(initial_age(Headers{{"Date", format_date(sent - 60s)}}, sent, got) == 62s);
    CHECK(initial_age(Headers{{"Date", format_date(sent - 60s)}, {"Age", "100"}}, sent, got) == 102s);
    // A Date in the future, or none that can be read, is not an age.
    CHECK(initial_age(Headers{{"Date", format_date(got + 1h)}}, sent, got) == 2s);
    CHECK(initial_age(Headers{{"Date", "yesterday"}}, sent, got) == 2s);
    // Half a second is not an age: HTTP dates are whole seconds.
    CHECK(initial_age(Headers{{"Date", format_date(sent)}}, sent + 900ms, sent + 900ms) == 0s);
    // A clock that jumped back between request and response.
    CHECK(initial_age(Headers{}, got, sent) == 0s);
}

}  // namespace age_test
