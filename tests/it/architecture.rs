//! The map in `docs/ARCHITECTURE.md`, as a test. To allow a new dependency, edit the table: the reviewer
//! will see it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What every capability may use.
const GROUND: &[&str] = &["app", "auth", "clocks"];

/// Who may import whom beside the ground. A module may always import itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("app", &["config"]),
    ("auth", &["app"]),
    ("system", &["app"]),
    ("housekeeping", &["app"]),
    ("clocks", &["app", "auth"]),
    ("calculate", &[]),
    ("catalog", &[]),
    ("issuers", &[]),
    ("customers", &["issuers"]),
    ("metering", &["catalog", "customers"]),
    ("subscriptions", &["catalog", "customers"]),
    ("ledger", &["customers"]),
    ("invoices", &["catalog", "issuers", "customers", "subscriptions", "metering", "ledger"]),
    ("archives", &["catalog", "subscriptions", "metering"]),
    ("payments", &["customers", "invoices", "ledger"]),
    ("credit_notes", &["customers", "invoices", "payments", "ledger"]),
    ("lifecycle", &["catalog", "invoices", "payments", "subscriptions"]),
    ("corrections", &["metering", "invoices", "payments"]),
    ("dunning", &["customers", "invoices", "payments", "subscriptions"]),
    ("entitlements", &["catalog", "customers", "subscriptions", "metering"]),
    ("alerts", &["catalog", "customers", "subscriptions", "metering", "invoices", "entitlements"]),
    ("notifications", &["issuers", "customers", "invoices"]),
    ("webhooks", &["customers"]),
    ("timeline", &["customers", "notifications"]),
];

/// The only files that know every capability.
const KNOW_ALL: &[&str] = &["api", "worker", "cli", "lib", "main"];

/// Inside a capability: the file's name says which part of the outside world it may touch.
const MAY_NOT_MENTION: &[(&str, &[&str])] = &[
    ("model.rs", &["actix_web", "DatabaseConnection", "ConnectionTrait", "Utc::now", "store::"]),
    ("store.rs", &["actix_web", "outbox::", "Utc::now"]),
    ("service.rs", &["actix_web", "Entity::", "Utc::now"]),
    ("http.rs", &["Entity::", "Utc::now", "ActiveModel"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

#[test]
fn imports_follow_the_map() {
    let mut violations = BTreeSet::new();
    for (module, allowed) in MAY_IMPORT {
        let is_ground = GROUND.contains(module) || ["config", "system", "housekeeping"].contains(module);
        for (file, text) in
            sources(&[root().join("src").join(module), root().join(format!("src/{module}.rs"))])
        {
            for imported in crate_imports(&without_tests(&text)) {
                let on_ground = !is_ground && GROUND.contains(&imported.as_str());
                if imported != *module && !on_ground && !allowed.contains(&imported.as_str()) {
                    violations.insert(format!("{file}: `{module}` may not import `{imported}`"));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_module_stands_in_the_map() {
    let known: BTreeSet<&str> =
        MAY_IMPORT.iter().map(|(module, _)| *module).chain(KNOW_ALL.iter().copied()).collect();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(known.contains(module.as_str()), "`{module}` is not in the table above");
    }
}

#[test]
fn a_files_name_says_what_it_may_touch() {
    let mut violations = BTreeSet::new();
    for (file, text) in sources(&[root().join("src")]) {
        let text = without_tests(&text);
        let inside_capability = !file.contains("/src/system/") && !file.contains("/src/cli/");
        for (name, banned) in MAY_NOT_MENTION {
            let is_it = file.ends_with(&format!("/{name}")) && inside_capability;
            for word in banned.iter().filter(|word| is_it && text.contains(**word)) {
                violations.insert(format!("{file}: `{name}` may not mention `{word}`"));
            }
        }
        if !file.contains("/auth/") && other_stores(&text) {
            violations.insert(format!("{file}: reaches into another capability's store"));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn the_pure_rules_touch_nothing() {
    for (file, text) in sources(&[root().join("crates/core/src")]) {
        for word in ["actix_web", "tokio", "std::fs", "std::net", "std::env", "f64", "f32"] {
            assert!(!without_tests(&text).contains(word), "{file} mentions {word}");
        }
    }
}

#[test]
fn the_platform_knows_no_capability() {
    let manifest = fs::read_to_string(root().join("crates/platform/Cargo.toml")).unwrap();
    assert!(!manifest.contains("accrue.workspace") && !manifest.contains("accrue ="));
}

/// `crate::payments::store` and the like.
fn other_stores(text: &str) -> bool {
    text.match_indices("crate::").any(|(at, _)| {
        let path: String =
            text[at..].chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        path.contains("::store")
    })
}

fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn sources(places: &[PathBuf]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut queue = places.to_vec();
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            queue.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            found.push((path.display().to_string(), text));
        }
    }
    found
}

/// The first segment of every `crate::…` path, also inside `use crate::{a, b::{c, d}};`.
fn crate_imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, word) in text.match_indices("crate::") {
        let rest = &text[at + word.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_segments(group)),
            None => {
                found.insert(name_at(rest));
            }
        }
    }
    found.retain(|name| name.starts_with(char::is_lowercase));
    found
}

fn first_segments(group: &str) -> Vec<String> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, true);
    for token in group.split_inclusive(['{', '}', ',']) {
        if depth == 0 && start {
            found.push(name_at(token.trim_start()));
        }
        match token.chars().last() {
            Some('{') => depth += 1,
            Some('}') if depth == 0 => break,
            Some('}') => depth -= 1,
            _ => {}
        }
        start = depth == 0;
    }
    found
}

fn name_at(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{a, b::{c, d}, e::f};\nuse crate::g::h;\nlet x = crate::i::j();";
    let names: Vec<_> = crate_imports(text).into_iter().collect();
    assert_eq!(names, ["a", "b", "e", "g", "i"]);
}
