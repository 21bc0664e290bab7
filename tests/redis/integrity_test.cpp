#include <smartcache/redis/integrity.hpp>

#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace integrity_test {

namespace sc = smartcache;
using sc::detail::IntegrityKey;

namespace {

std::string hex(const IntegrityKey::Mac& mac) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : mac) {
        text += digits[std::to_integer<std::size_t>(byte >> 4U)];
        text += digits[std::to_integer<std::size_t>(byte & std::byte{15})];
    }
    return text;
}

std::string signed_record(const IntegrityKey& integrity, std::string_view key, std::string_view record) {
    sc::ByteSink bytes;
    bytes.append(record);
    integrity.sign(key, bytes);
    return std::string(sc::as_text_view(bytes.view()));
}

std::optional<std::string> verified(const IntegrityKey& integrity, std::string_view key,
                                    const std::string& bytes) {
    const std::optional<sc::ByteView> record = integrity.verified(key, sc::as_byte_view(bytes));
    if (!record) return std::nullopt;
    return std::string(sc::as_text_view(*record));
}

}  // namespace

TEST_CASE("HMAC-SHA-256 gives the values of RFC 4231", "[redis][integrity]") {
    CHECK(hex(IntegrityKey(std::string(20, '\x0b')).mac({"Hi There"})) ==
          "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    CHECK(hex(IntegrityKey("Jefe").mac({"what do ya ", "", "want for nothing?"})) ==
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CHECK(hex(IntegrityKey(std::string(131, '\xaa'))
                  .mac({"Test Using Larger Than Block-Size Key - Hash Key First"})) ==
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST_CASE("what was signed stays where it was, and comes back", "[redis][integrity]") {
    const IntegrityKey integrity("a secret");
    for (const std::string& record : {std::string(), std::string("r"), std::string(100'000, 'r')}) {
        const std::string bytes = signed_record(integrity, "key", record);
        CHECK(bytes.size() == record.size() + IntegrityKey::mac_size);
        CHECK((bytes.substr(0, record.size()) == record));
        CHECK((verified(integrity, "key", bytes) == record));
    }
    // Persistent: what older versions have signed must still be believed.
    sc::ByteSink bytes;
    bytes.append("record");
    IntegrityKey("secret").sign("key", bytes);
    CHECK(
        (IntegrityKey("secret").mac({"smartcache record", {"\3\0\0\0\0\0\0\0", 8}, "key", "record"}) == [&] {
            IntegrityKey::Mac mac{};
            std::memcpy(mac.data(), bytes.data() + 6, mac.size());
            return mac;
        }()));
}

TEST_CASE("any change of a signed record, its key or the secret is noticed", "[redis][integrity]") {
    const IntegrityKey integrity("a secret");
    const std::string bytes = signed_record(integrity, "key", "the record");
    for (std::size_t i = 0; i < bytes.size(); ++i)
        for (int bit = 0; bit < 8; ++bit) {
            std::string changed = bytes;
            changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
            CHECK_FALSE(verified(integrity, "key", changed));
        }
    for (std::size_t size = 0; size < bytes.size(); ++size)
        CHECK_FALSE(verified(integrity, "key", bytes.substr(0, size)));
    CHECK_FALSE(verified(integrity, "key", bytes + "x"));
    CHECK_FALSE(verified(integrity, "other", bytes));
    CHECK_FALSE(verified(IntegrityKey("another secret"), "key", bytes));
    // Bytes do not pass from key to record.
    CHECK_FALSE(verified(integrity, "keyt", signed_record(integrity, "key", "the").substr(1)));
    CHECK_FALSE(verified(integrity, "ke", "y" + bytes));
}

}  // namespace integrity_test
