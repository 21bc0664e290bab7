#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <smartcache/codec/codec.hpp>

namespace smartcache::inline v0 {

/// Text and bytes as they are, and nothing else. Needs no library.
class BytesCodec {
  public:
    static constexpr CodecId id = CodecId::bytes;
    using default_type = std::string;

    void encode(const std::string& value, ByteSink& out) const { out.append(value); }
    void encode(const std::vector<std::byte>& value, ByteSink& out) const { out.append(value); }

    template <class T>
    requires std::same_as<T, std::string> || std::same_as<T, std::vector<std::byte>>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        if constexpr (std::same_as<T, std::string>)
            return std::string(as_text_view(bytes));
        else
            return std::vector<std::byte>(bytes.begin(), bytes.end());
    }
};

static_assert(CodecFor<BytesCodec, std::string> && CodecFor<BytesCodec, std::vector<std::byte>>);
static_assert(!CodecFor<BytesCodec, int>);

}  // namespace smartcache::inline v0
