#pragma once

#include <string_view>

namespace smartcache::inline v0::detail {

/// A script that the server runs as one step, and the SHA-1 under which it keeps it (EVALSHA). A wrong SHA-1
/// would only cost a round trip each time, because the answer NOSCRIPT makes us send the text.
struct RedisScript {
    std::string_view text;
    std::string_view sha1;
};

/// Replaces a record by another one if it still has the expected version (R7).
/// KEYS: record. ARGV: its 8 stamp bytes, the new record, lifetime in ms or "0" for ever. @return 1 or 0
inline constexpr RedisScript replace_script{
    R"(if redis.call('TYPE', KEYS[1]).ok ~= 'string' then return 0 end
if redis.call('GETRANGE', KEYS[1], 6, 13) ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1)",
    "07c32b5503cd7ecf4b5041882a4920418dd924c3"};

/// Deletes a record if it still has the expected version. KEYS: record. ARGV: its 8 stamp bytes. @return 1 or 0
inline constexpr RedisScript end_script{
    R"(if redis.call('TYPE', KEYS[1]).ok ~= 'string' then return 0 end
if redis.call('GETRANGE', KEYS[1], 6, 13) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1]))",
    "3b6c1e6aaa6d512bc7914a0dd9d89612887cc245"};

/// Deletes what is not a record, unless something else is there by now.
/// KEYS: record. ARGV: its first 64 bytes (`RecordHead::max_size`) or all of them, or nothing when it was no
/// string at all. A shorter one must be the whole value: every record begins with a truncated one. @return keys
/// deleted
inline constexpr RedisScript drop_script{
    R"(local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return 0 end
if kind == 'string' and (#ARGV == 0 or redis.call('GETRANGE', KEYS[1], 0, 63) ~= ARGV[1]) then return 0 end
if kind ~= 'string' and #ARGV ~= 0 then return 0 end
return redis.call('DEL', KEYS[1]))",
    "2e9de0ee26a5969b0865cc017153ab6ec593b937"};

/// Gives a namespace a new epoch: later than its old one, later than ARGV[1], and not before the server's
/// time (R17). KEYS: the namespace's hash. ARGV: an epoch that is too low, a token for a hash that has none,
/// "clear" or "keep", and the token that the epoch was seen with: "keep" changes nothing if the hash is whole
/// and its epoch higher, or the very one that was seen. @return epoch and token, as text
inline constexpr RedisScript epoch_script{
    R"(if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local text = redis.call('HGET', KEYS[1], 'clear') or ''
local token = redis.call('HGET', KEYS[1], 'token')
if token == '' then token = false end
local low = tonumber(ARGV[1])
local old = 0
if string.match(text, '^%d+$') and #text <= 16 then old = tonumber(text) else token = false end
if old > 9007199254740000 then old = 0; token = false end
if ARGV[3] == 'keep' and token and (old > low or (old == low and token == ARGV[4])) then return {text, token} end
local time = redis.call('TIME')
local epoch = math.max(old + 1, low + 1, time[1] * 1000000 + time[2])
text = string.format('%.0f', epoch)
token = token or ARGV[2]
redis.call('HSET', KEYS[1], 'clear', text, 'token', token)
return {text, token})",
    "9e2e1e1e87a42e21eaadbc7fabd2b480ce454df3"};

}  // namespace smartcache::inline v0::detail
