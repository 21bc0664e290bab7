// Random exchanges: nothing crashes, and nothing is served that its response forbids.
#include <smartcache/http/middleware.hpp>

#include <random>
#include <string>
#include <vector>

#include "http/support/site.hpp"
#include "support/catch.hpp"

namespace middleware_fuzz_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;
using smartcache_test::Site;

namespace {

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_() % n); }
    bool one_in(std::size_t n) { return below(n) == 0; }
    template <class T>
    const T& pick(const std::vector<T>& from) {
        return from[below(from.size())];
    }
    std::string noise(std::size_t most) {
        std::string text(below(most + 1), ' ');
        for (char& c : text) c = static_cast<char>(engine_());
        return text;
    }

  private:
    std::mt19937_64 engine_;
};

const std::vector<std::string> words{"max-age=60",
                                     "max-age=0",
                                     "max-age=-1",
                                     "max-age=\"5\"",
                                     "s-maxage=9",
                                     "no-cache",
                                     "no-cache=\"a\"",
                                     "no-store",
                                     "private",
                                     "private=\"x\"",
                                     "public",
                                     "must-revalidate",
                                     "proxy-revalidate",
                                     "must-understand",
                                     "immutable",
                                     "stale-while-revalidate=5",
                                     "stale-if-error=50",
                                     "only-if-cached",
                                     "max-stale",
                                     "max-stale=3",
                                     "min-fresh=4",
                                     "\"",
                                     ",",
                                     "=",
                                     "=\"",
                                     "\\",
                                     "max-age=99999999999999999999",
                                     "MAX-AGE = 3"};
const std::vector<std::string> names{"Cache-Control",
                                     "Vary",
                                     "ETag",
                                     "Last-Modified",
                                     "Expires",
                                     "Date",
                                     "Age",
                                     "Pragma",
                                     "Set-Cookie",
                                     "Content-Length",
                                     "Connection",
                                     "If-None-Match",
                                     "If-Modified-Since",
                                     "Range",
                                     "Authorization",
                                     "Cookie",
                                     "Accept",
                                     "Location",
                                     "Content-Location",
                                     "Transfer-Encoding",
                                     "Content-Range",
                                     "CDN-Cache-Control",
                                     "If-Range",
                                     "X"};
const std::vector<std::string> values{"*",
                                      "Accept",
                                      "accept-encoding, X",
                                      "\"1\"",
                                      "W/\"1\"",
                                      "\"2\"",
                                      "abc",
                                      "0",
                                      "5",
                                      "-1",
                                      "Sun, 09 Sep 2001 01:46:40 GMT",
                                      "Sunday, 09-Sep-01 01:46:40 GMT",
                                      "Sun, 99 Sep 2001",
                                      "bytes=0-1",
                                      "bytes=7-",
                                      "bytes 0-6/14",
                                      "bytes 7-13/14",
                                      "max-age=5",
                                      "private, max-age=9",
                                      "a=b",
                                      "gzip;q=0.5, br",
                                      "/a",
                                      "//b/c",
                                      "../x",
                                      "http://a.example/a",
                                      "close, X",
                                      "no-cache",
                                      ""};
const std::vector<int> statuses{200, 200, 200, 200, 203, 204, 206, 301, 302, 304, 304,
                                404, 412, 416, 500, 503, 299, 599, 999, 100, 0,   -5};

Headers random_headers(Dice& dice) {
    Headers h;
    for (std::size_t n = dice.below(6); n > 0; --n) {
        std::string value = dice.pick(values);
        const std::string& name = dice.pick(names);
        if (name == "Cache-Control") {
            value.clear();
            for (std::size_t k = dice.below(4) + 1; k > 0; --k)
                value += dice.pick(words) + (dice.one_in(3) ? " , " : ",");
        }
        if (dice.one_in(12)) value = dice.noise(40);
        h.add(dice.one_in(40) ? dice.noise(10) : name, value);
    }
    return h;
}

}  // namespace

TEST_CASE("parsers of fields survive any bytes", "[http][fuzz]") {
    Dice dice(7);
    for (int i = 0; i < 30'000; ++i) {
        std::string text;
        for (std::size_t k = dice.below(5); k > 0; --k)
            text += dice.one_in(2) ? dice.pick(words) : dice.noise(12);
        const Headers h{
            {"Cache-Control", text}, {"Vary", text}, {"Age", text}, {"Date", text}, {"Expires", text}};
        (void)CacheControl::parse(h);
        (void)vary_names(h);
        (void)normalised_field(h, "Accept");
        (void)age_value(h);
        (void)parse_date(text, {});
        (void)Headers::from_wire(text);
        (void)resolve(Url{"http", "h", "/a/b", ""}, text);
        (void)parse_url(text);
        (void)rule_path(text);
        (void)canonical_query(text);
        (void)matches_glob(text, dice.noise(10));
        (void)parse_entity_tag(text);
        (void)parse_range(text, 10);
        (void)parse_content_range(text);
        (void)response_control(h, {"Cache-Control"});
    }
    SUCCEED();
}

TEST_CASE("random exchanges never serve what was marked for somebody else, and never throw", "[http][fuzz]") {
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
        Dice dice(seed);
        MiddlewareOptions options = dice.one_in(2) ? Site::plain() : MiddlewareOptions{};
        options.grace = dice.one_in(2) ? 0s : 20s;
        options.cache_private = dice.one_in(4);
        options.cache_authenticated = dice.one_in(3);
        options.generate_etags = dice.one_in(3);
        Site site(options);
        for (int i = 0; i < 200; ++i) {
            CAPTURE(seed, i);
            const std::string user = dice.one_in(2) ? "ann" : "bob";
            Request request = Site::request(dice.one_in(8)   ? "POST"
                                            : dice.one_in(6) ? "HEAD"
                                                             : "GET",
                                            "/" + std::to_string(dice.below(3)), random_headers(dice));
            const bool parts = dice.one_in(3);
            if (parts) request.headers.set("Range", dice.one_in(2) ? "bytes=0-6" : "bytes=7-13");
            const bool authorized = dice.one_in(4);
            request.headers.remove("Authorization");
            if (authorized) request.headers.add("Authorization", user);

            // The body says for whom it was made, and whether it may be kept at all.
            bool asked = false;
            Response made;
            made.status = dice.pick(statuses);
            made.headers = random_headers(dice);
            if (parts) {
                made.status = 206;
                made.headers.set("Content-Range", dice.one_in(2) ? "bytes 0-6/14" : "bytes 7-13/14");
                if (dice.one_in(2)) made.headers.set("ETag", "\"1\"");
            }
            const CacheControl control = response_control(made.headers, options.targeted_fields);
            const bool forbidden = (control.no_store && !control.must_understand) ||
                                   (control.private_.whole && !options.cache_private);
            const bool for_all = control.public_ || control.s_maxage.present || control.must_revalidate;
            std::string body = forbidden ? "FORBIDDEN" : !authorized || for_all ? "anybody" : "for " + user;
            if (made.status == 304 || request.method == "HEAD") body.clear();
            made.body = body;
            const Response got = site.web.handle(request, [&](const Request&) {
                asked = true;
                if (dice.one_in(20)) return Response{503, {}, ""};
                return made;
            });
            if (!asked) {
                REQUIRE(got.body.view().find("FORBIDDEN") == std::string_view::npos);
                if (got.body.view().starts_with("for ")) {
                    REQUIRE(authorized);
                    REQUIRE(got.body.view().starts_with("for " + user));
                }
                REQUIRE(got.body.view().find(user == "ann" ? "for bob" : "for ann") ==
                        std::string_view::npos);
            }
            for (const auto [name, value] : got.headers) {
                REQUIRE(http::detail::is_token(name));
                REQUIRE(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
            }
            if (dice.one_in(3)) site.clock.advance(Duration(static_cast<std::int64_t>(dice.below(30'000))));
        }
        const MiddlewareStats stats = site.web.counters();
        CHECK(stats.cache_hits + stats.cache_misses + stats.cache_skips == stats.total_requests);
        CHECK(stats.total_requests == 200);
    }
}

}  // namespace middleware_fuzz_test
