//! The OpenAPI document is a file that a reviewer sees change.

use std::{fs, path::Path};

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
