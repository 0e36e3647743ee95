//! What a request names: the path of a secret, and the parameters of the query.

use axum::extract::{FromRequestParts, Path, Request};
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use strongroom_core::{
    Error, ErrorKind, ListOptions, PageToken, SecretPath, Version, VersionSelector,
};
use url::form_urlencoded;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::answer::{Answer, Refusal};

/// The path of a secret, at the end of the URL.
pub(crate) struct At(pub(crate) SecretPath);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await.map_err(|_| {
            Refusal::invalid("the path is not UTF-8", "encode it as the API describes")
        })?;
        Ok(Self(SecretPath::parse(&path.0)?))
    }
}

impl IntoParams for At {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![in_path(
            "path",
            "The path of the secret, relative to the caller's tenant. It may contain `/`.",
        )]
    }
}

/// The id of a rule, at the end of the URL.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id))
            .map_err(|_| Refusal::invalid("the id is not UTF-8", "use the id that the list shows"))
    }
}

impl IntoParams for Id {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![in_path("id", "The id, as the list shows it.")]
    }
}

/// The parameters `tag.NAME=VALUE` of a listing, in the description of the API.
pub(crate) struct Tags;

impl IntoParams for Tags {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![named("tags", "tag.", "Tags that the secrets have, each as `tag.NAME=VALUE`.")]
    }
}

/// The parameters `tier.BEGINNING=TIER` of an import, in the description of the API.
pub(crate) struct Tiers;

impl IntoParams for Tiers {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The tiers of variables by the beginnings of their names, each as `tier.BEGINNING=TIER`; the \
            longest beginning wins.";
        vec![named("tiers", "tier.", description)]
    }
}

/// Parameters of the query whose names begin with a prefix. An object stands for them: each of its members is one.
fn named(name: &str, prefix: &str, description: &str) -> Parameter {
    let names = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!("^{}.+", prefix.replace('.', "\\."))));
    let text = ObjectBuilder::new().schema_type(Type::String);
    let members = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(names))
        .additional_properties(Some(text));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .description(Some(description))
        .schema(Some(members))
        .build()
}

fn in_path(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// A request without a query and without a condition, which would not be heeded.
pub(crate) struct Plain;

impl<S: Send + Sync> FromRequestParts<S> for Plain {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        Params::parse(parts.uri.query().unwrap_or_default()).finish()?;
        Unconditional::from_request_parts(parts, &()).await?;
        Ok(Self)
    }
}

/// A request without a condition.
pub(crate) struct Unconditional;

impl<S: Send + Sync> FromRequestParts<S> for Unconditional {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        if parts.headers.contains_key(IF_MATCH) || parts.headers.contains_key(IF_NONE_MATCH) {
            return Err(Refusal::invalid(
                "only a write of a value takes a condition",
                "leave `If-Match` and `If-None-Match` out",
            ));
        }
        Ok(Self)
    }
}

/// A request without a query.
pub(crate) struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        Params::parse(parts.uri.query().unwrap_or_default()).finish()?;
        Ok(Self)
    }
}

/// The parameters of a query, which a handler takes one by one: one that is left is a mistake.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn of(request: &Request) -> Self {
        Self::parse(request.uri().query().unwrap_or_default())
    }

    pub(crate) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The value of a parameter that is given at most once.
    pub(crate) fn take(&mut self, name: &'static str) -> Answer<Option<String>> {
        let mut values = self.take_all(name);
        match (values.pop(), values.is_empty()) {
            (value, true) => Ok(value),
            (_, false) => Err(Refusal::invalid(
                "a parameter is given twice that may be given once",
                "give the parameter once",
            )),
        }
    }

    pub(crate) fn take_all(&mut self, name: &'static str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// All parameters whose names begin so, with the rest of their names.
    pub(crate) fn take_below(&mut self, prefix: &'static str) -> Vec<(String, String)> {
        let below = |(given, value): (String, String)| {
            given.strip_prefix(prefix).map(|rest| (rest.to_owned(), value))
        };
        self.0.extract_if(.., |(given, _)| given.starts_with(prefix)).filter_map(below).collect()
    }

    /// Whether a parameter is set, which is `true` or `false`.
    pub(crate) fn take_flag(&mut self, name: &'static str) -> Answer<bool> {
        match self.take(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => {
                let error = Error::new(ErrorKind::InvalidInput, "use one of them");
                Err(error.because(format!("`{name}` is neither `true` nor `false`")).into())
            }
        }
    }

    /// The path below which a request acts, if it is not all.
    pub(crate) fn take_prefix(&mut self) -> Answer<Option<SecretPath>> {
        let parse = |text: String| SecretPath::parse(text.strip_suffix('/').unwrap_or(&text));
        let prefix = self.take("prefix")?.filter(|prefix| !prefix.is_empty());
        Ok(prefix.map(parse).transpose()?)
    }

    /// Fails if a parameter is left.
    pub(crate) fn finish(self) -> Answer<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Refusal::invalid(
            "the query has a parameter that this request does not take",
            "check the names of the parameters in the description of the API",
        ))
    }
}

/// The version to read, by `version` or `stage`.
pub(crate) fn selector(mut params: Params) -> Answer<VersionSelector> {
    let selector = match (params.take("version")?, params.take("stage")?) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid(
                "the query has both `version` and `stage`",
                "name one of them",
            ));
        }
        (Some(version), None) => VersionSelector::Exact(Version::new(&version)),
        (None, Some(stage)) => VersionSelector::Stage(stage.into()),
        (None, None) => VersionSelector::Active,
    };
    params.finish()?;
    Ok(selector)
}

/// What to list, and below which prefix.
pub(crate) fn listing(mut params: Params) -> Answer<(Option<SecretPath>, ListOptions)> {
    let prefix = params.take_prefix()?;
    let mut options = ListOptions::new().page(params.take("page")?.map(PageToken::new));
    for (name, value) in params.take_below("tag.") {
        options = options.tag(name, value);
    }
    let kind = params.take("kind")?.map(|kind| kind.parse()).transpose()?;
    options.kind = kind;
    options.tier = params.take("tier")?.map(|tier| tier.parse()).transpose()?;
    options.include_deleted = params.take_flag("include_deleted")?;
    params.finish()?;
    Ok((prefix, options))
}

/// The version that a request names with `version`.
pub(crate) fn version(mut params: Params) -> Answer<Version> {
    let version = params.take("version")?.filter(|version| !version.is_empty());
    let version = version.ok_or_else(|| {
        Refusal::invalid("the query has no `version`", "name one, such as `?version=3`")
    })?;
    params.finish()?;
    Ok(Version::new(&version))
}

#[cfg(test)]
mod tests {
    use strongroom_core::{SecretKind, Tier};

    use super::*;

    #[test]
    fn a_listing_takes_its_parameters_and_no_others() {
        let query =
            "prefix=a%2Fb/&tag.team%3D=pay%3Dments&tag.x=&kind=api_key&tier=critical&page=t%20k";
        let (prefix, options) = listing(Params::parse(query)).unwrap();
        assert_eq!(prefix.unwrap().as_str(), "a/b");
        assert_eq!(options.tags["team="], "pay=ments");
        assert_eq!(options.tags["x"], "");
        assert_eq!(options.kind, Some(SecretKind::ApiKey));
        assert_eq!(options.tier, Some(Tier::Critical));
        assert_eq!(options.page.unwrap().as_str(), "t k");
        assert!(!options.include_deleted);
        assert!(listing(Params::parse("include_deleted=true")).unwrap().1.include_deleted);
        for query in
            ["perfix=a", "kind=a", "tier=a", "tag=a=b", "prefix=a&prefix=b", "include_deleted=1"]
        {
            assert!(listing(Params::parse(query)).is_err(), "{query}");
        }
    }

    #[test]
    fn a_read_names_one_version() {
        let exact = selector(Params::parse("version=3")).unwrap();
        assert_eq!(exact, VersionSelector::Exact(3.into()));
        let stage = selector(Params::parse("stage=AWSPREVIOUS")).unwrap();
        assert_eq!(stage, VersionSelector::Stage("AWSPREVIOUS".into()));
        assert_eq!(selector(Params::parse("")).unwrap(), VersionSelector::Active);
        for query in ["version=3&stage=a", "version=3&version=4", "verison=3"] {
            assert!(selector(Params::parse(query)).is_err(), "{query}");
        }
        assert_eq!(version(Params::parse("version=3")).unwrap(), 3.into());
        assert!(version(Params::parse("")).is_err());
    }
}
