#include "fio/sock/url.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::HasSubstr;

TEST(Url, ParsesHostAndPort) {
  const absl::StatusOr<Url> url = Url::Parse("tcp://example.org:3000");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme(), Url::Scheme::kTcp);
  EXPECT_EQ(url->host(), "example.org");
  EXPECT_EQ(url->port(), 3000);
  EXPECT_EQ(url->path(), "");
}

TEST(Url, ParsesBracketedIpv6) {
  const absl::StatusOr<Url> url = Url::Parse("tcp6://[::1]:80");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme(), Url::Scheme::kTcp6);
  EXPECT_EQ(url->host(), "::1");
  EXPECT_EQ(url->port(), 80);
}

TEST(Url, HostAndPortMayBeAbsent) {
  EXPECT_EQ(Url::Parse("tcp://")->host(), "");
  EXPECT_EQ(Url::Parse("tcp://:0")->port(), 0);
  EXPECT_EQ(Url::Parse("tcp4://localhost")->port(), std::nullopt);
  EXPECT_EQ(Url::Parse("tcp://[::]")->port(), std::nullopt);
}

TEST(Url, TheSchemeTellsTheKindAndItsOwnPort) {
  struct {
    const char* text;
    Url::Scheme scheme;
    Url::Kind kind;
    std::optional<uint16_t> default_port;
  } cases[] = {
      {"tcp://h", Url::Scheme::kTcp, Url::Kind::kStream, {}},
      {"tcp4://h", Url::Scheme::kTcp4, Url::Kind::kStream, {}},
      {"tcp6://h", Url::Scheme::kTcp6, Url::Kind::kStream, {}},
      {"udp://h", Url::Scheme::kUdp, Url::Kind::kDatagram, {}},
      {"udp4://h", Url::Scheme::kUdp4, Url::Kind::kDatagram, {}},
      {"udp6://h", Url::Scheme::kUdp6, Url::Kind::kDatagram, {}},
      {"tls://h", Url::Scheme::kTls, Url::Kind::kStream, {}},
      {"http://h", Url::Scheme::kHttp, Url::Kind::kStream, 80},
      {"https://h", Url::Scheme::kHttps, Url::Kind::kStream, 443},
      {"ws://h", Url::Scheme::kWs, Url::Kind::kStream, 80},
      {"wss://h", Url::Scheme::kWss, Url::Kind::kStream, 443},
      {"unix://h", Url::Scheme::kUnix, Url::Kind::kUnix, {}},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<Url> url = Url::Parse(c.text);
    ASSERT_TRUE(url.ok()) << url.status();
    EXPECT_EQ(url->scheme(), c.scheme) << c.text;
    EXPECT_EQ(url->kind(), c.kind) << c.text;
    EXPECT_EQ(url->default_port(), c.default_port) << c.text;
    EXPECT_EQ(url->port(), std::nullopt) << c.text;
    EXPECT_EQ(url->ToString(), c.text);
  }
}

TEST(Url, UnixPathsAreTakenByteByByte) {
  EXPECT_EQ(Url::Parse("unix:///run/x.sock")->path(), "/run/x.sock");
  EXPECT_EQ(Url::Parse("unix://run/x.sock")->path(), "run/x.sock");
  EXPECT_EQ(Url::Parse("unix://@name")->path(), "@name");
  EXPECT_EQ(Url::Parse("unix:///a b?c=%20#[:]")->path(), "/a b?c=%20#[:]");
  EXPECT_EQ(Url::Parse("unix:///x")->host(), "");
}

TEST(Url, KnowsWhichSchemesAskForTls) {
  for (const char* text : {"https://h", "wss://h:1", "tls://h:1"}) {
    EXPECT_TRUE(Url::Parse(text)->is_secure()) << text;
  }
  for (const char* text : {"http://h", "ws://h", "tcp://h:443", "unix:///x"}) {
    EXPECT_FALSE(Url::Parse(text)->is_secure()) << text;
  }
  EXPECT_EQ(Url::WhatIsWrong("ssl://h:1"), "the scheme for TLS is tls");
}

constexpr const char* kKeysOfTls[] = {"cert",        "key",         "ca",
                                      "self_signed", "server_name", "alpn"};

TEST(Url, SchemesThatNeedTlsHaveKeysOfTheirOwn) {
  for (const char* key : kKeysOfTls) {
    for (const char* scheme : {"tls", "https", "wss"}) {
      const std::string text = absl::StrCat(scheme, "://h:1?", key, "=/a,b:c");
      const absl::StatusOr<Url> url = Url::Parse(text);
      ASSERT_TRUE(url.ok()) << url.status();
      EXPECT_EQ(url->Find(key), "/a,b:c");
      EXPECT_EQ(url->ToString(), text);
    }
    for (const char* scheme : {"tcp", "tcp4", "tcp6", "http", "ws"}) {
      EXPECT_EQ(Url::WhatIsWrong(absl::StrCat(scheme, "://h:1?", key, "=x")),
                absl::StrCat("'", key, "' is for TLS: for tls, https and wss"));
    }
  }
}

TEST(Url, FindsKeysByWhomTheyAreFor) {
  const auto find = [](const char* text, Url::Keys keys) {
    return Url::Parse(text)->FindAny(keys);
  };
  EXPECT_EQ(find("tcp://h?proxy_trust=::1", Url::Keys::kOfListening),
            "proxy_trust");
  EXPECT_EQ(find("tcp://h?proxy=v1", Url::Keys::kOfTls), "");
  EXPECT_EQ(find("tls://h?self_signed=yes", Url::Keys::kOfListening),
            "self_signed");
  for (const char* key : kKeysOfTls) {
    const std::string text = absl::StrCat("tls://h?proxy=v1&", key, "=x");
    EXPECT_EQ(find(text.c_str(), Url::Keys::kOfTls), key);
    EXPECT_EQ(find(text.c_str(), Url::Keys::kOfListening), "proxy");
  }
  EXPECT_EQ(find("tls://h?cert=c&key=k&ca=a&server_name=s&alpn=h2",
                 Url::Keys::kOfListening),
            "");
  EXPECT_EQ(find("tls://h", Url::Keys::kOfTls), "");
}

TEST(Url, ABarePathIsAUnixSocket) {
  EXPECT_EQ(*Url::Parse("/run/x.sock"), *Url::Parse("unix:///run/x.sock"));
  EXPECT_EQ(Url::Parse("/run/x.sock")->ToString(), "unix:///run/x.sock");
}

TEST(Url, TheSlashAfterAWebHostIsDropped) {
  EXPECT_EQ(*Url::Parse("http://host/"), *Url::Parse("http://host"));
  EXPECT_EQ(Url::Parse("wss://[::1]:8443/")->ToString(), "wss://[::1]:8443");
}

TEST(Url, RoundTrips) {
  for (const char* text :
       {"tcp://127.0.0.1:3000", "tcp4://localhost", "tcp6://[fe80::1%eth0]:1",
        "tcp://?proxy=v1", "ws://h:1?proxy_trust=::1&proxy=v2", "tcp://",
        "tcp://:65535", "tcp://[::]", "udp://:53", "https://host:1",
        "tls://h:1?cert=a&key=b", "unix:///x", "unix://x/y", "unix://@x",
        "unix://tcp://x"}) {
    const absl::StatusOr<Url> url = Url::Parse(text);
    ASSERT_TRUE(url.ok()) << url.status();
    EXPECT_EQ(url->ToString(), text);
    EXPECT_EQ(*Url::Parse(url->ToString()), *url);
  }
}

TEST(Url, RefusesWhatItCannotMean) {
  for (const char* text : {"",
                           "localhost:3000",
                           "ftp://localhost",
                           "TCP://localhost",
                           "tcp:/x",
                           "tcp://host:",
                           "tcp://host:65536",
                           "tcp://host:-1",
                           "tcp://host:+1",
                           "tcp://host: 1",
                           "tcp://host:000001",
                           "tcp://host:1/path",
                           "tcp://host/",
                           "udp://host:1/",
                           "tcp://a b:1",
                           "tcp://[::1",
                           "tcp://[::1]x",
                           "tcp://[host]:1",
                           "tcp://[]:1",
                           "tcp://[1.2.3.4:5]",
                           "tcp://::1:80",
                           "tcp://user@host:1",
                           "tcp://host:1?q",
                           "tcp://host?q",
                           "http://host/path",
                           "http://host//",
                           "http://host:80/?q",
                           "http://host#f",
                           "http://user@host",
                           "unix://",
                           "unix://@",
                           "unix:/x"}) {
    const absl::StatusOr<Url> url = Url::Parse(text);
    EXPECT_TRUE(absl::IsInvalidArgument(url.status())) << text;
    EXPECT_THAT(url.status().message(), HasSubstr(text));
  }
  EXPECT_FALSE(Url::Parse(std::string("/run/\0x", 7)).ok());
  EXPECT_FALSE(Url::Parse("unix:///run/\nx").ok());
}

// The fault, and what to do about it.
TEST(Url, ErrorsNameTheFault) {
  const struct {
    const char* text;
    const char* wrong;
  } cases[] = {
      {"http://127.0.0.1:80/health",
       "leave out '/health'; an address has no path or fragment"},
      {"tcp://127.0.0.1:80/",
       "leave out '/'; an address has no path or fragment"},
      {"tcp://host/", "leave out '/'; an address has no path or fragment"},
      {"ws://[::1]?q",
       "the query has no key 'q'; there are proxy, proxy_trust"},
      {"tcp://h?", "the query has no key ''; there are proxy, proxy_trust"},
      {"tcp://h?Proxy=v1",
       "the query has no key 'Proxy'; there are proxy, proxy_trust"},
      {"tcp://h?proxy=v1&",
       "the query has no key ''; there are proxy, proxy_trust"},
      {"tcp://h?proxy=v1&proxy=v1", "'proxy' is there twice"},
      {"tcp://h?proxy=v1&proxy_trust=::1&proxy=v2", "'proxy' is there twice"},
      {"tcp://h?proxy", "'proxy' has no value"},
      {"tcp://h?proxy=", "'proxy' has no value"},
      {"tcp://h?proxy=&proxy_trust=::1", "'proxy' has no value"},
      {"tcp://h?proxy=v%31",
       "'proxy' has the value 'v%31', with a character that no value has"},
      {"tcp://h?proxy=v1#f",
       "'proxy' has the value 'v1#f', with a character that no value has"},
      {"tcp://h?proxy=v 1",
       "'proxy' has the value 'v 1', with a character that no value has"},
      {"udp://h:1?proxy=v1",
       "leave out '?proxy=v1'; a query is for streams over TCP"},
      {"tls://h?q",
       "the query has no key 'q'; there are proxy, proxy_trust, cert, key, ca, "
       "self_signed, server_name, alpn"},
      {"tls://h/", "leave out '/'; an address has no path or fragment"},
      {"tls://h?cert=", "'cert' has no value"},
      {"tls://h?cert=a&key=b&cert=c", "'cert' is there twice"},
      {"http://h#f?proxy=v1",
       "leave out '#f?proxy=v1'; an address has no path or fragment"},
      {"http://h/path?proxy=v1",
       "leave out '/path'; an address has no path or fragment"},
      {"http://host#f", "leave out '#f'; an address has no path or fragment"},
      {"tcp://user@host:1", "leave out 'user@'; an address has no user"},
      {"tcp://127.0.0.1:99999", "port '99999' is above 65535"},
      {"tcp://[::1]:65536", "port '65536' is above 65535"},
      {"tcp://host:99999999999999999999999",
       "port '99999999999999999999999' is above 65535"},
      {"tcp://host:", "the port after ':' is missing"},
      {"tcp://host:http",
       "'http' is no port, which is one to five digits, 0 to 65535"},
      {"tcp://host:-1",
       "'-1' is no port, which is one to five digits, 0 to 65535"},
      {"tcp://host:000001",
       "'000001' is no port, which is one to five digits, 0 to 65535"},
      {"tcp://[::1]x", "what follows ']' is 'x' instead of ':' and a port"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Url::Parse(c.text).status().message(),
              absl::StrCat("url '", c.text, "': ", c.wrong));
    EXPECT_EQ(Url::WhatIsWrong(c.text), c.wrong);
  }
  EXPECT_EQ(Url::WhatIsWrong("tcp://host:1"), "");
}

TEST(Url, AQueryHasKeysAndValues) {
  const absl::StatusOr<Url> url = Url::Parse(
      "tcp://[::1]:80?proxy=any&proxy_trust=10.0.0.0/8,fd00::/8,a=b?c");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->host(), "::1");
  EXPECT_EQ(url->port(), 80);
  EXPECT_EQ(url->Find("proxy"), "any");
  EXPECT_EQ(url->Find("proxy_trust"), "10.0.0.0/8,fd00::/8,a=b?c");
  EXPECT_EQ(url->Find("trust"), std::nullopt);
  EXPECT_EQ(url->query(), "proxy=any&proxy_trust=10.0.0.0/8,fd00::/8,a=b?c");
  const Url plain = *Url::Parse("tcp://h");
  EXPECT_EQ(plain.Find("proxy"), std::nullopt);
  EXPECT_EQ(plain.query(), "");
  EXPECT_NE(*Url::Parse("tcp://h?proxy=v1"), plain);
  EXPECT_EQ(Url::Parse("http://h/?proxy=v1")->ToString(), "http://h?proxy=v1");
}

TEST(Url, KnowsLocalhost) {
  for (const char* text : {"tcp://localhost", "udp6://LocalHost:1",
                           "http://localhost.", "tcp://a.b.LOCALHOST.:1"}) {
    EXPECT_TRUE(Url::Parse(text)->is_localhost()) << text;
  }
  for (const char* text : {"tcp://notlocalhost", "tcp://localhost.test",
                           "tcp://127.0.0.1", "tcp://", "unix://localhost"}) {
    EXPECT_FALSE(Url::Parse(text)->is_localhost()) << text;
  }
}

TEST(Url, AnIpv6AddressWithoutBracketsIsToldOfThem) {
  for (const char* text : {"tcp://::1:3000", "tcp://::1", "tcp6://::"}) {
    EXPECT_THAT(Url::Parse(text).status().message(),
                HasSubstr("in brackets, as in tcp://[::1]:3000"));
  }
}

TEST(Url, ErrorsStayShortAndPrintable) {
  for (const char* start : {"", "tcp://", "unix://", "tcp://h:", "tcp://h/",
                            "tcp://[::1]", "tcp://h:9"}) {
    const absl::Status status =
        Url::Parse(start + std::string(1'000'000, '\n')).status();
    EXPECT_LT(status.message().size(), 1'500);
    EXPECT_THAT(status.message(), HasSubstr("\\n"));
  }
  EXPECT_FALSE(Url::Parse("tcp://" + std::string(256, 'a') + ":1").ok());
}

}  // namespace
}  // namespace fio
