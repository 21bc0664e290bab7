// A user's whole program, built in each of the ways the library can be used. EXPECT_JSON and EXPECT_REDIS:
// whether this way of building has that part.

#include <smartcache/smartcache.hpp>

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace sc = smartcache;

static_assert(SMARTCACHE_HAS_JSON == EXPECT_JSON);
static_assert(SMARTCACHE_HAS_REDIS == EXPECT_REDIS);

int main() {
    sc::SmartCache<sc::BytesCodec> bytes{{.memory = {.capacity = 100}}};
    bytes.set("greeting", "hello");
    const auto greeting = bytes.get<std::string>("greeting");
    if (!greeting || *greeting != "hello" || bytes.get<std::string>("farewell")) {
        std::puts("SmartCache<BytesCodec> does not give back what was set");
        return 1;
    }
#if SMARTCACHE_HAS_JSON
    sc::SmartCache<sc::JsonCodec> json{{.memory = {.capacity = 100}}};
    json.set("answer", 42);
    const auto answer = json.get<int>("answer");
    if (!answer || *answer != 42) {
        std::puts("SmartCache<JsonCodec> does not give back what was set");
        return 1;
    }
#endif
#if SMARTCACHE_HAS_DISK
    const auto directory =
        std::filesystem::temp_directory_path() / ("smartcache-consumer-" + std::to_string(::getpid()));
    {
        sc::SmartCache<sc::BytesCodec> disk{
            {.memory = {.enabled = false}, .disk = {.enabled = true, .path = directory.string()}}};
        disk.set("greeting", "hello");
        const auto kept = disk.get<std::string>("greeting");
        if (!kept || *kept != "hello" || kept.tier() != sc::TierId::disk) {
            std::puts("the disk does not give back what was set");
            return 1;
        }
    }
    std::filesystem::remove_all(directory);
#endif
    std::puts("ok");
}
