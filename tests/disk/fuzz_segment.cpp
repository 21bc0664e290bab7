// libFuzzer's entry: -DSMARTCACHE_FUZZ=ON with clang builds `disk_fuzz_segment`.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "disk/fuzz_segment.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static smartcache_test::SegmentFuzz fuzz;
    const std::string wrong = fuzz.run(std::as_bytes(std::span(data, size)));
    if (wrong.empty()) return 0;
    (void)std::fprintf(stderr, "%s\n", wrong.c_str());
    std::abort();
}
