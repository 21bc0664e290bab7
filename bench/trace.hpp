#pragma once

#include <lz4frame.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

// Request traces, format CTRACE01 in one LZ4 frame. Little endian, after decompression:
//
//     8 bytes "CTRACE01"; u64 n, requests; u64 flags: 1 sizes, 2 operations, 4 times; u64 key[n];
//     with flag 1 u32 size[n], bytes of the object; with flag 2 u8 op[n], 0 read, 1 write; with flag 4 u32
//     time[n]

namespace bench {

/// A file is no trace, or a damaged one.
class TraceError : public std::runtime_error {
  public:
    TraceError(const std::filesystem::path& file, std::string_view reason)
        : std::runtime_error(file.string() + ": " + std::string(reason)) {}
};

struct Trace {
    std::string name;                  ///< file name up to the first dot
    std::vector<std::uint64_t> keys;   ///< one per request
    std::vector<std::uint32_t> sizes;  ///< one per request, or empty
    std::size_t unique_keys = 0;
    std::uint64_t unique_bytes = 0;  ///< sum of each key's first size; 0 without sizes
};

namespace detail {

inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file) throw TraceError(path, "cannot be read");
    return bytes;
}

/// All frames' contents; every byte of the input must belong to a complete frame.
inline std::string decompress(const std::filesystem::path& path, const std::string& packed) {
    struct Context {
        LZ4F_dctx* handle = nullptr;
        ~Context() { LZ4F_freeDecompressionContext(handle); }
    } context;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context.handle, LZ4F_VERSION))) throw std::bad_alloc();
    std::string plain;
    std::vector<char> chunk(std::size_t{1} << 20U);
    std::size_t at = 0;
    std::size_t wanted = 1;  // 0: a frame has just ended
    while (at < packed.size()) {
        std::size_t produced = chunk.size();
        std::size_t consumed = packed.size() - at;
        wanted =
            LZ4F_decompress(context.handle, chunk.data(), &produced, packed.data() + at, &consumed, nullptr);
        if (LZ4F_isError(wanted)) throw TraceError(path, LZ4F_getErrorName(wanted));
        if (produced == 0 && consumed == 0) break;
        plain.append(chunk.data(), produced);
        at += consumed;
    }
    if (wanted != 0) throw TraceError(path, "the LZ4 frame is cut off");
    return plain;
}

/// `count` little-endian integers from `bytes` at `offset`, which moves on.
template <class T>
std::vector<T> read_array(const std::filesystem::path& path, const std::string& bytes, std::size_t& offset,
                          std::uint64_t count) {
    static_assert(std::endian::native == std::endian::little);
    if (count > (bytes.size() - offset) / sizeof(T)) throw TraceError(path, "shorter than its header says");
    std::vector<T> values(static_cast<std::size_t>(count));
    std::memcpy(values.data(), bytes.data() + offset, values.size() * sizeof(T));
    offset += values.size() * sizeof(T);
    return values;
}

}  // namespace detail

/// Reads a whole trace into memory. Throws: TraceError for anything that is not exactly one.
inline Trace read_trace(const std::filesystem::path& path) {
    const std::string bytes = detail::decompress(path, detail::read_file(path));
    constexpr std::string_view magic = "CTRACE01";
    if (bytes.compare(0, magic.size(), magic) != 0) throw TraceError(path, "not a CTRACE01 trace");
    std::size_t offset = magic.size();
    const auto header = detail::read_array<std::uint64_t>(path, bytes, offset, 2);
    const std::uint64_t count = header[0];
    const std::uint64_t flags = header[1];
    if (flags > 7) throw TraceError(path, "unknown flags");
    Trace trace;
    trace.name = path.filename().string();
    trace.name.resize(std::min(trace.name.find('.'), trace.name.size()));
    trace.keys = detail::read_array<std::uint64_t>(path, bytes, offset, count);
    if ((flags & 1U) != 0) trace.sizes = detail::read_array<std::uint32_t>(path, bytes, offset, count);
    if ((flags & 2U) != 0) (void)detail::read_array<std::uint8_t>(path, bytes, offset, count);
    if ((flags & 4U) != 0) (void)detail::read_array<std::uint32_t>(path, bytes, offset, count);
    if (offset != bytes.size()) throw TraceError(path, "longer than its header says");

    std::unordered_map<std::uint64_t, std::uint32_t> first;
    for (std::size_t i = 0; i < trace.keys.size(); ++i) {
        const std::uint32_t size = trace.sizes.empty() ? 0 : trace.sizes[i];
        if (first.try_emplace(trace.keys[i], size).second) trace.unique_bytes += size;
    }
    trace.unique_keys = first.size();
    return trace;
}

}  // namespace bench
