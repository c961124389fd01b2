//! The OpenAPI document is a file that a reviewer sees change.

use std::{fs, path::Path, process::Command};

use accrue::api;
use serde_json::Value;

#[test]
#[expect(clippy::disallowed_methods, reason = "accepting a change is asked for from outside")]
fn the_committed_document_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&api::openapi()).unwrap());
    if std::env::var("ACCRUE_TEST_ACCEPT").is_ok() {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "the API has changed: look at it, then accept it by ACCRUE_TEST_ACCEPT=1 cargo test the_committed_document"
    );
}

#[test]
fn every_operation_is_described() {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let place = format!("{method} {path}");
            assert!(
                operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                "{place} has no summary"
            );
            assert!(
                tags.contains(&&operation["tags"][0]),
                "{place} has an unknown tag {}",
                operation["tags"]
            );
            assert!(operation["operationId"].as_str().is_some(), "{place} has no id");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(
                    response["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{place} {status}"
                );
            }
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.split('}').next()) {
                let named = operation["parameters"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one["name"] == name));
                assert!(named, "{place} does not describe {{{name}}}");
            }
        }
    }
    assert!(operations > 50, "{operations}");
}

#[test]
fn operation_ids_are_unique() {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut ids: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

/// Where every `$ref` of a document leads.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 500, "{}", found.len());
    let is_dead = |to: &&&str| to.strip_prefix('#').and_then(|to| document.pointer(to)).is_none();
    let dead: Vec<_> = found.iter().filter(is_dead).collect();
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the validator lives in a Python that is told from outside")]
fn the_committed_document_is_valid_for_somebody_elses_validator() {
    let python = std::env::var("ACCRUE_TEST_PYTHON")
        .expect("run the tests by `cargo xtask test`, which installs the validator in a Python of its own");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let output = Command::new(python).args(["-m", "openapi_spec_validator"]).arg(document).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}{}", said, String::from_utf8_lossy(&output.stderr));
}
