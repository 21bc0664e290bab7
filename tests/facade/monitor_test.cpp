#include <smartcache/facade/monitor.hpp>

#include <set>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include <smartcache/codec/json.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"

namespace monitor_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

namespace {

void use(sc::SmartCache<>& cache) {
    cache.set("k", 1);
    (void)cache.get<int>("k");
    (void)cache.get<int>("k");
    (void)cache.get<int>("absent");
}

}  // namespace

TEST_CASE("statistics as JSON carry the members by their names", "[monitor]") {
    sc::SmartCache<> cache;
    use(cache);
    const auto json = nlohmann::json::parse(sc::to_json(cache.stats()));
    CHECK(json.at("hits") == 2);
    CHECK(json.at("misses") == 1);
    CHECK(json.at("size") == 1);
    CHECK(json.at("memory").at("hits") == 2);
    CHECK(json.at("redis").at("breaker") == "none");
    CHECK(json.at("disk").at("latency").at("p50_ns") == 0);
}

TEST_CASE("the Prometheus text names each family once, typed before its samples", "[monitor]") {
    sc::SmartCache<> cache;
    use(cache);
    std::istringstream text(sc::prometheus_text(cache));
    std::set<std::string> families;
    std::string family;
    std::string type;
    bool found = false;
    for (std::string line; std::getline(text, line);) {
        if (line.rfind("# HELP ", 0) == 0) {
            family = line.substr(7, line.find(' ', 7) - 7);
            CHECK(families.insert(family).second);
            type.clear();
        } else if (line.rfind("# TYPE ", 0) == 0) {
            CHECK(line.substr(7, family.size()) == family);
            type = line.substr(8 + family.size());
            CHECK((type == "counter" || type == "gauge"));
            CHECK((type == "counter") == (family.size() > 6 && family.substr(family.size() - 6) == "_total"));
        } else {
            CHECK_FALSE(type.empty());
            const std::string name = line.substr(0, line.find_first_of("{ "));
            CHECK(name == family);
            CHECK_NOTHROW(std::stod(line.substr(line.rfind(' '))));
            found = found || line == "smartcache_hits_total 2";
        }
    }
    CHECK(found);
}

TEST_CASE("the monitor's report has the documented fields", "[monitor]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    use(cache);
    clock.advance(3s);
    const auto json = nlohmann::json::parse(sc::Monitor{cache}.report());
    CHECK(json.at("uptime_seconds") == 3.0);
    CHECK(json.at("hit_ratio").get<double>() == Approx(2.0 / 3));
    CHECK(json.at("total_requests") == 3);
    CHECK(json.at("cache_hits") == 2);
    CHECK(json.at("cache_misses") == 1);
    CHECK(json.at("requests_per_second").get<double>() == Approx(1));
    CHECK(json.at("memory_usage_mb").get<double>() > 0);
    CHECK(json.at("cache_health").at("memory") == true);
    CHECK(json.at("cache_health").at("redis") == false);
}

}  // namespace monitor_test
