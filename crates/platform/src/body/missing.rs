//! Which fields a body lacks, all at once. Reading stops at the first; the schema knows the rest.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema, schema::ArrayItems},
};

use crate::problem::FieldError;

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Every field that the schema of `T` requires and the JSON text lacks.
pub(super) fn fields<T: ToSchema>(text: &str) -> Vec<FieldError> {
    let Ok(body) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let mut schemas = Vec::new();
    T::schemas(&mut schemas);
    let mut missing = Vec::new();
    look(&schemas.into_iter().collect(), &T::schema(), &body, "", &mut missing);
    missing.into_iter().map(|pointer| FieldError::new(pointer, "required", "is required")).collect()
}

/// Variants are left out: which of them is meant is not known before it is read.
fn look(schemas: &Schemas, schema: &RefOr<Schema>, body: &Value, at: &str, missing: &mut Vec<String>) {
    let schema = match schema {
        RefOr::T(schema) => schema,
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
            if let Some(schema) = schemas.get(name) {
                look(schemas, schema, body, at, missing);
            }
            return;
        }
    };
    match (schema, body) {
        (Schema::Object(object), Value::Object(fields)) => {
            let lacking = object.required.iter().filter(|name| !fields.contains_key(*name));
            missing.extend(lacking.map(|name| format!("{at}/{name}")));
            for (name, schema) in &object.properties {
                if let Some(value) = fields.get(name) {
                    look(schemas, schema, value, &format!("{at}/{name}"), missing);
                }
            }
        }
        (Schema::Array(array), Value::Array(items)) => {
            if let ArrayItems::RefOrSchema(schema) = &array.items {
                for (index, item) in items.iter().enumerate() {
                    look(schemas, schema, item, &format!("{at}/{index}"), missing);
                }
            }
        }
        _ => {}
    }
}
