//! The addresses there are, and which methods each takes: read from the OpenAPI document.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

/// The OpenAPI document as it is served, and which methods each address takes.
pub struct Addresses {
    document: &'static str,
    methods: BTreeMap<String, Vec<&'static str>>,
}

#[derive(Deserialize)]
struct Document {
    paths: BTreeMap<String, Methods>,
}

/// What an address takes, by method.
#[derive(Deserialize)]
struct Methods {
    delete: Option<IgnoredAny>,
    get: Option<IgnoredAny>,
    patch: Option<IgnoredAny>,
    post: Option<IgnoredAny>,
    put: Option<IgnoredAny>,
}

impl Methods {
    fn names(&self) -> Vec<&'static str> {
        let known = [
            ("DELETE", &self.delete),
            ("GET", &self.get),
            ("PATCH", &self.patch),
            ("POST", &self.post),
            ("PUT", &self.put),
        ];
        known.into_iter().filter(|(_, taken)| taken.is_some()).map(|(name, _)| name).collect()
    }
}

impl Addresses {
    pub fn of(document: &'static str) -> Self {
        let Document { paths } = serde_json::from_str(document).expect("the committed document is tested");
        let methods = paths.into_iter().map(|(template, methods)| (template, methods.names()));
        Self { document, methods: methods.collect() }
    }

    /// The OpenAPI document as JSON.
    pub fn document(&self) -> &'static str {
        self.document
    }

    /// Which methods an address takes; none if there is no such address.
    pub fn methods_of(&self, path: &str) -> Vec<&'static str> {
        let fits = |template: &str| {
            template.split('/').count() == path.split('/').count()
                && template
                    .split('/')
                    .zip(path.split('/'))
                    .all(|(wanted, given)| wanted == given || (wanted.starts_with('{') && !given.is_empty()))
        };
        let fitting = self.methods.iter().filter(|(template, _)| fits(template));
        let mut methods: Vec<_> = fitting.flat_map(|(_, methods)| methods.iter().copied()).collect();
        methods.sort_unstable();
        methods.dedup();
        methods
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_the_methods_of_every_template_it_fits() {
        let addresses = Addresses::of(
            r#"{"paths":{"/a":{"get":{},"post":{}},"/a/{id}":{"get":{},"delete":{}},"/a/b":{"patch":{}}}}"#,
        );
        assert_eq!(addresses.methods_of("/a"), ["GET", "POST"]);
        assert_eq!(addresses.methods_of("/a/b"), ["DELETE", "GET", "PATCH"]);
        assert!(addresses.methods_of("/a/").is_empty());
        assert!(addresses.methods_of("/a/b/c").is_empty());
    }
}
