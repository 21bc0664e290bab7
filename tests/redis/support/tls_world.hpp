#pragma once

#include <string>
#include <vector>

#include <smartcache/redis/redis_tier.hpp>

#include "redis/support/certificates.hpp"
#include "redis/support/tier_world.hpp"
#include "support/catch.hpp"
#include "support/redis_server.hpp"
#include "support/temp_dir.hpp"

namespace smartcache::test {

/// Certificates, and servers and clients that use them.
struct TlsWorld {
    smartcache_test::TempDir directory;
    Authority authority{directory.path(), "authority"};
    Authority stranger{directory.path(), "stranger"};
    Certificate good = authority.issue("server", "DNS:localhost,IP:127.0.0.1");

    [[nodiscard]] std::vector<std::string> arguments(const Certificate& certificate,
                                                     bool ask_clients = false) const {
        return {"--tls-cert-file",    certificate.cert_file,     "--tls-key-file",
                certificate.key_file, "--tls-ca-cert-file",      authority.file(),
                "--tls-auth-clients", ask_clients ? "yes" : "no"};
    }
    [[nodiscard]] RedisServer::Options server(const Certificate& certificate,
                                              bool ask_clients = false) const {
        return {.arguments = arguments(certificate, ask_clients), .tls = true};
    }
    [[nodiscard]] RedisOptions client(const std::string& url) const {
        RedisOptions options = patient(url);
        options.tls.ca_file = authority.file();
        return options;
    }
};

/// Why no connection is made.
inline std::string refusal(const RedisOptions& options) {
    try {
        const RedisTier tier(options);
    } catch (const TierUnavailable& error) {
        return error.what();
    }
    return "connected";
}
inline bool mentions(const std::string& text, const std::string& what) {
    INFO(text);
    CHECK(text.find(what) != std::string::npos);
    return text.find(what) != std::string::npos;
}

}  // namespace smartcache::test
