#pragma once

// The HTTP cache: key generator, RFC 9111 semantics, middleware. Adapters are included one by one, from
// smartcache/http/adapters/, because each needs its framework; smartcache/http/options_json.hpp needs
// nlohmann_json.

#include <smartcache/http/cache_control.hpp>
#include <smartcache/http/date.hpp>
#include <smartcache/http/headers.hpp>
#include <smartcache/http/key_generator.hpp>
#include <smartcache/http/message.hpp>
#include <smartcache/http/middleware.hpp>
#include <smartcache/http/monitor.hpp>
#include <smartcache/http/options.hpp>
#include <smartcache/http/rules.hpp>
#include <smartcache/http/semantics/age.hpp>
#include <smartcache/http/semantics/cache_status.hpp>
#include <smartcache/http/semantics/conditional.hpp>
#include <smartcache/http/semantics/freshness.hpp>
#include <smartcache/http/semantics/invalidation.hpp>
#include <smartcache/http/semantics/partial.hpp>
#include <smartcache/http/semantics/range.hpp>
#include <smartcache/http/semantics/reuse.hpp>
#include <smartcache/http/semantics/storability.hpp>
#include <smartcache/http/semantics/tags.hpp>
#include <smartcache/http/semantics/targeted.hpp>
#include <smartcache/http/semantics/vary.hpp>
#include <smartcache/http/url.hpp>
