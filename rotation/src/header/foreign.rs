//! Headers that are defined to speak of something other than a key.

use http::HeaderName;

const CACHING: &str = "how long a cache may keep the response (RFC 9111)";
const COOKIE: &str = "about a cookie (RFC 6265)";
const CONNECTION: &str = "how long to use a connection or a host";
const ENDPOINT: &str = "since when the endpoint is deprecated (RFC 9745)";
const PREFLIGHT: &str = "how long a browser may keep the answer to a preflight request (Fetch)";
const QUOTA: &str = "about a quota of requests";
const RESOURCE: &str = "about the resource in the response (RFC 9110)";
const RESPONSE: &str = "about the response itself";
const RETRY: &str = "when to send the next request (RFC 9110)";

/// Response headers with a defined meaning, most of which hold a number or a timestamp. `Sunset` is
/// not among them, because some services send it for keys.
const REGISTERED: [(&str, &str); 18] = [
    ("access-control-max-age", PREFLIGHT),
    ("age", CACHING),
    ("alt-svc", CONNECTION),
    ("cache-control", CACHING),
    ("cdn-cache-control", CACHING),
    ("content-length", RESPONSE),
    ("content-range", RESPONSE),
    ("date", RESPONSE),
    ("deprecation", ENDPOINT),
    ("etag", RESOURCE),
    ("expires", CACHING),
    ("keep-alive", CONNECTION),
    ("last-modified", RESOURCE),
    ("server-timing", RESPONSE),
    ("set-cookie", COOKIE),
    ("strict-transport-security", CONNECTION),
    ("surrogate-control", CACHING),
    ("x-accel-expires", CACHING),
];

/// Parts of names that services spell in many ways, such as `X-RateLimit-Reset`,
/// `Anthropic-RateLimit-Tokens-Reset` or `Retry-After-Ms`.
const FAMILIES: [(&str, &str); 3] =
    [("ratelimit", QUOTA), ("rate-limit", QUOTA), ("retry-after", RETRY)];

/// What this header is defined to mean, if it is never the expiry of a key.
pub(super) fn meaning(name: &HeaderName) -> Option<&'static str> {
    let name = name.as_str();
    let registered = REGISTERED.iter().find(|(other, _)| *other == name);
    let family = || FAMILIES.iter().find(|(part, _)| name.contains(part));
    registered.or_else(family).map(|(_, meaning)| *meaning)
}
