#pragma once

namespace smartcache::inline v0 {

/// When a lower tier is written: before the call returns, or after.
enum class WriteMode { through, behind };

}  // namespace smartcache::inline v0
