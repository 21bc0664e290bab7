#include <smartcache/redis/socket.hpp>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <smartcache/redis/resolve.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace socket_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using sc::detail::Deadline;
using sc::detail::Socket;

namespace {

/// A socket that is connected to a descriptor of ours.
class Connected {
  public:
    Connected() {
        const std::string path = (dir_ / "s").string();
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        REQUIRE(path.size() < sizeof address.sun_path);
        std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
        listening_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::bind(listening_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(listening_, 1) == 0);
        REQUIRE(ours.start_connect(sc::detail::unix_address(path)) == Socket::Connect::done);
        theirs_ = ::accept(listening_, nullptr, nullptr);
        REQUIRE(theirs_ >= 0);
    }
    Connected(const Connected&) = delete;
    Connected& operator=(const Connected&) = delete;
    ~Connected() {
        hang_up();
        ::close(listening_);
    }
    void say(std::string_view text) const {
        REQUIRE(::write(theirs_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
    void hang_up() noexcept {
        if (theirs_ >= 0) ::close(theirs_);
        theirs_ = -1;
    }
    /// What one `receive` gives.
    Socket::Received receive(bool waits, std::string& text) {
        std::array<char, 64> buffer{};
        std::size_t count = 0;
        const Socket::Received result = ours.receive(buffer, count, waits);
        text.assign(buffer.data(), count);
        return result;
    }

    Socket ours;

  private:
    smartcache_test::TempDir dir_;
    int listening_ = -1;
    int theirs_ = -1;
};

}  // namespace

TEST_CASE("a socket waits for what arrives only when it may, and then not for long", "[redis][socket]") {
    Connected pair;
    std::string text;
    CHECK_FALSE(pair.ours.may_wait(Deadline::in(1h)));
    pair.ours.let_wait();
    REQUIRE(pair.ours.may_wait(Deadline::in(1h)));
    CHECK(pair.receive(false, text) == Socket::Received::nothing);
    // Nothing ever comes, and yet both return.
    CHECK(pair.receive(true, text) == Socket::Received::nothing);
    CHECK(pair.ours.wait(POLLIN, Deadline::in(1ms)) == 0);

    pair.say("now");
    CHECK(pair.receive(true, text) == Socket::Received::some);
    CHECK(text == "now");
}

TEST_CASE("a socket that waits receives what comes meanwhile", "[redis][socket]") {
    Connected pair;
    pair.ours.let_wait();
    std::string text;
    std::thread other([&] { pair.say("later"); });
    // How often depends on when the other thread runs.
    Socket::Received result = Socket::Received::nothing;
    while (result == Socket::Received::nothing) result = pair.receive(true, text);
    other.join();
    CHECK(result == Socket::Received::some);
    CHECK(text == "later");
    pair.hang_up();
    CHECK(pair.receive(true, text) == Socket::Received::closed);
}

TEST_CASE("a socket does not wait when the deadline could pass meanwhile", "[redis][socket]") {
    Connected pair;
    pair.ours.let_wait();
    CHECK_FALSE(pair.ours.may_wait(Deadline::in(0ms)));
    CHECK_FALSE(pair.ours.may_wait(Deadline::in(2ms)));
}

TEST_CASE("a socket that may wait still sends only what fits", "[redis][socket]") {
    Connected pair;
    pair.ours.let_wait();
    std::string much(std::size_t{1} << 20U, 'x');
    std::array<iovec, 1> parts{};
    ssize_t sent = 1;
    while (sent > 0) {
        parts[0] = {much.data(), much.size()};
        sent = pair.ours.send(parts);
    }
    CHECK(sent == 0);  // full, and it has come back to say so
}

TEST_CASE("a socket that was closed or moved from does not wait", "[redis][socket]") {
    Connected pair;
    pair.ours.let_wait();
    Socket other = std::move(pair.ours);
    CHECK(other.may_wait(Deadline::in(1h)));
    CHECK_FALSE(pair.ours.may_wait(Deadline::in(1h)));
    other.close();
    CHECK_FALSE(other.may_wait(Deadline::in(1h)));
}

}  // namespace socket_test
