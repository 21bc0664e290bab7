#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include <smartcache/core/hash.hpp>
#include <smartcache/disk/disk_tier.hpp>
#include <smartcache/record/key.hpp>

#include "disk_files.hpp"

#if SMARTCACHE_BENCH_HAS_LEVELDB
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#endif
#if SMARTCACHE_BENCH_HAS_LMDB
#include <lmdb.h>
#endif
#if SMARTCACHE_BENCH_HAS_ROCKSDB
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#endif
#if SMARTCACHE_BENCH_HAS_SQLITE3
#include "disk_sqlite.hpp"
#endif

// The stores that are compared, behind one shape: a store is opened on a directory; a session, one for each thread,
// puts and gets; `get` copies the value into a string that is used again and again; `flush` hands over what the
// process still holds back. What fails throws. None waits for the device.
//
// Settings; what is not named is as the library has it by default:
//
// SmartCache    `DiskTier::write` and `read` with physical keys and record versions, made in each call: what the
//               facade calls. Values live for a week, as the facade would have it. Not `Tier::set`, which does not
//               tell a full queue from an error; a put that the queue rejects is flushed for and tried again.
//               mmap, checksum on each read, survives kill -9 once flushed. 1 GiB, so that nothing is evicted.
// RocksDB       Tuned for gets of single keys: Bloom filter of 10 bits, hashed data blocks, LRU block cache of
//               twice the data, all of which is in it when gets are measured. No compression. Checksums (XXH3 in
//               this version's blocks) are verified when a block enters the cache, not on each read; no mmap.
//               No write-ahead log, so flush writes the memtable, without which nothing would be on disk; to be
//               reopened with the log, which then is what survives kill -9.
// LevelDB       Bloom filter of 10 bits, LRU block cache of twice the data, write buffer of 64 MiB as in RocksDB, no
//               compression, `verify_checksums`. The log cannot be switched off; it is not synced.
// LMDB          MDB_NOSYNC | MDB_WRITEMAP: puts are in the page cache when they return. One transaction per
//               put; gets renew a read transaction each. No checksums.
// SQLite        WAL, synchronous=off, one transaction per put, prepared statements, mmap, a page cache of twice the
//               data; WITHOUT ROWID for rows below a twentieth of a page, as its manual advises. No checksums.
// Files         Each value is a file, written under another name and renamed, in 256 directories; read by open, fstat,
//               read, close. No checksums.
namespace bench {

class Smart {
  public:
    static constexpr const char* name = "SmartCache";
    static constexpr bool reopened = true;
    static constexpr std::size_t most = 500'000;
    explicit Smart(const Setup& setup)
        : tier_({.path = setup.directory, .max_size = std::uint64_t{1} << 30U}) {}
    void flush() {
        if (!tier_.flush(std::chrono::minutes(1)))
            throw std::runtime_error("a flush took longer than a minute");
    }

    class Session {
      public:
        explicit Session(Smart& store) : store_(store) {}
        void put(std::string_view key, std::string_view value) {
            using smartcache::TierStatus;
            const std::string physical = smartcache::physical_key({}, key);
            smartcache::RecordView record;
            record.key = physical;
            record.payload = smartcache::as_byte_view(value);
            record.raw_size = value.size();
            record.kind = smartcache::ValueKind::bytes;
            record.stamp = smartcache::random_stamp();
            record.created = smartcache::SystemClock::instance().wall();
            record.expires = record.created + std::chrono::hours(24 * 7);
            for (;;) {
                const TierStatus status = store_.tier_.write(record);
                if (status == TierStatus::ok) return;
                if (status != TierStatus::rejected) throw std::runtime_error("a put failed");
                ++rejected_;
                store_.flush();
            }
        }
        bool get(std::string_view key, std::string& out) {
            return store_.tier_.read(smartcache::physical_key({}, key), [&out](const auto& record) {
                out.assign(smartcache::as_text_view(record.payload));
            }) == smartcache::TierStatus::ok;
        }
        /// Puts that had to be tried again.
        [[nodiscard]] std::uint64_t rejected() const noexcept { return rejected_; }

      private:
        Smart& store_;
        std::uint64_t rejected_ = 0;
    };

  private:
    smartcache::DiskTier tier_;
};

#if SMARTCACHE_BENCH_HAS_ROCKSDB
class RocksDb {
  public:
    static constexpr const char* name = "RocksDB";
    static constexpr bool reopened = true;
    static constexpr std::size_t most = 500'000;
    explicit RocksDb(const Setup& setup) {
        write_.disableWAL = !setup.logged;
        rocksdb::BlockBasedTableOptions table;
        table.block_cache = rocksdb::NewLRUCache(2 * setup.bytes);
        table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
        table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
        table.checksum = rocksdb::kXXH3;
        rocksdb::Options options;
        options.create_if_missing = true;
        options.compression = rocksdb::kNoCompression;
        options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
        rocksdb::DB* opened = nullptr;
        check(rocksdb::DB::Open(options, setup.directory.string(), &opened));
        db_.reset(opened);
    }
    void flush() { check(db_->Flush({})); }

    class Session {
      public:
        explicit Session(RocksDb& store) : store_(store) {}
        void put(std::string_view key, std::string_view value) {
            check(store_.db_->Put(store_.write_, key, value));
        }
        bool get(std::string_view key, std::string& out) {
            const rocksdb::Status status =
                store_.db_->Get({}, store_.db_->DefaultColumnFamily(), key, &pinned_);
            if (!status.IsNotFound()) check(status);
            if (status.ok()) out.assign(pinned_.data(), pinned_.size());
            pinned_.Reset();
            return status.ok();
        }

      private:
        RocksDb& store_;
        rocksdb::PinnableSlice pinned_;
    };

  private:
    static void check(const rocksdb::Status& status) {
        if (!status.ok()) throw std::runtime_error(status.ToString());
    }
    std::unique_ptr<rocksdb::DB> db_;
    rocksdb::WriteOptions write_;
};
#endif

#if SMARTCACHE_BENCH_HAS_LMDB
class Lmdb {
  public:
    static constexpr const char* name = "LMDB";
    static constexpr bool reopened = true;
    static constexpr std::size_t most = 500'000;
    explicit Lmdb(const Setup& setup) {
        check(mdb_env_create(&environment_));
        try {
            check(mdb_env_set_mapsize(environment_, std::size_t{2} << 30U));
            check(mdb_env_open(environment_, setup.directory.c_str(), MDB_NOSYNC | MDB_WRITEMAP | MDB_NOTLS,
                               0600));
            MDB_txn* transaction = nullptr;
            check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
            check(mdb_dbi_open(transaction, nullptr, 0, &table_));
            check(mdb_txn_commit(transaction));
        } catch (...) {
            mdb_env_close(environment_);
            throw;
        }
    }
    ~Lmdb() { mdb_env_close(environment_); }
    Lmdb(const Lmdb&) = delete;
    Lmdb& operator=(const Lmdb&) = delete;
    void flush() {}

    class Session {
      public:
        explicit Session(Lmdb& store) : store_(store) {
            check(mdb_txn_begin(store.environment_, nullptr, MDB_RDONLY, &reading_));
            mdb_txn_reset(reading_);
        }
        ~Session() { mdb_txn_abort(reading_); }
        Session(const Session&) = delete;
        Session& operator=(const Session&) = delete;
        void put(std::string_view key, std::string_view value) {
            MDB_txn* transaction = nullptr;
            check(mdb_txn_begin(store_.environment_, nullptr, 0, &transaction));
            MDB_val name_of = of(key);
            MDB_val content = of(value);
            if (const int error = mdb_put(transaction, store_.table_, &name_of, &content, 0)) {
                mdb_txn_abort(transaction);
                check(error);
            }
            check(mdb_txn_commit(transaction));
        }
        bool get(std::string_view key, std::string& out) {
            check(mdb_txn_renew(reading_));
            MDB_val name_of = of(key);
            MDB_val content{};
            const int error = mdb_get(reading_, store_.table_, &name_of, &content);
            if (error == 0) out.assign(static_cast<const char*>(content.mv_data), content.mv_size);
            mdb_txn_reset(reading_);
            if (error != MDB_NOTFOUND) check(error);
            return error == 0;
        }

      private:
        static MDB_val of(std::string_view text) { return {text.size(), const_cast<char*>(text.data())}; }
        Lmdb& store_;
        MDB_txn* reading_ = nullptr;
    };

  private:
    static void check(int error) {
        if (error != 0) throw std::runtime_error(mdb_strerror(error));
    }
    MDB_env* environment_ = nullptr;
    MDB_dbi table_ = 0;
};
#endif

#if SMARTCACHE_BENCH_HAS_LEVELDB
class LevelDb {
  public:
    static constexpr const char* name = "LevelDB";
    static constexpr bool reopened = true;
    static constexpr std::size_t most = 500'000;
    explicit LevelDb(const Setup& setup)
        : cache_(leveldb::NewLRUCache(2 * setup.bytes)), filter_(leveldb::NewBloomFilterPolicy(10)) {
        read_.verify_checksums = true;
        leveldb::Options options;
        options.create_if_missing = true;
        options.compression = leveldb::kNoCompression;
        options.write_buffer_size = std::size_t{64} << 20U;
        options.block_cache = cache_.get();
        options.filter_policy = filter_.get();
        leveldb::DB* opened = nullptr;
        check(leveldb::DB::Open(options, setup.directory.string(), &opened));
        db_.reset(opened);
    }
    void flush() {}

    class Session {
      public:
        explicit Session(LevelDb& store) : store_(store) {}
        void put(std::string_view key, std::string_view value) {
            check(store_.db_->Put({}, slice(key), slice(value)));
        }
        bool get(std::string_view key, std::string& out) {
            const leveldb::Status status = store_.db_->Get(store_.read_, slice(key), &out);
            if (!status.IsNotFound()) check(status);
            return status.ok();
        }

      private:
        static leveldb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
        LevelDb& store_;
    };

  private:
    static void check(const leveldb::Status& status) {
        if (!status.ok()) throw std::runtime_error(status.ToString());
    }
    std::unique_ptr<leveldb::Cache> cache_;
    std::unique_ptr<const leveldb::FilterPolicy> filter_;
    leveldb::ReadOptions read_;
    std::unique_ptr<leveldb::DB> db_;
};
#endif

}  // namespace bench
