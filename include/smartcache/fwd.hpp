#pragma once

namespace smartcache::inline v0 {

class Clock;
class FakeClock;
class Tier;
struct Config;
struct EntryOptions;
struct ReadOptions;
struct Stats;
struct Health;

class JsonCodec;
class MsgPackCodec;
class CborCodec;
class BinaryCodec;
class BytesCodec;

template <class T>
class Lookup;

/// The default codec lives here and nowhere else.
template <class Codec = JsonCodec>
class SmartCache;

}  // namespace smartcache::inline v0
