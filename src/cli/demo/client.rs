//! The demo's client: plain HTTP, as any backend would.

use anyhow::{Context, bail};
use serde_json::Value;

/// Talks to the API with one key.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    pub(super) fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        let bytes = self.send(request, path).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("{path} did not answer with JSON"))
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.patch(format!("{}{path}", self.url)).json(body);
        let bytes = self.send(request, path).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("{path} did not answer with JSON"))
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let bytes = self.bytes(path).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("{path} did not answer with JSON"))
    }

    pub(super) async fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.send(self.http.get(format!("{}{path}", self.url)), path).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, path: &str) -> anyhow::Result<Vec<u8>> {
        let answer = request.bearer_auth(&self.key).send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?.to_vec();
        if !status.is_success() {
            bail!("{path} answered {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes)
    }
}
