//! Schemas of members that have a serializer of their own, for a description of the API in
//! [OpenAPI 3.1](https://spec.openapis.org/oas/v3.1.0).

use strongroom_core::{SecretKind, Tier};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, SchemaFormat};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};

pub use crate::secret::{BatchSchema, SecretSchema};
pub use crate::value::{MetadataPatchSchema, NamedValueSchema, NewVersionSchema};

fn text_of<T: AsRef<str>>(description: &str, names: impl Iterator<Item = T>) -> Schema {
    let names: Vec<_> = names.map(|name| name.as_ref().to_owned()).collect();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(names))
        .into()
}

/// The kind of a secret.
#[must_use]
pub fn kind() -> Schema {
    text_of("The kind of credential.", SecretKind::ALL.iter().map(|kind| kind.as_str()))
}

/// The tier of a secret.
#[must_use]
pub fn tier() -> Schema {
    text_of("How sensitive the secret is.", Tier::ALL.iter().map(|tier| tier.as_str()))
}

/// Seconds, exact to the millisecond.
pub(crate) fn seconds() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .description(Some("How often the secret should be replaced, in seconds."))
        .minimum(Some(0.0))
        .into()
}

/// Whether a value comes back in an answer.
#[derive(Clone, Copy)]
enum Use {
    Shown,
    WriteOnly,
}

impl Use {
    fn mark(self, schema: ObjectBuilder) -> ObjectBuilder {
        match self {
            Self::Shown => schema,
            Self::WriteOnly => schema.write_only(true),
        }
    }
}

fn password() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
}

fn value(of: Use) -> Schema {
    let text = of.mark(password());
    let fields = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)));
    let fields = of.mark(fields);
    let description = "The value: a text, or an object of fields.";
    OneOfBuilder::new().item(text).item(fields).description(Some(description)).into()
}

/// A value that an answer holds.
pub(crate) fn shown_value() -> Schema {
    value(Use::Shown)
}

/// A value that never comes back in an answer to this request.
pub(crate) fn written_value() -> Schema {
    value(Use::WriteOnly)
}

fn base64(of: Use) -> Schema {
    of.mark(password())
        .content_encoding("base64")
        .description(Some("A value that is not text, in base64 with padding."))
        .into()
}

/// A binary value that an answer holds.
pub(crate) fn shown_base64() -> Schema {
    base64(Use::Shown)
}

/// A binary value that never comes back in an answer to this request.
pub(crate) fn written_base64() -> Schema {
    base64(Use::WriteOnly)
}

fn or_null(schema_type: Type, description: &str) -> ObjectBuilder {
    let types = SchemaType::from_iter([schema_type, Type::Null]);
    ObjectBuilder::new().schema_type(types).description(Some(description))
}

/// Changes of tags.
pub(crate) fn tag_changes() -> Schema {
    let change = or_null(Type::String, "The value of the tag; `null` removes it.");
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(Schema::from(change)))
        .description(Some("Tags to set or to remove."))
        .into()
}

/// The answers of a batch: a secret or a problem for each path.
pub(crate) fn batch_entries() -> Schema {
    let refused = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("path", ObjectBuilder::new().schema_type(Type::String))
        .property("problem", reference::<crate::Problem>())
        .required("path")
        .required("problem")
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let entry = OneOfBuilder::new().item(reference::<SecretSchema>()).item(refused);
    ArrayBuilder::new()
        .items(entry)
        .description(Some("A secret or a problem for each of the first paths, in their order."))
        .into()
}

fn reference<T: ToSchema>() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(T::name()))
}
