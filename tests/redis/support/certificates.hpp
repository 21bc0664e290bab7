#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

namespace smartcache::test {

/// A certificate and its key, as PEM files.
struct Certificate {
    std::string cert_file;
    std::string key_file;
};

/// Somebody who issues certificates, made up for a test.
class Authority {
  public:
    /// @param name  of the files, which are `directory`/name-...
    Authority(std::filesystem::path directory, const std::string& name)
        : directory_(std::move(directory)), name_(name), key_(new_key()) {
        certificate_ = build(name, *key_, "", std::chrono::hours(-24), std::chrono::hours(24), true);
        write(path("ca"), [this](std::FILE* file) { return PEM_write_X509(file, certificate_.get()); });
    }

    [[nodiscard]] std::string file() const { return path("ca"); }

    /// @param names  as OpenSSL writes them: "DNS:localhost,IP:127.0.0.1"
    [[nodiscard]] Certificate issue(const std::string& subject, const std::string& names,
                                    std::chrono::hours from = std::chrono::hours(-24),
                                    std::chrono::hours until = std::chrono::hours(24)) const {
        const Key key = new_key();
        const X509Pointer certificate = build(subject, *key, names, from, until, false);
        const Certificate files{path(subject + "-cert"), path(subject + "-key")};
        write(files.cert_file, [&](std::FILE* file) { return PEM_write_X509(file, certificate.get()); });
        write(files.key_file, [&](std::FILE* file) {
            return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
        });
        return files;
    }

  private:
    struct Free {
        void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
        void operator()(X509* certificate) const noexcept { X509_free(certificate); }
    };
    using Key = std::unique_ptr<EVP_PKEY, Free>;
    using X509Pointer = std::unique_ptr<X509, Free>;

    static void require(bool done) {
        if (!done) throw std::runtime_error("a test's certificate could not be made");
    }
    static Key new_key() {
        Key key(EVP_EC_gen("P-256"));
        require(key != nullptr);
        return key;
    }
    [[nodiscard]] std::string path(const std::string& what) const {
        return (directory_ / (name_ + "-" + what + ".pem")).string();
    }
    template <class Write>
    static void write(const std::string& path, Write write) {
        std::FILE* const file = std::fopen(path.c_str(), "w");
        require(file != nullptr);
        const bool written = write(file) == 1;
        require(std::fclose(file) == 0 && written);
    }
    void extend(X509& certificate, int what, const std::string& value) const {
        X509V3_CTX context;
        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, certificate_ ? certificate_.get() : &certificate, &certificate, nullptr,
                       nullptr, 0);
        X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str());
        require(extension != nullptr && X509_add_ext(&certificate, extension, -1) == 1);
        X509_EXTENSION_free(extension);
    }
    [[nodiscard]] X509Pointer build(const std::string& subject, EVP_PKEY& key, const std::string& names,
                                    std::chrono::hours from, std::chrono::hours until, bool authority) const {
        X509Pointer made(X509_new());
        require(made != nullptr);
        const auto seconds = [](std::chrono::hours hours) {
            return static_cast<long>(std::chrono::seconds(hours).count());
        };
        X509_set_version(made.get(), X509_VERSION_3);
        static long serial = 0;
        ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial);
        X509_gmtime_adj(X509_getm_notBefore(made.get()), seconds(from));
        X509_gmtime_adj(X509_getm_notAfter(made.get()), seconds(until));
        X509_set_pubkey(made.get(), &key);
        X509_NAME* const name = X509_get_subject_name(made.get());
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
        X509_set_issuer_name(made.get(), certificate_ ? X509_get_subject_name(certificate_.get()) : name);
        if (authority) extend(*made, NID_basic_constraints, "critical,CA:TRUE");
        if (!names.empty()) extend(*made, NID_subject_alt_name, names);
        require(X509_sign(made.get(), key_.get(), EVP_sha256()) != 0);
        return made;
    }

    std::filesystem::path directory_;
    std::string name_;
    Key key_;
    X509Pointer certificate_;
};

}  // namespace smartcache::test
