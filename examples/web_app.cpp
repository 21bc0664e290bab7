// A web service with the cache in all its places: the middleware in front of its pages, `cached<>` functions behind them,
// and pages of its own for whoever runs it.
//
//     web_app                   ask itself everything once, on a free port, and print what came back
//     web_app --serve [PORT]    serve on 127.0.0.1; SMARTCACHE_REDIS_ENABLED=true and the like switch on more tiers
//
//     GET /                        what the cache does, as a page that renews itself
//     GET /api/users/ID            a user                       PUT: another name, by the user's own session
//     GET /api/posts/ID            a user's posts, in the language that is asked for
//     GET /api/me                  by session; kept once for each user
//     GET /api/analytics/NAME      a report; one that was made without its source is not kept
//     GET /static/NAME             a file
//
// For whoever has the key, which is printed at the start, in a field X-Admin-Key:
//
//     GET  /cache/stats            all counters, as JSON        GET  /metrics: the same for Prometheus
//     GET  /cache/health           asks the tiers; 503 where one that is switched on does not answer
//     GET  /cache/analytics        ratios, who answers, why not, and what is loaded most
//     GET  /cache/recommendations  what these figures suggest
//     GET, PUT, DELETE  /cache/entries/KEY[?ttl=SECONDS]        a text of one's own
//     POST /cache/warm             fetches the paths in its lines, where they are not there yet
//     POST /cache/clear            empties everything
//     GET  /benchmark              a load and a hit of the same function, sets and gets
//
// All of it listens on loopback. The key is there nonetheless: any page in a browser on this machine can send requests to it,
// and so can who comes through a proxy. A service that is reachable from elsewhere gives these pages a port of their own.

#include <httplib.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/http.hpp>
#include <smartcache/http/adapters/httplib.hpp>
#include <smartcache/smartcache.hpp>

namespace sc = smartcache;
namespace http = smartcache::http;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

// --- The application. ---

/// What is slow, and what is true.
class Database {
  public:
    std::optional<std::string> name(int id) const {
        std::this_thread::sleep_for(10ms);
        const std::lock_guard lock(mutex_);
        const auto found = names_.find(id);
        return found == names_.end() ? std::nullopt : std::optional(found->second);
    }
    void rename(int id, std::string name) {
        const std::lock_guard lock(mutex_);
        names_[id] = std::move(name);
    }

  private:
    mutable std::mutex mutex_;
    std::map<int, std::string> names_{{7, "Ada"}, {8, "Grace"}};
};

Database database;

std::optional<std::string> user_name(int id) {
    return database.name(id);
}

/// Whose session it is, 0 for nobody's. Sessions are made up here; what decides is never a field that says who one is.
int user_of(const http::Request& request) {
    static const std::map<std::string_view, int> sessions{
        {"session=a1", 7}, {"session=b2", 7}, {"session=c3", 8}};
    const auto found = sessions.find(request.headers.value("Cookie"));
    return found == sessions.end() ? 0 : found->second;
}

/// The number at the end of "/api/users/7"; 0 when there is none.
int id_in(const std::string& path) {
    return std::atoi(path.c_str() + path.rfind('/') + 1);
}

/// Keys without the host: this service has one only, and `/cache/warm` names none. What depends on who asks has a key for each
/// user, whichever session it is, and none for nobody.
std::string key_of(const http::Request& request) {
    if (!request.path.starts_with("/api/me"))
        return sc::canonical_key(request.method, request.path, request.query);
    const int user = user_of(request);
    return user == 0 ? std::string()
                     : sc::KeyText("user").part(std::to_string(user)).part(request.path).text();
}

http::MiddlewareOptions options() {
    return http::api_cache(5min, [](http::MiddlewareOptions& o) {
        o.cache_headers = {};  // everything but the posts comes in one form
        o.rules = {
            {.pattern = "/api/users/*", .ttl = 300s, .methods = {{"GET"}}, .status_codes = {{200, 404}}},
            {.pattern = "/api/posts/*", .ttl = 600s, .vary_headers = {"accept-language"}},
            {.pattern = "/api/analytics/*", .ttl = 900s},
            {.pattern = "/static/*", .ttl = 24h, .status_codes = {{200, 301, 302, 404}}}};
        o.custom_key_generator = key_of;
        o.generate_etags = true;  // clients that have it already get a 304
        o.hide_tags = true;
        // What the application says to this cache alone, while Cache-Control speaks to all others.
        o.targeted_fields = {"App-Cache-Control"};
        o.on_request = [](const http::Request& request) {
            return request.headers.has("Bypass-Cache") ? http::RequestVerdict::bypass()
                                                       : http::RequestVerdict::proceed();
        };
        o.on_response = [](const http::Request&, http::Response& made) {
            return !made.headers.has("X-Degraded");
        };
    });
}

auto cached_name(sc::SmartCache<>& cache) {
    return sc::cached<&user_name>(cache, {.ttl = 5min, .negative_ttl = 1min, .key_prefix = "app"});
}

class Application {
  public:
    Application(sc::SmartCache<>& cache, http::Middleware<sc::SmartCache<>>& web)
        : name_(cached_name(cache)), web_(web) {}

    http::Response operator()(const http::Request& request) const {
        const std::string& path = request.path;
        const auto made = [](const json& content) {
            return http::Response{200, {{"Content-Type", "application/json"}}, content.dump()};
        };
        if (path.starts_with("/api/users/")) {
            const int id = id_in(path);
            if (request.method == "PUT") return rename(id, request);
            const auto name = name_(id);
            return name ? made({{"id", id}, {"name", *name}}) : http::Response{404, {}, "no such user"};
        }
        if (path.starts_with("/api/posts/")) {
            const int id = id_in(path);
            const bool german = request.headers.value("Accept-Language").starts_with("de");
            http::Response posts =
                made({{"by", name_(id).value_or("nobody")}, {"first", german ? "Hallo" : "Hello"}});
            posts.headers.set("Vary", "Accept-Language");  // for all other caches; the rule is for this one
            posts.headers.set("Cache-Tag", "user:" + std::to_string(id));  // has that user's name in it
            return posts;
        }
        if (path == "/api/me") {
            const int id = user_of(request);
            if (id == 0) return {401, {}, "no session"};
            http::Response me = made({{"me", name_(id).value_or("nobody")}});
            me.headers.set("Cache-Control", "private, no-cache");
            me.headers.set("App-Cache-Control", "max-age=60");
            me.headers.set("Cache-Tag", "user:" + std::to_string(id));
            return me;
        }
        if (path.starts_with("/api/analytics/")) {
            http::Response report = made({{"report", path.substr(path.rfind('/') + 1)}});
            if (path.ends_with("/degraded")) report.headers.set("X-Degraded", "1");
            return report;
        }
        return {200, {{"Content-Type", "text/css"}}, "body { margin: 2em }"};
    }

  private:
    /// First what is true, then what was made of it: the function's result, and every page with this user in it. The
    /// middleware itself forgets the page that was written to.
    http::Response rename(int id, const http::Request& request) const {
        if (user_of(request) != id) return {403, {}, "not yours"};
        database.rename(id, request.body.str());
        name_.invalidate(id);
        (void)web_.purge_tag("user:" + std::to_string(id));
        return {204, {}, {}};
    }

    decltype(cached_name(std::declval<sc::SmartCache<>&>())) name_;
    http::Middleware<sc::SmartCache<>>& web_;
};

/// The application as cpp-httplib calls it.
httplib::Server::Handler handler(const Application& app) {
    return [&app](const httplib::Request& from, httplib::Response& to) {
        http::Request request;
        request.method = from.method;
        request.path = from.path;
        request.body = from.body;
        for (const auto& [name, value] : from.headers) request.headers.add(name, value);
        const http::Response made = app(request);
        to.status = made.status;
        for (const auto [name, value] : made.headers)
            if (name != "Content-Type") to.set_header(std::string(name), std::string(value));
        if (!made.body.empty())
            to.set_content(made.body.str(), std::string(made.headers.value("Content-Type", "text/plain")));
    };
}

// --- For whoever runs it. ---

/// How often each key was loaded, and how long that took: what the cache's listener hears.
class Loads {
  public:
    void operator()(const sc::Event& event) {
        if (event.kind != sc::EventKind::loaded && event.kind != sc::EventKind::load_failed) return;
        const std::lock_guard lock(mutex_);
        if (by_key_.size() >= 1000) return;  // a report, not a log
        auto& [count, took] = by_key_[std::string(event.key)];
        ++count;
        took += event.took;
    }
    [[nodiscard]] json slowest(std::size_t most) const {
        const std::lock_guard lock(mutex_);
        std::vector<std::pair<std::string, std::pair<int, std::chrono::microseconds>>> all(by_key_.begin(),
                                                                                           by_key_.end());
        std::stable_sort(all.begin(), all.end(),
                         [](auto& a, auto& b) { return a.second.second > b.second.second; });
        json list = json::array();
        for (const auto& [key, load] : all)
            if (list.size() < most)
                list.push_back({{"key", key}, {"loads", load.first}, {"took_us", load.second.count()}});
        return list;
    }

  private:
    mutable std::mutex mutex_;
    std::map<std::string, std::pair<int, std::chrono::microseconds>> by_key_;
};

json reasons(const http::MiddlewareStats& web) {
    return json::parse(http::to_json(web)).at("reasons");
}

/// What the figures suggest. Each sentence names the figure and the screw to turn.
std::vector<std::string> recommendations(http::Middleware<sc::SmartCache<>>& web) {
    const auto report = web.stats();
    const sc::Stats& cache = report.cache_stats;
    std::vector<std::string> all;
    const auto say = [&all](std::uint64_t count, const std::string& text) {
        if (count > 0) all.push_back(std::to_string(count) + ' ' + text);
    };
    if (cache.total_requests >= 20 && cache.hit_ratio < 0.8)
        all.push_back("hit ratio below 0.8: " +
                      std::string(cache.evictions > 0
                                      ? "raise memory.capacity, or switch on a tier below"
                                      : "longer lifetimes, or warm what is known to be wanted"));
    say(cache.evictions, "evictions: raise memory.capacity, or switch on a tier below");
    say(cache.rejected, "values refused: raise max_value_size, or cache parts of them");
    say(cache.load_failures, "loads failed: give a grace, and old values stand in");
    say(cache.type_mismatches, "values read as another type: two users of one key");
    const std::map<std::string_view, const char*> advice{
        {"bypass", "requests or responses kept out by a rule or a hook"},
        {"key", "requests without a key: nobody's session"},
        {"cookie", "responses to requests with cookies: say Cache-Control where these do not matter"},
        {"authorization", "requests with Authorization: say public, or switch on cache_authenticated"},
        {"set_cookie", "responses with Set-Cookie: say public, or set it elsewhere"},
        {"no_freshness", "responses without a lifetime: say max-age, or give the path a rule"},
        {"vary", "responses with a Vary that fits nobody else: name fewer fields"}};
    const json not_kept = reasons(report);
    for (const auto& [reason, count] : not_kept.items())
        if (const auto found = advice.find(reason); found != advice.end()) say(count, found->second);
    const sc::Health& health = report.cache_health;
    const sc::Config& config = web.cache().config();
    for (const auto& [tier, wanted, works] :
         {std::tuple(sc::TierId::memory, config.memory.enabled, health.memory),
          std::tuple(sc::TierId::redis, config.redis.enabled, health.redis),
          std::tuple(sc::TierId::disk, config.disk.enabled, health.disk)})
        if (wanted && !works)
            all.push_back(std::string(to_string(tier)) + " is down: " + health.detail(tier));
    return all;
}

/// Of a cache of its own, so that it changes nothing here.
json benchmark() {
    const auto per_call = [](int calls, auto&& call) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < calls; ++i) call(i);
        return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() /
               calls;
    };
    sc::SmartCache<> cache;
    const auto name = sc::cached<&user_name>(cache, {.key_prefix = "app"});
    json result;
    result["load_us"] = per_call(1, [&](int) { (void)name(7); });
    result["hit_us"] = per_call(1000, [&](int) { (void)name(7); });
    result["set_us"] = per_call(1000, [&](int i) { cache.set("key:" + std::to_string(i), i); });
    result["get_us"] = per_call(1000, [&](int i) { (void)cache.get<int>("key:" + std::to_string(i)); });
    return result;
}

std::string home(http::Middleware<sc::SmartCache<>>& web) {
    const auto report = web.stats();
    std::ostringstream page;
    page << "<!doctype html><title>web_app</title><meta http-equiv=refresh content=2><h1>web_app</h1><table>";
    const auto row = [&page](const char* name, auto value) { page << "<tr><td>" << name << "<td>" << value; };
    row("requests", report.total_requests);
    row("answered by the cache", report.cache_hits);
    row("by the application", report.cache_misses);
    row("kept out of it", report.cache_skips);
    row("hit ratio", report.cacheable_hit_ratio);
    row("entries", report.cache_stats.size);
    row("bytes", report.cache_stats.memory_usage);
    row("loads of functions", report.cache_stats.loads);
    page << "</table>";
    return page.str();
}

class Service {
  public:
    Service(const sc::Config& config, std::string admin_key, int port)
        : key_(std::move(admin_key)), cache_(listening(config)), web_(cache_, options()), app_(cache_, web_) {
        server_.set_tcp_nodelay(true);
        add_application();
        add_management();
        port_ = port == 0 ? server_.bind_to_any_port("127.0.0.1")
                          : (server_.bind_to_port("127.0.0.1", port) ? port : -1);
        if (port_ <= 0) throw std::runtime_error("cannot listen on 127.0.0.1:" + std::to_string(port));
        thread_ = std::thread([this] { server_.listen_after_bind(); });
        while (!server_.is_running()) std::this_thread::yield();
    }
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    ~Service() {
        server_.stop();
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] int port() const { return port_; }
    void wait() { thread_.join(); }

  private:
    sc::Config listening(sc::Config config) {
        config.listener = [this](const sc::Event& event) { loads_(event); };
        return config;
    }

    void add_application() {
        const auto cached = http::wrap(web_, handler(app_));
        for (const char* path : {"/api/.*", "/static/.*"}) {
            server_.Get(path, cached);
            server_.Put(path, cached);
        }
        server_.Get("/", [this](const httplib::Request&, httplib::Response& to) {
            to.set_header("Cache-Control", "no-store");
            to.set_content(home(web_), "text/html");
        });
    }

    /// A page for who has the key alone, which no cache keeps.
    template <class Page>
    httplib::Server::Handler guarded(Page page) {
        return [this, page](const httplib::Request& from, httplib::Response& to) {
            to.set_header("Cache-Control", "no-store");
            if (from.get_header_value("X-Admin-Key") != key_) {
                to.status = 403;
                return to.set_content("needs X-Admin-Key", "text/plain");
            }
            page(from, to);
        };
    }
    template <class Content>
    httplib::Server::Handler guarded_json(Content content) {
        return guarded([content](const httplib::Request& from, httplib::Response& to) {
            to.set_content(json(content(from)).dump(), "application/json");
        });
    }

    void add_management() {
        using From = const httplib::Request&;
        server_.Get("/cache/stats", guarded_json([this](From) {
                        return json{{"http", json::parse(http::to_json(web_.counters()))},
                                    {"cache", json::parse(sc::to_json(cache_.stats()))}};
                    }));
        server_.Get("/metrics", guarded([this](From, httplib::Response& to) {
                        to.set_content(http::prometheus_text(web_.counters()) + sc::prometheus_text(cache_),
                                       "text/plain; version=0.0.4");
                    }));
        server_.Get("/cache/health", guarded([this](From, httplib::Response& to) {
                        to.status = cache_.health_check().ok() ? 200 : 503;
                        to.set_content(sc::Monitor{cache_}.report(), "application/json");
                    }));
        server_.Get("/cache/analytics", guarded_json([this](From) { return analytics(); }));
        server_.Get("/cache/recommendations", guarded_json([this](From) { return recommendations(web_); }));
        server_.Get("/benchmark", guarded_json([](From) { return benchmark(); }));
        server_.Post("/cache/clear", guarded_json([this](From) {
                         web_.clear_cache();
                         return json{{"cleared", true}};
                     }));
        server_.Post("/cache/warm", guarded_json([this](From from) {
                         std::vector<std::string> paths;
                         std::istringstream lines(from.body);
                         for (std::string line; std::getline(lines, line);) paths.push_back(line);
                         return json{{"stored", web_.warm_cache(paths, app_)}};
                     }));
        // Keys with a prefix of their own: nobody writes over a stored page, or a function's result, from here.
        const char* entries = "/cache/entries/(.+)";
        const auto entry = [](From from) { return "entry:" + from.matches[1].str(); };
        server_.Get(entries, guarded([this, entry](From from, httplib::Response& to) {
                        const auto hit = cache_.get<std::string>(entry(from));
                        if (!hit) to.status = 404;
                        to.set_content(hit ? *hit : cache_.explain(entry(from)).text(), "text/plain");
                    }));
        server_.Put(entries, guarded([this, entry](From from, httplib::Response& to) {
                        sc::EntryOptions how;
                        if (from.has_param("ttl"))
                            how.ttl = std::chrono::seconds(
                                std::max(1, std::atoi(from.get_param_value("ttl").c_str())));
                        to.status = cache_.set(entry(from), from.body, how) ? 204 : 507;
                    }));
        server_.Delete(entries, guarded([this, entry](From from, httplib::Response& to) {
                           to.status = cache_.erase(entry(from)) ? 204 : 404;
                       }));
    }

    json analytics() {
        const auto report = web_.stats();
        const sc::Stats& cache = report.cache_stats;
        return {{"hit_ratio", report.overall_hit_ratio},
                {"cacheable_hit_ratio", report.cacheable_hit_ratio},
                {"answered_by",
                 {{"memory", cache.memory.hits}, {"redis", cache.redis.hits}, {"disk", cache.disk.hits}}},
                {"not_kept", reasons(report)},
                {"slowest_loads", loads_.slowest(3)}};
    }

    const std::string key_;
    Loads loads_;  // is told until the cache has ended
    sc::SmartCache<> cache_;
    http::Middleware<sc::SmartCache<>> web_;
    Application app_;
    httplib::Server server_;
    int port_ = 0;
    std::thread thread_;
};

std::string random_key() {
    std::random_device random;
    std::ostringstream text;
    for (int i = 0; i < 4; ++i) text << std::hex << random();
    return text.str();
}

/// Asks the service everything once, as any client would.
class Visitor {
  public:
    Visitor(int port, std::string key) : client_("127.0.0.1", port), key_(std::move(key)) {
        client_.set_keep_alive(true);
        client_.set_tcp_nodelay(true);
    }

    httplib::Response ask(const char* method, const std::string& target, httplib::Headers fields = {},
                          const std::string& body = {}) {
        httplib::Request request;
        request.method = method;
        request.path = target;
        request.body = body;
        request.headers = std::move(fields);
        const httplib::Result result = client_.send(request);
        if (!result) throw std::runtime_error("no answer for " + target);
        std::string cache = result->has_header("X-Cache") ? result->get_header_value("X-Cache") : "-";
        const std::string content =
            result->body.substr(0, std::min<std::size_t>(result->body.find('\n'), 50));
        if (!content.empty()) cache.resize(7, ' ');
        std::printf("%-6s %-37s %d %s%s\n", method, target.c_str(), result->status, cache.c_str(),
                    content.c_str());
        return *result;
    }
    httplib::Response manage(const char* method, const std::string& target, const std::string& body = {}) {
        return ask(method, target, {{"X-Admin-Key", key_}}, body);
    }

  private:
    httplib::Client client_;
    std::string key_;
};

void ask_everything(int port, const std::string& key) {
    Visitor visitor(port, key);
    std::printf("- pages\n");
    visitor.ask("GET", "/api/users/7");
    const std::string etag = visitor.ask("GET", "/api/users/7").get_header_value("ETag");
    visitor.ask("GET", "/api/users/7", {{"If-None-Match", etag}});
    visitor.ask("GET", "/api/users/9");
    visitor.ask("GET", "/api/users/9");
    visitor.ask("GET", "/api/posts/7", {{"Accept-Language", "en"}});
    visitor.ask("GET", "/api/posts/7", {{"Accept-Language", "de"}});
    visitor.ask("GET", "/api/posts/7", {{"Accept-Language", "en"}});
    std::printf("- one page for each user: two sessions of one, a third of another, nobody's\n");
    visitor.ask("GET", "/api/me", {{"Cookie", "session=a1"}});
    visitor.ask("GET", "/api/me", {{"Cookie", "session=b2"}});
    visitor.ask("GET", "/api/me", {{"Cookie", "session=c3"}});
    visitor.ask("GET", "/api/me");
    std::printf("- a change ends everything that the old name is in\n");
    visitor.ask("PUT", "/api/users/7", {{"Cookie", "session=a1"}}, "Augusta");
    visitor.ask("GET", "/api/users/7");
    visitor.ask("GET", "/api/posts/7", {{"Accept-Language", "en"}});
    visitor.ask("GET", "/api/me", {{"Cookie", "session=b2"}});
    std::printf("- logic of its own: what is bypassed, what is not kept\n");
    visitor.ask("GET", "/api/users/7", {{"Bypass-Cache", "1"}});
    visitor.ask("GET", "/api/analytics/degraded");
    visitor.ask("GET", "/api/analytics/degraded");
    std::printf("- entries by hand, and warming\n");
    visitor.manage("PUT", "/cache/entries/greeting?ttl=60", "good morning");
    visitor.manage("GET", "/cache/entries/greeting");
    visitor.manage("DELETE", "/cache/entries/greeting");
    visitor.manage("GET", "/cache/entries/greeting");
    visitor.manage("POST", "/cache/warm", "/static/app.css\n/api/users/8\n");
    visitor.ask("GET", "/static/app.css");
    visitor.ask("GET", "/api/users/8");
    std::printf("- how it goes\n");
    visitor.ask("GET", "/");
    visitor.ask("GET", "/cache/stats");
    visitor.manage("GET", "/cache/stats");
    visitor.manage("GET", "/metrics");
    visitor.manage("GET", "/cache/health");
    const json figures = json::parse(visitor.manage("GET", "/cache/analytics").body);
    std::printf("       not kept: %s\n", figures.at("not_kept").dump().c_str());
    std::printf("       loaded functions: %zu\n", figures.at("slowest_loads").size());
    for (const json& advice : json::parse(visitor.manage("GET", "/cache/recommendations").body))
        std::printf("       %s\n", advice.get<std::string>().c_str());
    visitor.manage("GET", "/benchmark");
    visitor.manage("POST", "/cache/clear");
    visitor.ask("GET", "/static/app.css");
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const std::string key = random_key();
        if (argc > 1 && std::string_view(argv[1]) == "--serve") {
            Service service(sc::Config::from_env(), key, argc > 2 ? std::atoi(argv[2]) : 8080);
            std::printf("http://127.0.0.1:%d/   X-Admin-Key: %s   Ctrl-C stops\n", service.port(),
                        key.c_str());
            std::fflush(stdout);
            service.wait();
            return 0;
        }
        Service service({}, key, 0);
        ask_everything(service.port(), key);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "web_app: %s\n", error.what());
        return 1;
    }
}

// Expected output:
// - pages
// GET    /api/users/7                          200 MISS   {"id":7,"name":"Ada"}
// GET    /api/users/7                          200 HIT    {"id":7,"name":"Ada"}
// GET    /api/users/7                          304 HIT
// GET    /api/users/9                          404 MISS   no such user
// GET    /api/users/9                          404 HIT    no such user
// GET    /api/posts/7                          200 MISS   {"by":"Ada","first":"Hello"}
// GET    /api/posts/7                          200 MISS   {"by":"Ada","first":"Hallo"}
// GET    /api/posts/7                          200 HIT    {"by":"Ada","first":"Hello"}
// - one page for each user: two sessions of one, a third of another, nobody's
// GET    /api/me                               200 MISS   {"me":"Ada"}
// GET    /api/me                               200 HIT    {"me":"Ada"}
// GET    /api/me                               200 MISS   {"me":"Grace"}
// GET    /api/me                               401 BYPASS no session
// - a change ends everything that the old name is in
// PUT    /api/users/7                          204 BYPASS
// GET    /api/users/7                          200 MISS   {"id":7,"name":"Augusta"}
// GET    /api/posts/7                          200 MISS   {"by":"Augusta","first":"Hello"}
// GET    /api/me                               200 MISS   {"me":"Augusta"}
// - logic of its own: what is bypassed, what is not kept
// GET    /api/users/7                          200 BYPASS {"id":7,"name":"Augusta"}
// GET    /api/analytics/degraded               200 MISS   {"report":"degraded"}
// GET    /api/analytics/degraded               200 MISS   {"report":"degraded"}
// - entries by hand, and warming
// PUT    /cache/entries/greeting?ttl=60        204 -
// GET    /cache/entries/greeting               200 -      good morning
// DELETE /cache/entries/greeting               204 -
// GET    /cache/entries/greeting               404 -      "entry:greeting": a miss: never stored, or evicted
// POST   /cache/warm                           200 -      {"stored":2}
// GET    /static/app.css                       200 HIT    body { margin: 2em }
// GET    /api/users/8                          200 HIT    {"id":8,"name":"Grace"}
// - how it goes
// GET    /                                     200 -      <!doctype html>...
// GET    /cache/stats                          403 -      needs X-Admin-Key
// GET    /cache/stats                          200 -      {"cache":{"capacity":10000,...
// GET    /metrics                              200 -      # HELP smartcache_http_requests_total ...
// GET    /cache/health                         200 -      {"uptime_seconds":...
// GET    /cache/analytics                      200 -      {"answered_by":{"disk":0,"memory":...
//        not kept: {"bypass":3,"key":1,"method":1}
//        loaded functions: 3
// GET    /cache/recommendations                200 -      ["hit ratio below 0.8: ...
//        hit ratio below 0.8: longer lifetimes, or warm what is known to be wanted
//        3 requests or responses kept out by a rule or a hook
//        1 requests without a key: nobody's session
// GET    /benchmark                            200 -      {"get_us":...
// POST   /cache/clear                          200 -      {"cleared":true}
// GET    /static/app.css                       200 MISS   body { margin: 2em }
