#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/features.hpp>
#include <smartcache/record/record.hpp>

#if SMARTCACHE_HAS_LZ4
#include <lz4.h>
#endif

namespace smartcache::inline v0 {

/// LZ4 for the payloads of records: fast enough (about 0.5 GB/s in, 3 GB/s out) never to be the slow part of
/// a tier.
///
/// Without the lz4 component nothing is compressed, and compressed records cannot be read: a miss.
struct CompressionOptions {
    bool enabled = true;
    /// Values below this many bytes are stored as they are.
    std::size_t threshold = 1024;
};

namespace detail {

/// LZ4 cannot expand a byte to more than 255: a claim beyond that is a lie, refused before anything is
/// allocated.
[[nodiscard]] constexpr bool plausible_lz4_size(std::uint64_t raw, std::uint64_t stored) noexcept {
    return stored != 0 && raw / 255 <= stored &&
           raw <= static_cast<std::uint64_t>(std::numeric_limits<int>::max());
}

}  // namespace detail

/// Replaces the payload of `record` by its compressed form in `scratch`, when that saves at least one eighth.
/// @return whether it did; `scratch` must outlive the record then
[[nodiscard]] inline bool compress_payload([[maybe_unused]] RecordView& record,
                                           [[maybe_unused]] const CompressionOptions& options,
                                           [[maybe_unused]] ByteSink& scratch) {
#if SMARTCACHE_HAS_LZ4
    const std::size_t size = record.payload.size();
    if (!options.enabled || record.compressed || size < options.threshold || size == 0 ||
        size > static_cast<std::size_t>(LZ4_MAX_INPUT_SIZE))
        return false;
    scratch.clear();
    const std::size_t worth_it = size - size / 8;
    std::byte* const out = scratch.extend(worth_it);
    const int written = LZ4_compress_default(reinterpret_cast<const char*>(record.payload.data()),
                                             reinterpret_cast<char*>(out), static_cast<int>(size),
                                             static_cast<int>(worth_it));
    if (written <= 0) return false;  // did not fit: not worth it
    scratch.truncate(static_cast<std::size_t>(written));
    record.compressed = true;
    record.raw_size = size;
    record.payload = scratch.view();
    return true;
#else
    return false;
#endif
}

/// Writes the value of `record` to `destination`, which has room for `record.raw_size` bytes.
/// @return false when the payload is not what it claims to be (or is compressed, and this build has no LZ4)
[[nodiscard]] inline bool unpack_payload(const RecordView& record, std::byte* destination) noexcept {
    if (!record.compressed) {
        if (!record.payload.empty()) std::memcpy(destination, record.payload.data(), record.payload.size());
        return true;
    }
#if SMARTCACHE_HAS_LZ4
    if (!detail::plausible_lz4_size(record.raw_size, record.payload.size())) return false;
    const int size = LZ4_decompress_safe(
        reinterpret_cast<const char*>(record.payload.data()), reinterpret_cast<char*>(destination),
        static_cast<int>(record.payload.size()), static_cast<int>(record.raw_size));
    return size >= 0 && static_cast<std::uint64_t>(size) == record.raw_size;
#else
    return false;
#endif
}

/// Whether `unpack_payload` may be tried: checked before anything of `raw_size` is allocated.
[[nodiscard]] inline bool unpackable(const RecordView& record) noexcept {
    return !record.compressed ||
           (SMARTCACHE_HAS_LZ4 != 0 && detail::plausible_lz4_size(record.raw_size, record.payload.size()));
}

}  // namespace smartcache::inline v0
