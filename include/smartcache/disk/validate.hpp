#pragma once

#include <string>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/disk/options.hpp>

namespace smartcache::inline v0 {

/// Appends what is impossible in `options` to `problems`. Looks at no file: what the directory is like shows
/// when the tier is constructed.
inline void validate(const DiskOptions& options, std::vector<ConfigProblem>& problems) {
    const auto refuse = [&problems](const char* field, std::string value, const char* allowed) {
        problems.push_back({field, std::move(value), allowed});
    };
    const std::string& path = options.path.native();
    if (path.empty() || path.find('\0') != std::string::npos ||
        !options.path.lexically_normal().has_relative_path())
        refuse("disk.path", "\"" + path + "\"", "the path of a directory for this cache alone");
    if (options.ttl <= Duration::zero())
        refuse("disk.ttl", std::to_string(options.ttl.count()) + "ms", "more than 0ms");
    if (options.max_size < (std::uint64_t{1} << 20U))
        refuse("disk.max_size", std::to_string(options.max_size), "at least 1048576 (1 MiB)");

    if (options.queue_size < (std::uint64_t{64} << 10U))
        refuse("disk.queue_size", std::to_string(options.queue_size), "at least 65536 (64 KiB)");
    if (options.block_timeout < Duration::zero())
        refuse("disk.block_timeout", std::to_string(options.block_timeout.count()) + "ms", "0ms or more");

    const auto check_choice = [&refuse](const char* field, auto choice, int count, const char* allowed) {
        const int number = static_cast<int>(choice);
        if (number < 0 || number >= count) refuse(field, std::to_string(number), allowed);
    };
    check_choice("disk.durability", options.durability, 3, "none, process_crash or power_loss");
    check_choice("disk.write", options.write, 2, "through or behind");
    check_choice("disk.on_full", options.on_full, 2, "drop or block");
    check_choice("disk.fill", options.fill, 2, "on_set or on_evict");
    check_choice("disk.admission", options.admission, 2, "always or second_sight");
    check_choice("disk.on_other_format", options.on_other_format, 2, "refuse or start_empty");
    check_choice("disk.io", options.io, 2, "mmap or pread");
}

}  // namespace smartcache::inline v0
