//! Requests to a server, as `strongroom_wire` describes them.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde::Serialize;
use strongroom_core::{
    Condition, Error, ErrorKind, ListOptions, Metadata, MetadataPatch, Result, SecretPath, Version,
    VersionSelector,
};
use strongroom_wire::{
    BatchRequest, MAX_BODY, NewApprovalBody, NewVersion, encode_put, entity_tag,
};

use crate::addresses::Access;

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request. It has no `Debug`: its body may hold a value.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path with its query.
    pub(crate) target: String,
    /// The JSON to send. A body with a value is wiped when its last copy is dropped.
    pub(crate) body: Option<Bytes>,
    pub(crate) condition: Option<(HeaderName, HeaderValue)>,
    pub(crate) access: Access,
}

impl Request {
    fn new(method: Method, target: impl Into<String>, access: Access) -> Self {
        Self { method, target: target.into(), body: None, condition: None, access }
    }

    fn read(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target, Access::Read)
    }

    /// A change that needs no body.
    fn post(resource: &str, path: &SecretPath) -> Self {
        Self::new(Method::POST, at(resource, path), Access::Write)
    }

    fn with_json(mut self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|_| Error::new(ErrorKind::Internal, "report this").because("no JSON form"))?;
        self.body = Some(Bytes::from(body));
        Ok(self)
    }

    pub(crate) fn store() -> Self {
        Self::read("/v1/store")
    }

    pub(crate) fn changes() -> Self {
        Self::read("/v1/changes")
    }

    pub(crate) fn new_approval(new: &NewApprovalBody) -> Result<Self> {
        Self::new(Method::POST, "/v1/approvals", Access::Write).with_json(new)
    }

    /// The state of a request for approval, after so many seconds if it stays open.
    pub(crate) fn approval(id: &str, wait: u64) -> Result<Self> {
        check_id(id)?;
        let mut query = Query::new();
        query.add("wait", &wait.to_string());
        Ok(Self::read(query.behind(format!("/v1/approvals/{id}"))))
    }

    pub(crate) fn withdraw_approval(id: &str) -> Result<Self> {
        check_id(id)?;
        let target = format!("/v1/approvals/{id}/withdraw");
        Ok(Self::new(Method::POST, target, Access::Write))
    }

    pub(crate) fn health() -> Self {
        Self::read("/v1/store/health")
    }

    /// `None` if this release cannot name the version.
    pub(crate) fn get(path: &SecretPath, version: &VersionSelector) -> Option<Self> {
        let target = at("secrets", path);
        let mut query = Query::new();
        match version {
            VersionSelector::Active => {}
            VersionSelector::Exact(version) => query.add("version", &version.text()),
            VersionSelector::Stage(stage) => query.add("stage", stage),
            _ => return None,
        }
        Some(Self::read(query.behind(target)))
    }

    pub(crate) fn batch(paths: &[SecretPath]) -> Result<Self> {
        let request = Self::new(Method::POST, "/v1/batch", Access::Read);
        request.with_json(&BatchRequest { paths: paths.to_vec() })
    }

    /// It takes a while for a long value.
    pub(crate) fn put(path: &SecretPath, new: &NewVersion, condition: &Condition) -> Result<Self> {
        check(&new.metadata)?;
        let mut request = Self::new(Method::PUT, at("secrets", path), Access::Write);
        let body = encode_put(new)?;
        // A server would close the connection before it has read all of it, which looks like an outage.
        if body.len() > MAX_BODY {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "split the value or store a reference",
            )
            .because(format!(
                "the value takes more than {} MiB in JSON",
                MAX_BODY / (1024 * 1024)
            )));
        }
        request.body = Some(Bytes::from_owner(body));
        request.condition = match condition {
            Condition::None => None,
            Condition::MustNotExist => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
            Condition::MustBeVersion(version) => {
                let tag = HeaderValue::try_from(entity_tag(version)).map_err(|_| {
                    Error::new(ErrorKind::InvalidInput, "give a version that the store has given")
                        .because("no tag can name the version of the condition")
                })?;
                Some((IF_MATCH, tag))
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "upgrade `strongroom-backend-remote`",
                )
                .because("this release does not know the condition of the write"));
            }
        };
        Ok(request)
    }

    pub(crate) fn delete(path: &SecretPath) -> Self {
        Self::new(Method::DELETE, at("secrets", path), Access::Write)
    }

    pub(crate) fn undelete(path: &SecretPath) -> Self {
        Self::post("undelete", path)
    }

    pub(crate) fn destroy(path: &SecretPath) -> Self {
        Self::post("destroy", path)
    }

    pub(crate) fn rotate(path: &SecretPath) -> Self {
        Self::post("rotate", path)
    }

    pub(crate) fn rollback(path: &SecretPath, version: &Version) -> Self {
        let mut query = Query::new();
        query.add("version", &version.text());
        Self::new(Method::POST, query.behind(at("rollback", path)), Access::Write)
    }

    pub(crate) fn list(prefix: Option<&SecretPath>, options: &ListOptions) -> Self {
        let mut query = Query::new();
        if let Some(prefix) = prefix {
            query.add("prefix", prefix.as_str());
        }
        for (name, value) in &options.tags {
            query.add(&format!("tag.{name}"), value);
        }
        if let Some(kind) = options.kind {
            query.add("kind", kind.as_str());
        }
        if let Some(tier) = options.tier {
            query.add("tier", tier.as_str());
        }
        if options.include_deleted {
            query.add("include_deleted", "true");
        }
        if let Some(page) = &options.page {
            query.add("page", page.as_str());
        }
        Self::read(query.behind("/v1/secrets".to_owned()))
    }

    pub(crate) fn versions(path: &SecretPath) -> Self {
        Self::read(at("versions", path))
    }

    pub(crate) fn describe(path: &SecretPath) -> Self {
        Self::read(at("metadata", path))
    }

    pub(crate) fn annotate(path: &SecretPath, patch: &MetadataPatch) -> Result<Self> {
        check(patch)?;
        Self::new(Method::PATCH, at("metadata", path), Access::Write).with_json(patch)
    }
}

/// Refuses an id that would not stand for itself in a URL.
fn check_id(id: &str) -> Result<()> {
    if (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "use the id that the server has given")
        .because("not the id of a request for approval"))
}

/// Refuses a patch over a limit of every store: JSON would round a time of other years to one within the limits.
fn check(patch: &MetadataPatch) -> Result<()> {
    patch.apply(&mut Metadata::default())
}

/// A secret below a resource. The characters of a path stand for themselves in a URL.
fn at(resource: &str, path: &SecretPath) -> String {
    format!("/v1/{resource}/{path}")
}

/// The query of a URL.
struct Query(String);

impl Query {
    fn new() -> Self {
        Self(String::new())
    }

    fn add(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.extend(utf8_percent_encode(name, RESERVED));
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, RESERVED));
    }

    fn behind(self, path: String) -> String {
        path + &self.0
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::{PageToken, SecretKind, SecretValue, Tier};

    use super::*;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    #[test]
    fn requests_name_what_they_are_about() {
        let at = path("acme/a+b@c:d");
        let target = |version: &VersionSelector| Request::get(&at, version).unwrap().target;
        assert_eq!(target(&VersionSelector::Active), "/v1/secrets/acme/a+b@c:d");
        assert_eq!(
            target(&VersionSelector::Exact("a&b +\u{e4}".into())),
            "/v1/secrets/acme/a+b@c:d?version=a%26b%20%2B%C3%A4"
        );
        assert_eq!(
            target(&VersionSelector::Stage("AWSPREVIOUS".into())),
            "/v1/secrets/acme/a+b@c:d?stage=AWSPREVIOUS"
        );
        assert_eq!(Request::rollback(&path("a"), &3.into()).target, "/v1/rollback/a?version=3");
        let options = ListOptions::new()
            .tag("team", "pay=ments")
            .tag("x=", "")
            .kind(SecretKind::ApiKey)
            .tier(Tier::Critical)
            .include_deleted()
            .page(Some(PageToken::new("t k/+")));
        assert_eq!(
            Request::list(Some(&path("a/b")), &options).target,
            "/v1/secrets?prefix=a%2Fb&tag.team=pay%3Dments&tag.x%3D=&kind=api_key\
             &tier=critical&include_deleted=true&page=t%20k%2F%2B"
        );
        assert_eq!(Request::list(None, &ListOptions::new()).target, "/v1/secrets");
    }

    #[test]
    fn only_what_changes_nothing_is_a_read() {
        let at = path("a");
        for read in [
            Request::store(),
            Request::health(),
            Request::changes(),
            Request::get(&at, &VersionSelector::Active).unwrap(),
            Request::batch(std::slice::from_ref(&at)).unwrap(),
            Request::list(None, &ListOptions::new()),
            Request::versions(&at),
            Request::describe(&at),
            Request::approval("0a", 20).unwrap(),
        ] {
            assert_eq!(read.access, Access::Read, "{}", read.target);
        }
        for write in [
            Request::delete(&at),
            Request::undelete(&at),
            Request::destroy(&at),
            Request::rotate(&at),
            Request::rollback(&at, &1.into()),
            Request::withdraw_approval("0a").unwrap(),
            Request::annotate(&at, &MetadataPatch::new()).unwrap(),
        ] {
            assert_eq!(write.access, Access::Write, "{}", write.target);
        }
    }

    #[test]
    fn an_id_that_would_change_the_url_is_refused() {
        assert_eq!(Request::approval("0a", 20).unwrap().target, "/v1/approvals/0a?wait=20");
        for odd in ["", "../a", "a/b", "a?b", &"a".repeat(65)] {
            assert!(Request::approval(odd, 0).is_err(), "{odd}");
            assert!(Request::withdraw_approval(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_time_that_json_would_change_is_refused() {
        let late = std::time::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_800);
        let patch = MetadataPatch::new().expires_at(late);
        let error = Request::annotate(&path("a"), &patch).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let new = NewVersion { value: SecretValue::from("v"), metadata: patch, scope: None };
        assert!(Request::put(&path("a"), &new, &Condition::None).is_err());
    }

    #[test]
    fn a_value_that_no_server_takes_is_refused() {
        let put = |length: usize| {
            let value = SecretValue::from("x".repeat(length));
            let new = NewVersion { value, metadata: MetadataPatch::new(), scope: None };
            Request::put(&path("a"), &new, &Condition::None).map(drop)
        };
        put(MAX_BODY - "{\"value\":\"\"}".len()).unwrap();
        assert_eq!(put(MAX_BODY).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_condition_is_a_header() {
        let new = NewVersion {
            value: SecretValue::from("v"),
            metadata: MetadataPatch::new(),
            scope: None,
        };
        let header = |condition| {
            let request = Request::put(&path("a"), &new, &condition).unwrap();
            assert_eq!(request.access, Access::Write);
            request.condition.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        };
        assert_eq!(header(Condition::None), None);
        assert_eq!(header(Condition::MustNotExist).unwrap(), "if-none-match: *");
        assert_eq!(header(Condition::MustBeVersion(3.into())).unwrap(), "if-match: \"3\"");
        let odd = Condition::MustBeVersion("a \"b\"\n".into());
        assert_eq!(header(odd).unwrap(), "if-match: \"a%20%22b%22%0A\"");
    }
}
