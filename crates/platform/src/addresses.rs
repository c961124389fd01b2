//! The addresses there are, which methods each takes, and which query parameters: read from the OpenAPI document.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use serde::Deserialize;
use url::form_urlencoded;

use crate::problem::{FieldError, Problem};

/// The OpenAPI document as it is served, and what each address takes.
pub struct Addresses {
    document: &'static str,
    /// Of each address and method the query parameters.
    taken: BTreeMap<String, BTreeMap<&'static str, Vec<String>>>,
}

#[derive(Deserialize)]
struct Document {
    paths: BTreeMap<String, Methods>,
}

/// What an address takes, by method.
#[derive(Deserialize)]
struct Methods {
    delete: Option<Operation>,
    get: Option<Operation>,
    patch: Option<Operation>,
    post: Option<Operation>,
    put: Option<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    #[serde(rename = "in")]
    place: String,
}

impl Methods {
    fn queries(self) -> BTreeMap<&'static str, Vec<String>> {
        let known = [
            ("DELETE", self.delete),
            ("GET", self.get),
            ("PATCH", self.patch),
            ("POST", self.post),
            ("PUT", self.put),
        ];
        known.into_iter().filter_map(|(name, taken)| Some((name, taken?.query()))).collect()
    }
}

impl Operation {
    fn query(self) -> Vec<String> {
        let query = self.parameters.into_iter().filter(|parameter| parameter.place == "query");
        query.map(|parameter| parameter.name).collect()
    }
}

impl Addresses {
    pub fn of(document: &'static str) -> Self {
        let Document { paths } = serde_json::from_str(document).expect("the committed document is tested");
        let taken = paths.into_iter().map(|(template, methods)| (template, methods.queries()));
        Self { document, taken: taken.collect() }
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
        let fitting = self.taken.iter().filter(|(template, _)| fits(template));
        let mut methods: Vec<_> = fitting.flat_map(|(_, methods)| methods.keys().copied()).collect();
        methods.sort_unstable();
        methods.dedup();
        methods
    }

    /// Refuses query parameters that the request's address does not know: a misspelt filter that is ignored
    /// answers with everything.
    pub fn check_query(&self, request: &HttpRequest) -> Result<(), Problem> {
        if request.query_string().is_empty() {
            return Ok(());
        }
        let pattern = request.match_pattern().unwrap_or_default();
        let known = self.taken.get(&pattern).and_then(|methods| methods.get(request.method().as_str()));
        let errors = known.map(|known| unknown(known, request.query_string())).unwrap_or_default();
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
    }
}

fn unknown(known: &[String], query: &str) -> Vec<FieldError> {
    let detail = if known.is_empty() {
        "is not known here: this address takes no query parameters".to_owned()
    } else {
        format!("is not known here: there are {}", known.join(", "))
    };
    let given = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned());
    let unknown = given.filter(|name| !known.contains(name));
    unknown.map(|name| FieldError::new(name, "unknown_parameter", detail.clone())).collect()
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

    #[test]
    fn a_parameter_that_is_not_known_is_named_with_those_that_are() {
        let known = ["limit".to_owned(), "customer".to_owned()];
        assert_eq!(unknown(&known, "limit=1&customer=a%20b"), []);
        let detail = "is not known here: there are limit, customer";
        assert_eq!(unknown(&known, "limit=1&cust=a"), [FieldError::new("cust", "unknown_parameter", detail)]);
    }
}
