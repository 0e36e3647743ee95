//! Values in JSON, in buffers that are wiped.

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strongroom_core::{
    Error, ErrorKind, MetadataPatch, Result, SecretPath, SecretValue, ValueFormat, WipedBuffer,
};
use zeroize::{Zeroize as _, Zeroizing};

/// What a value takes in a body besides its bytes, in bytes, if nothing is escaped.
pub(crate) const ROOM: usize = 512;

/// The members that hold a value; one of them is there.
#[derive(Serialize)]
pub(crate) struct ValueMembers<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Exposed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<InBase64<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Exposed<'a> {
    Text(&'a str),
    Fields(&'a RawValue),
}

struct InBase64<'a>(&'a [u8]);

impl Serialize for InBase64<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

impl<'a> ValueMembers<'a> {
    pub(crate) fn new(value: &'a SecretValue) -> Self {
        let in_base64 = || Self { value: None, value_base64: Some(InBase64(value.expose_bytes())) };
        if value.format() == ValueFormat::Binary {
            return in_base64();
        }
        let Ok(text) = value.expose_text() else { return in_base64() };
        let fields = Some(text).filter(|_| value.format() == ValueFormat::Fields);
        let fields = fields.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        let fields = fields.filter(|raw| is_object(raw));
        let exposed = fields.map_or(Exposed::Text(text), Exposed::Fields);
        Self { value: Some(exposed), value_base64: None }
    }
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// Serialises into a buffer that is wiped, also when it has to grow.
pub(crate) fn to_wiped(body: &impl Serialize, capacity: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut buffer = WipedBuffer::with_capacity(capacity);
    serde_json::to_writer(&mut buffer, body)
        .map_err(|_| Error::new(ErrorKind::Internal, "report this").because("no JSON form"))?;
    Ok(buffer.into_inner())
}

/// A body as a value, so that it is wiped and its members are read without a copy that is not.
pub(crate) fn body_of(mut body: Zeroizing<Vec<u8>>) -> Result<SecretValue> {
    SecretValue::from_stored(ValueFormat::Text, std::mem::take(&mut *body))
        .map_err(|_| invalid("the body is not UTF-8"))
}

/// The value in the members of a body.
pub(crate) fn decode_value(
    body: &SecretValue,
    value: Option<&RawValue>,
    value_base64: Option<&RawValue>,
) -> Result<SecretValue> {
    let text_of = |name| body.field(name).map_err(|_| invalid("a text is not valid Unicode"));
    match (value, value_base64) {
        (Some(_), Some(_)) => Err(invalid("the body has both `value` and `value_base64`")),
        (None, None) => Err(invalid("the body has neither `value` nor `value_base64`")),
        (Some(raw), None) if raw.get().starts_with('"') => text_of("value"),
        (Some(raw), None) if is_object(raw) => {
            SecretValue::from_stored(ValueFormat::Fields, Vec::from(raw.get()))
        }
        (Some(_), None) => Err(invalid("`value` is neither a text nor an object")),
        (None, Some(raw)) if raw.get().starts_with('"') => {
            decode_base64(text_of("value_base64")?.expose_bytes())
        }
        (None, Some(_)) => Err(invalid("`value_base64` is not a text")),
    }
}

fn decode_base64(encoded: &[u8]) -> Result<SecretValue> {
    let mut bytes = vec![0; base64::decoded_len_estimate(encoded.len())];
    let Ok(length) = STANDARD.decode_slice(encoded, &mut bytes) else {
        bytes.zeroize();
        return Err(invalid("`value_base64` is not base64 with padding"));
    };
    bytes.truncate(length);
    Ok(SecretValue::binary(bytes))
}

pub(crate) fn invalid(cause: &'static str) -> Error {
    let advice = "send `value` with a text or an object, or `value_base64`";
    Error::new(ErrorKind::InvalidInput, advice).because(cause)
}

/// The error of a body that is not of the right form. The text of the parser is not passed on, as it may quote a value.
pub(crate) fn malformed(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    Error::new(ErrorKind::InvalidInput, "send JSON with the members that the API describes")
        .because(format!("the body is not valid at line {line}, column {column}"))
}

/// What a `put` writes.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The value.
    pub value: SecretValue,
    /// Changes to metadata in the same write.
    pub metadata: MetadataPatch,
    /// The role that may read the secret from then on.
    pub scope: Option<String>,
}

/// What a write of a secret takes: `value` or `value_base64`.
#[cfg(feature = "openapi")]
#[derive(Debug, utoipa::ToSchema, Serialize)]
#[schema(as = NewVersion)]
#[serde(deny_unknown_fields)]
pub struct NewVersionSchema {
    /// A text or an object of fields.
    #[schema(schema_with = crate::openapi::written_value)]
    pub value: Option<String>,
    /// Bytes that are not text.
    #[schema(schema_with = crate::openapi::written_base64)]
    pub value_base64: Option<String>,
    /// Changes of metadata in the same write.
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatchSchema>,
    /// The role that may read the secret from then on, where the store has such.
    pub scope: Option<String>,
}

/// Changes of metadata, as a merge patch (RFC 7396). A member that is left out changes nothing.
#[cfg(feature = "openapi")]
#[derive(Debug, utoipa::ToSchema, Serialize)]
#[schema(as = MetadataPatch)]
#[serde(deny_unknown_fields)]
pub struct MetadataPatchSchema {
    /// The kind of credential.
    #[schema(schema_with = crate::openapi::kind)]
    pub kind: Option<String>,
    /// How sensitive the secret is.
    #[schema(schema_with = crate::openapi::tier)]
    pub tier: Option<String>,
    /// A description for people; `null` removes it.
    pub description: Option<String>,
    /// From when on reads fail; `null` removes it.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// How often the secret should be replaced, in seconds; `null` removes it.
    pub rotation_interval_seconds: Option<f64>,
    /// Tags to set or to remove.
    #[schema(schema_with = crate::openapi::tag_changes)]
    pub tags: Option<String>,
    /// Who changes it.
    pub updated_by: Option<String>,
}

/// The body of a `put`.
///
/// # Errors
/// [`ErrorKind::Internal`].
pub fn encode_put(new: &NewVersion) -> Result<Zeroizing<Vec<u8>>> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(flatten)]
        value: ValueMembers<'a>,
        #[serde(skip_serializing_if = "MetadataPatch::is_empty")]
        metadata: &'a MetadataPatch,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<&'a str>,
    }
    let value = ValueMembers::new(&new.value);
    let body = Body { value, metadata: &new.metadata, scope: new.scope.as_deref() };
    to_wiped(&body, new.value.len() + ROOM)
}

/// A secret that is to be created.
#[derive(Clone, Debug)]
pub struct NamedValue {
    /// Its path.
    pub name: SecretPath,
    /// The value.
    pub value: SecretValue,
}

/// A secret to create.
#[cfg(feature = "openapi")]
#[derive(Debug, utoipa::ToSchema, Serialize)]
#[schema(as = NamedValue)]
#[serde(deny_unknown_fields)]
pub struct NamedValueSchema {
    /// Its path.
    pub name: String,
    /// A text or an object of fields.
    #[schema(schema_with = crate::openapi::written_value, required)]
    pub value: String,
}

/// What a body with a `name` and a value creates.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub fn decode_named(body: Zeroizing<Vec<u8>>) -> Result<NamedValue> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body<'a> {
        name: String,
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let whole = body_of(body)?;
    let Body { name, value } =
        serde_json::from_str(whole.expose_text()?).map_err(|error| malformed(&error))?;
    let name = SecretPath::parse(&name)?;
    Ok(NamedValue { name, value: decode_value(&whole, Some(value), None)? })
}

/// What a body of a `put` writes.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub fn decode_put(body: Zeroizing<Vec<u8>>) -> Result<NewVersion> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body<'a> {
        #[serde(borrow)]
        value: Option<&'a RawValue>,
        #[serde(borrow)]
        value_base64: Option<&'a RawValue>,
        #[serde(default)]
        metadata: MetadataPatch,
        scope: Option<String>,
    }
    let whole = body_of(body)?;
    let body: Body<'_> =
        serde_json::from_str(whole.expose_text()?).map_err(|error| malformed(&error))?;
    let value = decode_value(&whole, body.value, body.value_base64)?;
    Ok(NewVersion { value, metadata: body.metadata, scope: body.scope })
}
