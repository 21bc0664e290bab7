#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include <smartcache/redis/pipeline.hpp>

namespace smartcache::inline v0::detail {

/// A script that the server runs as one step, and the SHA-1 under which it keeps it (EVALSHA). A wrong SHA-1
/// would only cost a round trip each time, because the answer NOSCRIPT makes us send the text.
struct RedisScript {
    std::string_view text;
    std::string_view sha1;
};

/// Adds a run of a script on one key.
/// @param by_name  false after the answer NOSCRIPT: it was not run; sending the text runs it and makes it known
inline void add_script(Pipeline& commands, const RedisScript& script, bool by_name, std::string_view key,
                       std::span<const std::string_view> arguments) {
    std::vector<std::string_view> words{by_name ? "EVALSHA" : "EVAL", by_name ? script.sha1 : script.text,
                                        "1", key};
    words.insert(words.end(), arguments.begin(), arguments.end());
    commands.command(words);
}
inline void add_script(Pipeline& commands, const RedisScript& script, bool by_name, std::string_view key,
                       std::initializer_list<std::string_view> arguments) {
    add_script(commands, script, by_name, key, std::span(arguments.begin(), arguments.size()));
}

// Each of those that change something tells so (R9): ARGV has a channel, or nothing, the name of the stream that is the channel's
// history (history.hpp), or nothing where none is kept, and a message. Who cannot add it to the history ends that. A server
// that does not let it is found out by those changes that are no scripts.

inline constexpr std::string_view script_tells{R"(local function tell(channel, stream, message)
  if not channel or channel == '' then return end
  redis.pcall('PUBLISH', channel, message)
  if not stream or stream == '' then return end
  local most = math.floor(16777216 / math.max(#message, 256))
  local kept = redis.pcall('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', most, '*', 'm', message)
  if type(kept) == 'table' and kept.err then redis.call('DEL', stream) end
end
)"};

/// The text of a script that has the function `tell`.
template <const std::string_view& Body>
class TellingScript {
    static constexpr auto bytes = [] {
        std::array<char, script_tells.size() + Body.size()> all{};
        std::copy(Body.begin(), Body.end(), std::copy(script_tells.begin(), script_tells.end(), all.begin()));
        return all;
    }();

  public:
    static constexpr std::string_view text{bytes.data(), bytes.size()};
};

inline constexpr std::string_view replace_body{
    R"(local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= (ARGV[1] == '' and 'none' or 'string') then return 0 end
if kind == 'string' and redis.call('GETRANGE', KEYS[1], 6, 13) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
tell(ARGV[4], ARGV[5], ARGV[6])
return 1)"};
/// Replaces a record by another one if it still has the expected version (R7).
/// KEYS: record. ARGV: its 8 stamp bytes, or nothing for none that is there, the new record, its lifetime in ms, channel, stream, message.
/// @return 1 or 0
inline constexpr RedisScript replace_script{TellingScript<replace_body>::text,
                                            "20a1d8819b94adff01a480e5704819572e62dcdb"};

inline constexpr std::string_view end_body{
    R"(local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and (kind ~= 'none' or ARGV[1] ~= '') then return 0 end
if kind == 'string' and redis.call('GETRANGE', KEYS[1], 6, 13) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
tell(ARGV[4], ARGV[5], ARGV[6])
return 1)"};
/// Ends a record if it still has the expected version, or what others may have of one that is gone: leaves a tombstone, or
/// deletes it.
/// KEYS: record. ARGV: its 8 stamp bytes, or nothing for none that is there, a tombstone or nothing, its lifetime in ms, channel, stream, message.
/// @return 1 or 0
inline constexpr RedisScript end_script{TellingScript<end_body>::text,
                                        "655d78a2dc54b98c3bf2ef7dbb4deb7d169eebc0"};

/// Gives a lock back, if it is still that of the token. KEYS: lock. ARGV: token. @return 1 or 0
inline constexpr RedisScript unlock_script{
    R"(if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1]))",
    "708b61c8defb6a8962235c40975ef70c7ff1a0e0"};

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

inline constexpr std::string_view epoch_body{
    R"(if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
redis.pcall('HDEL', KEYS[1], '')
local had = redis.call('HMGET', KEYS[1], 'clear', 'token', 'tags', 'floor')
local function forget()
  if redis.call('HLEN', KEYS[1]) <= 4 then return end
  local gone = redis.pcall('UNLINK', KEYS[1])
  if type(gone) == 'table' then redis.call('DEL', KEYS[1]) end
end
local function number(text)
  local value = text and string.match(text, '^%d+$') and #text <= 16 and tonumber(text)
  if value and value <= 9007199254740000 then return value end
  return nil
end
local token = had[2]
if token == '' then token = false end
local low = tonumber(ARGV[1])
local old = number(had[1])
local tags = number(had[3])
local floor = number(had[4])
if not old or (not (tags and floor) and redis.call('HLEN', KEYS[1]) > 2) then token = false end
old = old or 0
tags = tags or 0
floor = floor or 0
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local whole = token and (old > low or (old == low and token == ARGV[4] and tags >= tonumber(ARGV[5])))
if whole and ARGV[3] == 'tag' then
  tags = math.max(tags + 1, now)
  if redis.call('HLEN', KEYS[1]) < 65536 then
    redis.call('HSET', KEYS[1], ARGV[6], string.format('%.0f', tags))
  else
    forget()
    floor = tags
  end
elseif not whole or ARGV[3] ~= 'keep' then
  old = math.max(old + 1, low + 1, now)
  token = token or ARGV[2]
  forget()
  floor = 0
end
local clear = string.format('%.0f', old)
tags = string.format('%.0f', tags)
floor = string.format('%.0f', floor)
if not whole or ARGV[3] ~= 'keep' then
  redis.call('HSET', KEYS[1], 'clear', clear, 'token', token, 'tags', tags, 'floor', floor)
  if ARGV[3] ~= 'keep' then
    tell(ARGV[7], ARGV[8], whole and ARGV[3] == 'tag' and ARGV[9] or ARGV[10])
  end
end
return {clear, token, tags, floor})"};
/// Changes a namespace's epochs (epochs.hpp): "clear" gives it a new one, later than the old one, later than ARGV[1] and not
/// before the server's time (R17), and forgets its tags, which that has ended; "tag" notes that the tag of ARGV[6] has
/// changed, now; "keep" changes nothing. The latter two do as "clear" does unless the hash is whole and its epoch higher than
/// ARGV[1], or the very one that was seen. Of too many tags none is remembered: all that is older ends.
/// KEYS: the namespace's hash. ARGV: an epoch that is too low, a token for a hash that has none, what to do, the token that
/// the epoch was seen with, the tags' sequence that was seen with it, the tag's field, channel, stream, a message that the tag
/// has changed, and one that the namespace was cleared. (A hash that was lost and is made anew ends nothing that others have
/// copies of: no message.) @return clear, token, tags, floor
///
/// A server that is full (maxmemory, noeviction) refuses a script its first write, if that may take memory, and none behind
/// it: HDEL takes none, and there is no field without a name.
inline constexpr RedisScript epoch_script{TellingScript<epoch_body>::text,
                                          "2549b5031b50452d1f27e890beb33e296ec55209"};

}  // namespace smartcache::inline v0::detail
