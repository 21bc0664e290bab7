#pragma once

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "disk_files.hpp"

namespace bench {

/// A connection for each session; disk_rivals.hpp tells the settings of all stores.
class Sqlite {
  public:
    static constexpr const char* name = "SQLite";
    static constexpr bool reopened = false;
    static constexpr std::size_t most = 50'000;
    explicit Sqlite(const Setup& setup) : setup_(setup) {
        const Connection connection(setup);
        // A twentieth of SQLite's 4096-byte pages.
        connection.run(
            std::string("CREATE TABLE IF NOT EXISTS entries(name BLOB PRIMARY KEY, content BLOB)") +
            (setup.value_size < 180 ? " WITHOUT ROWID" : ""));
    }
    void flush() {}

  private:
    class Connection {
      public:
        explicit Connection(const Setup& setup) {
            const std::string file = (setup.directory / "entries.db").string();
            if (sqlite3_open(file.c_str(), &handle) != SQLITE_OK) {
                sqlite3_close(handle);
                throw std::runtime_error("sqlite3_open: " + file);
            }
            try {
                run("PRAGMA journal_mode=WAL");
                run("PRAGMA synchronous=OFF");
                run("PRAGMA mmap_size=" + std::to_string(std::uint64_t{1} << 30U));
                run("PRAGMA cache_size=-" + std::to_string(2 * setup.bytes / 1024));  // KiB when negative
                sqlite3_busy_timeout(handle, 10'000);
            } catch (...) {
                sqlite3_close(handle);
                throw;
            }
        }
        ~Connection() { sqlite3_close(handle); }
        Connection(const Connection&) = delete;
        Connection& operator=(const Connection&) = delete;
        void run(const std::string& command) const {
            check(sqlite3_exec(handle, command.c_str(), nullptr, nullptr, nullptr));
        }
        [[nodiscard]] sqlite3_stmt* prepare(const char* text) const {
            sqlite3_stmt* statement = nullptr;
            check(sqlite3_prepare_v2(handle, text, -1, &statement, nullptr));
            return statement;
        }
        void check(int result) const {
            if (result != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(handle));
        }
        sqlite3* handle = nullptr;
    };

  public:
    class Session {
      public:
        explicit Session(const Sqlite& store) : connection_(store.setup_) {
            put_ = connection_.prepare("INSERT OR REPLACE INTO entries VALUES(?, ?)");
            get_ = connection_.prepare("SELECT content FROM entries WHERE name = ?");
        }
        ~Session() {
            sqlite3_finalize(put_);
            sqlite3_finalize(get_);
        }
        Session(const Session&) = delete;
        Session& operator=(const Session&) = delete;
        void put(std::string_view key, std::string_view value) {
            bind(put_, 1, key);
            bind(put_, 2, value);
            (void)sqlite3_step(put_);
            connection_.check(sqlite3_reset(put_));  // repeats the error of the step
        }
        bool get(std::string_view key, std::string& out) {
            bind(get_, 1, key);
            const bool found = sqlite3_step(get_) == SQLITE_ROW;
            if (found) {
                const auto* const content = static_cast<const char*>(sqlite3_column_blob(get_, 0));
                out.assign(content, static_cast<std::size_t>(sqlite3_column_bytes(get_, 0)));
            }
            connection_.check(sqlite3_reset(get_));
            return found;
        }

      private:
        /// The text outlives the step.
        void bind(sqlite3_stmt* statement, int at, std::string_view text) const {
            connection_.check(
                sqlite3_bind_blob(statement, at, text.data(), static_cast<int>(text.size()), nullptr));
        }
        Connection connection_;
        sqlite3_stmt* put_ = nullptr;
        sqlite3_stmt* get_ = nullptr;
    };

  private:
    Setup setup_;
};

}  // namespace bench
