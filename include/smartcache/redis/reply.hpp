#pragma once

#include <hiredis/hiredis.h>
#include <hiredis/read.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace smartcache::inline v0::detail {

/// One answer of the server.
struct Reply {
    enum class Kind : std::uint8_t { nil, text, status, integer, error, array };
    Kind kind = Kind::nil;
    std::int64_t integer = 0;
    std::string text;  ///< of text, status and error
    std::vector<Reply> elements;

    [[nodiscard]] bool is_text() const noexcept { return kind == Kind::text; }
    [[nodiscard]] bool is_error() const noexcept { return kind == Kind::error; }
    [[nodiscard]] bool is_integer(std::int64_t value) const noexcept {
        return kind == Kind::integer && integer == value;
    }
    [[nodiscard]] bool is_status(std::string_view value) const noexcept {
        return kind == Kind::status && text == value;
    }
    /// Whether it is an error whose first word is `code`.
    [[nodiscard]] bool is_error(std::string_view code) const noexcept {
        return is_error() && text.substr(0, code.size()) == code;
    }
};

/// Takes answers out of a stream of bytes, with hiredis' reader.
///
/// The bytes come from a server that may lie. hiredis allocates what an array header claims ("*2147483647"),
/// so arrays longer than any that we ask for are refused before that; what a bulk header claims is allocated
/// only as the bytes arrive, and the caller stops feeding beyond its limit (`unparsed`).
class ReplyReader {
  public:
    ReplyReader() : reader_(redisReaderCreateWithFunctions(functions())) {
        if (reader_ == nullptr) throw std::bad_alloc();
        reader_->privdata = this;
    }
    ReplyReader(const ReplyReader&) = delete;
    ReplyReader& operator=(const ReplyReader&) = delete;

    /// @return false when there is no memory
    [[nodiscard]] bool feed(std::span<const char> bytes) noexcept {
        return redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) == REDIS_OK;
    }

    enum class Next { reply, incomplete, broken };
    /// Tries to complete the next answer; `reply()` holds it until the next call.
    [[nodiscard]] Next next() {
        void* done = nullptr;
        if (redisReaderGetReply(reader_.get(), &done) != REDIS_OK) return Next::broken;
        return done == nullptr ? Next::incomplete : Next::reply;
    }
    [[nodiscard]] Reply& reply() noexcept { return is_array_ ? array_ : single_; }
    [[nodiscard]] const char* problem() const noexcept { return reader_->errstr; }

    /// Bytes that were fed and belong to an answer that is not complete.
    [[nodiscard]] std::size_t unparsed() const noexcept { return reader_->len - reader_->pos; }

    /// For answers that are longer than most, and for arrays in them that are.
    void expect_arrays_of(std::size_t elements, std::size_t nested) noexcept {
        most_ = elements;
        most_nested_ = nested;
    }

  private:
    static constexpr std::size_t most_elements = 64;
    static constexpr std::size_t most_kept = 8;

    bool allows(std::size_t count, bool nested) noexcept {
        if (!nested) left_in_all_ = most_in_all_;
        if (count > (nested ? most_nested_ : most_) || count > left_in_all_) return false;
        left_in_all_ -= count;
        return true;
    }

    /// Where the answer that hiredis is about to give us belongs. nullptr: a lie, refused.
    static Reply* place(const redisReadTask* task, Reply::Kind kind) noexcept {
        Reply* reply = nullptr;
        if (task->parent == nullptr) {
            auto& reader = *static_cast<ReplyReader*>(task->privdata);
            reader.is_array_ = kind == Reply::Kind::array;
            reply = &reader.reply();
        } else {
            auto* const parent = static_cast<Reply*>(task->parent->obj);
            const auto index = static_cast<std::size_t>(task->idx);
            if (parent == nullptr || index >= parent->elements.size()) return nullptr;
            reply = &parent->elements[index];
        }
        reply->kind = kind;
        // The next array is as long as this one, more often than not, and its texts take the place of this one's.
        if (kind != Reply::Kind::array || reply->elements.size() > most_kept) reply->elements.clear();
        if (kind == Reply::Kind::nil || kind == Reply::Kind::integer || kind == Reply::Kind::array)
            reply->text.clear();
        reply->integer = 0;
        return reply;
    }

    static void* make_string(const redisReadTask* task, char* bytes, std::size_t size) noexcept {
        const Reply::Kind kind = task->type == REDIS_REPLY_ERROR    ? Reply::Kind::error
                                 : task->type == REDIS_REPLY_STATUS ? Reply::Kind::status
                                                                    : Reply::Kind::text;
        Reply* const reply = place(task, kind);
        if (reply == nullptr) return nullptr;
        try {
            // A new one takes half as long to make as an old one takes to grow.
            if (size > reply->text.capacity())
                reply->text = std::string(bytes, size);
            else
                reply->text.assign(bytes, size);
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
        return reply;
    }
    template <class Size>  // int in hiredis 0.14, size_t since 1.0
    static void* make_array(const redisReadTask* task, Size size) noexcept {
        const auto count = static_cast<std::size_t>(size);
        if (!static_cast<ReplyReader*>(task->privdata)->allows(count, task->parent != nullptr))
            return nullptr;
        Reply* const reply = place(task, Reply::Kind::array);
        if (reply == nullptr) return nullptr;
        try {
            reply->elements.resize(count);
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
        return reply;
    }
    static void* make_integer(const redisReadTask* task, long long value) noexcept {
        Reply* const reply = place(task, Reply::Kind::integer);
        if (reply != nullptr) reply->integer = value;
        return reply;
    }
    static void* make_nil(const redisReadTask* task) noexcept { return place(task, Reply::Kind::nil); }
    // RESP3 only, which we never ask for.
    static void* make_double(const redisReadTask*, double, char*, std::size_t) noexcept { return nullptr; }
    static void* make_bool(const redisReadTask*, int) noexcept { return nullptr; }
    static void free_reply(void*) noexcept {}

    template <class Functions>
    static constexpr Functions make_functions() noexcept {
        Functions all{};
        all.createString = &make_string;
        all.createArray = &make_array;
        all.createInteger = &make_integer;
        all.createNil = &make_nil;
        if constexpr (requires { all.createDouble; }) all.createDouble = &make_double;
        if constexpr (requires { all.createBool; }) all.createBool = &make_bool;
        all.freeObject = &free_reply;
        return all;
    }
    static redisReplyObjectFunctions* functions() noexcept {
        static constinit redisReplyObjectFunctions all = make_functions<redisReplyObjectFunctions>();
        return &all;
    }

    struct Free {
        void operator()(redisReader* reader) const noexcept { redisReaderFree(reader); }
    };
    Reply single_;
    Reply array_;  // apart: what it has allocated is used again
    bool is_array_ = false;
    std::size_t most_ = most_elements;
    std::size_t most_nested_ = most_elements;
    std::size_t most_in_all_ = std::size_t{1} << 20U;
    std::size_t left_in_all_ = 0;
    std::unique_ptr<redisReader, Free> reader_;
};

}  // namespace smartcache::inline v0::detail
