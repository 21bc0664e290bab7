#pragma once

#include <smartcache/core/features.hpp>
#include <smartcache/redis/tls.hpp>

#if SMARTCACHE_HAS_TLS

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include <smartcache/core/error.hpp>
#include <smartcache/core/fork.hpp>

namespace smartcache::inline v0::detail {

/// For std::unique_ptr.
struct FreeOpenSsl {
    void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
    void operator()(SSL* session) const noexcept { SSL_free(session); }
    void operator()(BIO* bio) const noexcept { BIO_free(bio); }
};

/// The oldest error in this thread's queue, as text; empties the queue. Empty text: there was none.
[[nodiscard]] inline std::string take_openssl_error() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return {};
    if (const char* const reason = ERR_reason_error_string(code)) return reason;
    std::array<char, 256> text{};
    ERR_error_string_n(code, text.data(), text.size());
    return text.data();
}

/// What `print` writes, shortened: the text comes from a certificate that may be a forger's.
template <class Print>
[[nodiscard]] std::string printed_by_openssl(Print print) {
    constexpr std::size_t longest = 200;
    const std::unique_ptr<BIO, FreeOpenSsl> out(BIO_new(BIO_s_mem()));
    if (!out) return {};
    print(out.get());
    char* text = nullptr;
    const long size = BIO_get_mem_data(out.get(), &text);
    return size > 0 ? std::string(text, std::min(static_cast<std::size_t>(size), longest)) : std::string();
}

/// OpenSSL over a BIO of our own. SSL_set_fd would write with write(2), which raises SIGPIPE.
class OpenSslSession final : public TlsSession {
  public:
    /// @param name  what the certificate must carry; not looked at when `context` does not verify
    OpenSslSession(SSL_CTX* context, Socket& socket, std::string name)
        : socket_(socket), name_(std::move(name)), ssl_(SSL_new(context)) {
        BIO* const bio = BIO_new(bio_method());
        if (!ssl_ || bio == nullptr || !expect(name_)) {
            BIO_free(bio);
            ERR_clear_error();
            throw std::bad_alloc();
        }
        BIO_set_data(bio, this);
        SSL_set_bio(ssl_.get(), bio, bio);  // owns it
        SSL_set_app_data(ssl_.get(), this);
        const int mode = SSL_CTX_get_verify_mode(context);
        SSL_set_verify(ssl_.get(), mode, mode == SSL_VERIFY_NONE ? nullptr : &on_certificate);
        SSL_set_connect_state(ssl_.get());
    }

    [[nodiscard]] Handshake shake_hands() override {
        ERR_clear_error();
        const int result = SSL_do_handshake(ssl_.get());
        if (result == 1) {
            secured_ = true;
            return Handshake::done;
        }
        switch (SSL_get_error(ssl_.get(), result)) {
            case SSL_ERROR_WANT_READ:
                return Handshake::wants_read;
            case SSL_ERROR_WANT_WRITE:
                return Handshake::wants_write;
            default:
                failed();
                return Handshake::failed;
        }
    }

    [[nodiscard]] ssize_t send(std::span<const iovec> parts) override {
        // One record of TLS for as many parts as fit: each costs some 30 bytes and a system call. What was
        // refused is offered again and gathered into the very same record, which is what SSL_write_ex asks
        // for.
        std::size_t gathered = 0;
        for (const iovec& part : parts) {
            const std::size_t size = std::min(part.iov_len, record_.size() - gathered);
            std::memcpy(record_.data() + gathered, part.iov_base, size);
            gathered += size;
        }
        ERR_clear_error();
        std::size_t sent = 0;
        const int result = SSL_write_ex(ssl_.get(), record_.data(), gathered, &sent);
        if (result == 1) return static_cast<ssize_t>(sent);
        switch (SSL_get_error(ssl_.get(), result)) {
            case SSL_ERROR_WANT_READ:
            case SSL_ERROR_WANT_WRITE:
                return 0;
            default:
                failed();
                listen_for_reason();
                return -1;
        }
    }

    [[nodiscard]] Socket::Received receive(std::span<char> buffer, std::size_t& count) override {
        count = 0;
        if (ended_) return *ended_;
        while (buffer.size() - count >= longest_record) {
            ERR_clear_error();
            std::size_t got = 0;
            const int result = SSL_read_ex(ssl_.get(), buffer.data() + count, buffer.size() - count, &got);
            count += got;
            if (result == 1) continue;
            const int error = SSL_get_error(ssl_.get(), result);
            if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) break;
            // What arrived before the end is handed out first.
            if (error != SSL_ERROR_ZERO_RETURN) failed();
            ended_ = error == SSL_ERROR_ZERO_RETURN || closed_ ? Socket::Received::closed
                                                               : Socket::Received::failed;
            if (count == 0) return *ended_;
            break;
        }
        return count != 0 ? Socket::Received::some : Socket::Received::nothing;
    }

    [[nodiscard]] Failure problem() const override { return problem_; }

  private:
    static constexpr std::size_t longest_record = SSL3_RT_MAX_PLAIN_LENGTH;

    /// Sets what the server has to prove, and what it is told about whom we look for.
    [[nodiscard]] bool expect(const std::string& name) {
        X509_VERIFY_PARAM* const parameters = SSL_get0_param(ssl_.get());
        std::array<unsigned char, sizeof(in6_addr)> address{};
        if (::inet_pton(AF_INET, name.c_str(), address.data()) == 1 ||
            ::inet_pton(AF_INET6, name.c_str(), address.data()) == 1)
            return X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) ==
                   1;  // RFC 6066 section 3: no SNI
        X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        return SSL_set1_host(ssl_.get(), name.c_str()) == 1 &&
               SSL_set_tlsext_host_name(ssl_.get(), name.c_str()) == 1;
    }

    /// Notes why a certificate is refused: OpenSSL has forgotten it when the handshake ends.
    static int on_certificate(int good, X509_STORE_CTX* store) noexcept {
        if (good == 1) return good;
        const auto* const ssl =
            static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
        auto* const self = static_cast<OpenSslSession*>(SSL_get_app_data(ssl));
        try {
            self->refused_ = refusal(store, self->name_);
        } catch (const std::bad_alloc&) {
            self->refused_.clear();  // the handshake fails all the same
        }
        return good;
    }
    [[nodiscard]] static std::string refusal(X509_STORE_CTX* store, const std::string& name) {
        const int error = X509_STORE_CTX_get_error(store);
        std::string text = "the server's certificate is refused: ";
        text += X509_verify_cert_error_string(error);
        if (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH)
            text += ", it is not for \"" + name + "\"";
        if (error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
            error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
            error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
            error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
            error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE)
            text += ", neither redis.tls.ca_file nor, without it, the system's store vouches for it";
        if (X509* const certificate = X509_STORE_CTX_get_current_cert(store)) {
            const auto time = [](const ASN1_TIME* at) {
                return printed_by_openssl([at](BIO* out) { ASN1_TIME_print(out, at); });
            };
            if (error == X509_V_ERR_CERT_HAS_EXPIRED) text += " on " + time(X509_get0_notAfter(certificate));
            if (error == X509_V_ERR_CERT_NOT_YET_VALID)
                text += " until " + time(X509_get0_notBefore(certificate));
            text += " (subject " + printed_by_openssl([certificate](BIO* out) {
                        X509_NAME_print_ex(out, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
                    }) +
                    ")";
        }
        return text;
    }

    /// Turns what went wrong in the last call into `problem_`.
    void failed() {
        const std::string during = secured_ ? "" : " during the TLS handshake";
        const unsigned long code = ERR_peek_error();
        const std::string reason = take_openssl_error();
        if (!refused_.empty()) {
            problem_ = {Failure::Kind::tls, 0, "TLS: " + refused_};
        } else if (io_error_ != 0) {
            problem_ = Failure::system(
                Failure::Kind::io, (sending_ ? "sending failed" : "receiving failed") + during, io_error_);
        } else if (closed_ || reason.empty()) {
            problem_ = {secured_ ? Failure::Kind::io : Failure::Kind::tls, 0,
                        "the server closed the connection" + during};
        } else if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) {
            problem_ = {Failure::Kind::tls, 0, "TLS: what answers there does not speak TLS"};
        } else if (is_alert(code)) {
            const bool has_certificate = SSL_get_certificate(ssl_.get()) != nullptr;
            problem_ = {
                Failure::Kind::tls, 0,
                "TLS: the server refuses: " + reason + (has_certificate ? "" : " (no redis.tls.cert_file)")};
        } else {
            problem_ = {Failure::Kind::tls, 0, "TLS: " + reason};
        }
    }
    [[nodiscard]] static bool is_alert(unsigned long code) noexcept {
        return ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) > SSL_AD_REASON_OFFSET;
    }

    /// A server that refuses us after the handshake (TLS 1.3 checks our certificate then) says why and hangs
    /// up. Who is still sending learns only of the latter, while the former lies in the socket.
    void listen_for_reason() {
        ERR_clear_error();
        char byte = 0;
        std::size_t got = 0;
        if (SSL_read_ex(ssl_.get(), &byte, 1, &got) == 1 || !is_alert(ERR_peek_error())) return;
        io_error_ = 0;
        failed();
    }

    // --- The BIO: what OpenSSL reads and writes with.

    static BIO_METHOD* bio_method() {
        // Never freed: sessions of static caches outlive static objects. Inside: else a child may wait for who was making it.
        const ForkGate::Inside inside;
        static BIO_METHOD* const method = [] {
            BIO_METHOD* const made = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "smartcache socket");
            if (made == nullptr) throw std::bad_alloc();
            BIO_meth_set_write(made, &on_write);
            BIO_meth_set_read(made, &on_read);
            BIO_meth_set_ctrl(made, &on_control);
            BIO_meth_set_create(made, &on_create);
            return made;
        }();
        return method;
    }
    static int on_create(BIO* bio) noexcept {
        BIO_set_init(bio, 1);
        return 1;
    }
    static int on_write(BIO* bio, const char* bytes, int size) noexcept {
        auto& self = *static_cast<OpenSslSession*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        iovec part{const_cast<char*>(bytes), static_cast<std::size_t>(size)};
        const ssize_t sent = self.socket_.send({&part, 1});
        if (sent > 0) return static_cast<int>(sent);
        if (sent == 0) {
            BIO_set_retry_write(bio);
        } else {
            self.io_error_ = errno;
            self.sending_ = true;
        }
        return -1;
    }
    static int on_read(BIO* bio, char* bytes, int size) noexcept {
        auto& self = *static_cast<OpenSslSession*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        std::size_t got = 0;
        switch (self.socket_.receive({bytes, static_cast<std::size_t>(size)}, got)) {
            case Socket::Received::some:
                return static_cast<int>(got);
            case Socket::Received::nothing:
                BIO_set_retry_read(bio);
                return -1;
            case Socket::Received::closed:
                self.closed_ = true;
                return 0;
            case Socket::Received::failed:
                break;
        }
        self.io_error_ = errno;
        self.sending_ = false;
        return -1;
    }
    static long on_control(BIO* bio, int command, long, void*) noexcept {
        if (command == BIO_CTRL_FLUSH) return 1;
        if (command == BIO_CTRL_EOF) return static_cast<OpenSslSession*>(BIO_get_data(bio))->closed_ ? 1 : 0;
        return 0;
    }

    Socket& socket_;
    const std::string name_;
    std::unique_ptr<SSL, FreeOpenSsl> ssl_;
    bool secured_ = false;
    int io_error_ = 0;  // errno of the socket, when that is what failed
    bool sending_ = false;
    bool closed_ = false;
    std::optional<Socket::Received> ended_;  // how receiving did
    std::string refused_;
    Failure problem_;
    std::array<char, longest_record> record_;  // to be sent
};

class OpenSslContext final : public TlsContext {
  public:
    explicit OpenSslContext(const TlsOptions& options)
        : server_name_(options.server_name), context_(SSL_CTX_new(TLS_client_method())) {
        SSL_CTX* const context = context_.get();
        if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
            ERR_clear_error();
            throw std::bad_alloc();
        }
        SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        // See OpenSslSession::send. Without auto-retry a read does one record, so that a server which sends
        // nothing but session tickets cannot keep us from looking at the clock.
        SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
        // The default asks for the key's password on the terminal.
        SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
        SSL_CTX_set_verify(context, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);

        ERR_clear_error();
        if (!options.ca_file.empty())
            require(SSL_CTX_load_verify_locations(context, options.ca_file.c_str(), nullptr),
                    "redis.tls.ca_file", options.ca_file, "a PEM file of certificates");
        else if (options.verify)
            require(SSL_CTX_set_default_verify_paths(context), "redis.tls.ca_file", "\"\"",
                    "a PEM file of certificates");
        if (options.cert_file.empty()) return;
        require(SSL_CTX_use_certificate_chain_file(context, options.cert_file.c_str()), "redis.tls.cert_file",
                options.cert_file, "a PEM file that begins with the client's certificate");
        require(SSL_CTX_use_PrivateKey_file(context, options.key_file.c_str(), SSL_FILETYPE_PEM),
                "redis.tls.key_file", options.key_file,
                "a PEM file with the key of redis.tls.cert_file, without a password");
    }

    [[nodiscard]] std::unique_ptr<TlsSession> session(Socket& socket,
                                                      const std::string& host) const override {
        return std::make_unique<OpenSslSession>(context_.get(), socket,
                                                server_name_.empty() ? host : server_name_);
    }

  private:
    static void require(int result, const char* field, const std::string& value, const char* allowed) {
        if (result == 1) return;
        throw ConfigError(field, value, std::string(allowed) + "; OpenSSL says: " + take_openssl_error());
    }

    const std::string server_name_;
    const std::unique_ptr<SSL_CTX, FreeOpenSsl> context_;
};

inline std::shared_ptr<const TlsContext> make_tls_context(const TlsOptions& options) {
    return std::make_shared<OpenSslContext>(options);
}

}  // namespace smartcache::inline v0::detail

#else

#include <smartcache/core/error.hpp>

namespace smartcache::inline v0::detail {

inline std::shared_ptr<const TlsContext> make_tls_context(const TlsOptions&) {
    throw ConfigError("redis.url", "rediss://", "a scheme without TLS: this build has none");
}

}  // namespace smartcache::inline v0::detail

#endif
