#include <smartcache/core/sha256.hpp>

#include <algorithm>
#include <string>
#include <string_view>

#include "support/catch.hpp"

using smartcache::detail::Sha256;

TEST_CASE("SHA-256 gives the digests of FIPS 180-4", "[core][sha256]") {
    CHECK(Sha256::hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(Sha256::hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(Sha256::hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(Sha256::hex(std::string(1'000'000, 'a')) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 of a text does not depend on the pieces it comes in", "[core][sha256]") {
    std::string text;
    for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
    for (std::size_t size = 0; size <= text.size(); ++size) {
        const std::string_view whole = std::string_view(text).substr(0, size);
        Sha256 at_once;
        at_once.update(whole);
        const Sha256::Digest digest = at_once.finish();
        for (const std::size_t piece : {1U, 63U, 64U, 65U, 200U}) {
            Sha256 in_pieces;
            for (std::string_view rest = whole; !rest.empty();
                 rest.remove_prefix(std::min(piece, rest.size())))
                in_pieces.update(rest.substr(0, piece));
            REQUIRE((in_pieces.finish() == digest));
        }
    }
}

TEST_CASE("a copy of a started SHA-256 goes on by itself", "[core][sha256]") {
    Sha256 first;
    first.update("ab");
    Sha256 second = first;
    first.update("c");
    second.update("d");
    CHECK((first.finish() != second.finish()));
    Sha256 abc;
    abc.update("abc");
    Sha256 again;
    again.update("ab");
    again.update("c");
    CHECK((abc.finish() == again.finish()));
}
