#include <smartcache/disk/directory.hpp>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace directory_test {

using namespace smartcache_test;
namespace fs = std::filesystem;

namespace {

/// The message with which a tier on `path` is refused; empty when it is not.
std::string refusal(const fs::path& path) {
    sc::DiskOptions options;
    options.path = path;
    options.max_size = 1U << 20U;
    try {
        const sc::DiskTier tier(options);
    } catch (const sc::ConfigError& error) {
        REQUIRE(error.problems().size() == 1);
        CHECK(error.problems()[0].field == "disk.path");
        return error.what();
    }
    return "";
}

unsigned mode_of(const fs::path& path) {
    struct stat status {};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status.st_mode & 0777U;
}

using smartcache_test::has_text;

}  // namespace

TEST_CASE("the directory is created for its owner alone, and so are its files", "[disk][directory]") {
    DiskFixture disk;
    disk.options.path = disk.dir / "a" / "b";
    const auto old_mask = ::umask(0);
    disk.open();
    disk.set("k", "v");
    REQUIRE(disk.tier->flush(60s));
    ::umask(old_mask);
    CHECK(mode_of(disk.options.path) == 0700);
    std::size_t files = 0;
    for (const auto& entry : fs::directory_iterator(disk.options.path)) {
        ++files;
        CHECK(mode_of(entry.path()) == 0600);
    }
    CHECK(files == 4);  // LOCK, MANIFEST, KILLS, one segment
}

TEST_CASE("a directory that others may write to is closed to them", "[disk][directory]") {
    const TempDir dir;
    fs::create_directory(dir / "store");
    REQUIRE(::chmod((dir / "store").c_str(), 0777) == 0);
    CHECK(refusal(dir / "store").empty());
    CHECK(mode_of(dir / "store") == 0700);
}

TEST_CASE("a second cache in the same process is refused with path and pid, until the first is gone",
          "[disk][directory]") {
    DiskFixture disk;
    disk.open();
    const std::string message = refusal(disk.options.path);
    CHECK_THAT(message, has_text(disk.options.path.string()));
    CHECK_THAT(message, has_text("process " + std::to_string(::getpid())));
    disk.set("k", "v");
    CHECK(disk.get("k") == "v");  // the refused one has done no harm
    disk.close();
    CHECK(refusal(disk.options.path).empty());
}

TEST_CASE("a cache in another process is named by its pid, and its death frees the directory",
          "[disk][directory]") {
    const TempDir dir;
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        sc::DiskOptions options;
        options.path = dir / "store";
        options.max_size = 1U << 20U;
        const sc::DiskTier tier(options);
        (void)!::write(ready[1], "x", 1);
        for (;;) ::pause();
    }
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    CHECK_THAT(refusal(dir / "store"), has_text("process " + std::to_string(child)));
    REQUIRE(::kill(child, SIGKILL) == 0);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    ::close(ready[0]);
    ::close(ready[1]);
    CHECK(refusal(dir / "store").empty());
}

TEST_CASE("a symbolic link is refused, with a slash behind it as well", "[disk][directory]") {
    const TempDir dir;
    fs::create_directory(dir / "real");
    fs::create_directory_symlink(dir / "real", dir / "link");
    CHECK_THAT(refusal(dir / "link"), has_text("symbolic link"));
    CHECK_THAT(refusal((dir / "link").string() + "/"), has_text("symbolic link"));
    CHECK(fs::is_empty(dir / "real"));
}

TEST_CASE("a file in the place of the directory is refused with errno and path", "[disk][directory]") {
    const TempDir dir;
    write_bytes(dir / "file", {});
    CHECK_THAT(refusal(dir / "file"), has_text("Not a directory") && has_text((dir / "file").string()));
    CHECK_THAT(refusal(dir / "file" / "below"), has_text("errno"));
}

TEST_CASE("a directory of another user is refused and left alone", "[disk][directory]") {
    if (::geteuid() != 0) return;  // only root can give a directory away
    const TempDir dir;
    fs::create_directory(dir / "store");
    REQUIRE(::chown((dir / "store").c_str(), 12345, 12345) == 0);
    CHECK_THAT(refusal(dir / "store"), has_text("belongs to user 12345"));
    CHECK(fs::is_empty(dir / "store"));
}

TEST_CASE("a directory without permission is refused with errno", "[disk][directory]") {
    const TempDir dir;
    fs::create_directory(dir / "closed");
    const bool root = ::geteuid() == 0;  // then as somebody whom permissions concern
    REQUIRE(::chmod(dir.path().c_str(), 0755) == 0);
    if (root) REQUIRE(::chown((dir / "closed").c_str(), 12345, 12345) == 0);
    REQUIRE(::chmod((dir / "closed").c_str(), 0500) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (root && ::setuid(12345) != 0) ::_exit(2);
        sc::DiskOptions options;
        options.path = dir / "closed" / "store";
        try {
            const sc::DiskTier tier(options);
            ::_exit(4);
        } catch (const sc::ConfigError& error) {
            const std::string text = error.what();
            ::_exit(text.find("Permission denied") != std::string::npos &&
                            text.find("errno 13") != std::string::npos &&
                            text.find(options.path.string()) != std::string::npos
                        ? 0
                        : 5);
        }
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a directory with other people's files is refused before anything is changed in it",
          "[disk][directory]") {
    const TempDir dir;
    write_bytes(dir / "letter.txt", sc::as_byte_view("dear"));
    // It used to be closed to others first: a root that named /tmp by mistake shut everybody out of it.
    REQUIRE(::chmod(dir.path().c_str(), 0777) == 0);
    CHECK_THAT(refusal(dir.path()), has_text("letter.txt"));
    CHECK(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()) == 1);
    CHECK(mode_of(dir.path()) == 0777);
}

TEST_CASE("a store of another format version is refused with both versions, and not changed",
          "[disk][directory]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", "v");
    disk.close();
    const auto manifest = sc::detail::encode_manifest({.version = 1, .token = 5});
    write_bytes(disk.options.path / "MANIFEST", manifest);
    const Snapshot before(disk.options.path);
    CHECK_THAT(refusal(disk.options.path), has_text("version 2") && has_text("version 1"));
    for (const auto& [name, bytes] : before.files())
        if (name != "LOCK") CHECK(read_bytes(disk.options.path / name) == bytes);
}

TEST_CASE("a store of another format version is started empty when that was asked for, and says so",
          "[disk][directory]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", "v");
    disk.close();
    write_bytes(disk.options.path / "MANIFEST", sc::detail::encode_manifest({.version = 3, .token = 5}));
    std::string said;
    disk.context.logger = [&](sc::LogLevel, std::string_view message) { said += message; };
    disk.options.on_other_format = sc::DiskMismatch::start_empty;
    disk.open();
    CHECK_FALSE(disk.get("k"));
    CHECK_THAT(said, has_text("starting empty") && has_text("version 3"));
    CHECK(disk.segments().empty());
    disk.set("k", "new");
    disk.options.on_other_format = sc::DiskMismatch::refuse;
    disk.reopen();
    CHECK(disk.get("k") == "new");
}

TEST_CASE("the directory itself is locked too: a lock file that was cleaned away lets nobody in",
          "[disk][directory]") {
    DiskFixture disk;
    disk.open();
    fs::remove(disk.options.path / "LOCK");
    CHECK_THAT(refusal(disk.options.path), has_text("another cache uses it"));
}

TEST_CASE("a damaged manifest starts the store empty and says so", "[disk][directory]") {
    DiskFixture disk;
    std::string said;
    disk.context.logger = [&](sc::LogLevel, std::string_view text) { said += text; };
    disk.open();
    disk.set("k", "v");
    disk.close();
    write_bytes(disk.options.path / "MANIFEST", sc::as_byte_view("rubbish"));
    disk.open();
    CHECK_FALSE(disk.get("k"));
    CHECK_THAT(said, has_text("manifest was damaged"));
    CHECK(disk.set("k", "w") == sc::TierStatus::ok);
    disk.reopen();
    CHECK(disk.get("k") == "w");
}

TEST_CASE("files of ours without a manifest are a creation that was cut short: the store starts empty",
          "[disk][directory]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", "v");
    disk.close();
    fs::remove(disk.options.path / "MANIFEST");
    disk.open();
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.segments().empty());
}

TEST_CASE("a segment that is a symbolic link is not followed", "[disk][directory]") {
    DiskFixture disk;
    disk.open();
    disk.close();
    write_bytes(disk.dir / "victim", sc::as_byte_view("precious"));
    fs::create_symlink(disk.dir / "victim", disk.options.path / "00000009.seg");
    disk.open();
    CHECK(disk.tier->stats().corrupt == 1);
    disk.close();
    CHECK(read_bytes(disk.dir / "victim").size() == 8);
    CHECK_FALSE(fs::is_symlink(fs::symlink_status(disk.options.path / "00000009.seg")));
}

}  // namespace directory_test
