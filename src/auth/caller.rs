//! Who calls, and what a handler gets: the right to read, or to write once.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc, time::Duration};

use accrue_core::id::TenantId;
use accrue_platform::{
    addresses::Addresses,
    db::is_unique_violation,
    export::Form,
    idempotency::{self, InFlightGuard, StoredAnswer},
    problem::{self, Problem},
    request::Received,
};
use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError,
    dev::Payload,
    http::{StatusCode, header::AUTHORIZATION},
    web::Data,
};
use chrono::{DateTime, Utc};
use moka::sync::Cache;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use serde::Serialize;

use super::{
    model::{Key, Tenant, digest},
    resource::Resource,
    service::{self, Deed},
};
use crate::app::App;

/// What a handler answers with.
pub type Answer = Result<HttpResponse, Problem>;

/// A caller that may read `R`. Whoever called a moment ago is known without asking the database.
pub struct Read<R> {
    pub app: App,
    pub tenant: Arc<Tenant>,
    /// In what form a list is asked for.
    pub(super) form: Form,
    resource: PhantomData<R>,
}

impl<R> Read<R> {
    pub fn tenant_id(&self) -> TenantId {
        self.tenant.id
    }

    pub fn db(&self) -> &DatabaseConnection {
        self.app.db.reader()
    }

    /// Answers with an object.
    pub fn answer(&self, body: &impl Serialize) -> Answer {
        Ok(HttpResponse::Ok().json(body))
    }
}

/// A caller that may write `R`. Its `Idempotency-Key` is honoured by [`Write::commit`].
pub struct Write<R> {
    pub app: App,
    pub tenant: Tenant,
    key: Key,
    actor: String,
    action: String,
    /// The audit entry is written: part of the work was committed before.
    audited: bool,
    idempotency: Option<Idempotency>,
    resource: PhantomData<R>,
}

struct Idempotency {
    key: String,
    fingerprint: [u8; 32],
    _guard: InFlightGuard,
}

impl<R> Write<R> {
    pub fn tenant_id(&self) -> TenantId {
        self.tenant.id
    }

    pub fn db(&self) -> &DatabaseConnection {
        self.app.db.reader()
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Whose key it is: what an audit entry calls the actor.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// The caller's `Idempotency-Key`: for work that commits before its answer is known, so that the same
    /// request finds what it has begun.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency.as_ref().map(|idempotency| idempotency.key.as_str())
    }

    /// Begins the change. Of two requests with one `Idempotency-Key`, whatever process they came to, the other one
    /// decides nothing: it would find what this one did in its way.
    pub async fn begin(&self) -> Result<DatabaseTransaction, Problem> {
        let tx = self.app.db.begin().await?;
        // What goes on after a beginning was committed is known by that beginning.
        if let Some(Idempotency { key, .. }) = self.idempotency.as_ref().filter(|_| !self.audited)
            && !idempotency::enter(&tx, self.tenant.id, key, self.app.now()).await?
        {
            return Err(Problem::new(&problem::IN_FLIGHT, "send it again in a moment"));
        }
        Ok(tx)
    }

    /// Commits the change with its audit row and its answer, and answers.
    ///
    /// If another request with the same `Idempotency-Key` has committed meanwhile, the change is undone and
    /// the answer of that request is given.
    pub async fn commit(
        self,
        tx: DatabaseTransaction,
        status: StatusCode,
        object_id: impl ToString,
        body: &impl Serialize,
    ) -> Answer {
        let now = self.app.now();
        let body = serde_json::to_string(body).expect("bodies are plain data");
        if !self.audited {
            self.audit(&tx, object_id).await?;
        }
        if let Some(idempotency) = &self.idempotency {
            // Answers may show a secret this once: they are kept as safely as secrets are.
            let sealed = self.app.vault.seal(self.tenant.id, &body);
            let answer = idempotency.answer(self.tenant.id, status, sealed, now);
            if let Err(error) = idempotency::store(&tx, answer).await {
                tx.rollback().await?;
                return if is_unique_violation(&error) { self.replay(now).await } else { Err(error.into()) };
            }
        }
        tx.commit().await?;
        self.app.wake.notify_one();
        Ok(HttpResponse::build(status).content_type("application/json").body(body))
    }

    /// Commits what happens before the answer is known, with its audit entry: whatever becomes of the rest, it
    /// was done. [`Write::commit`] then adds no second one.
    pub async fn commit_beginning(
        &mut self,
        tx: DatabaseTransaction,
        object_id: impl ToString,
    ) -> Result<(), Problem> {
        self.audit(&tx, object_id).await?;
        tx.commit().await?;
        self.audited = true;
        Ok(())
    }

    async fn audit(&self, tx: &DatabaseTransaction, object_id: impl ToString) -> Result<(), DbErr> {
        let deed = Deed { actor: &self.actor, action: &self.action, object_id: object_id.to_string() };
        service::audit(tx, self.tenant.id, self.app.now(), deed).await
    }

    /// Answers without an effect of its own: nothing is stored under the `Idempotency-Key`, so the same
    /// request may be sent again and get another answer.
    pub fn answer_for_now(self, status: StatusCode, body: &impl Serialize) -> Answer {
        Ok(HttpResponse::build(status).json(body))
    }

    async fn replay(&self, now: DateTime<Utc>) -> Answer {
        let idempotency = self.idempotency.as_ref().expect("only a stored answer can collide");
        let stored = idempotency::find(self.app.db.reader(), self.tenant.id, &idempotency.key, now).await?;
        let stored = stored.ok_or_else(|| Problem::new(&problem::IN_FLIGHT, "send it again"))?;
        Ok(replayed(&same_answer(&self.app, stored, &idempotency.fingerprint)?))
    }
}

impl Idempotency {
    fn answer(&self, tenant: TenantId, status: StatusCode, body: String, now: DateTime<Utc>) -> StoredAnswer {
        StoredAnswer {
            tenant_id: tenant,
            id: self.key.clone(),
            fingerprint: self.fingerprint.to_vec(),
            status: i32::from(status.as_u16()),
            body,
            created_at: now,
        }
    }
}

/// A caller that may write `R`, where each thing written has an identity of its own: an `Idempotency-Key` is not
/// looked at. Whoever commits what it brings writes the audit row. It is recognized as a reader is.
pub struct Bring<R> {
    pub app: App,
    pub tenant: Arc<Tenant>,
    /// The key, as the audit log names it.
    pub actor: String,
    resource: PhantomData<R>,
}

/// Who called within the last half second. A key that is revoked, or a setting that is changed, by another process
/// counts after that.
#[derive(Clone, Debug)]
pub struct KnownCallers(Cache<Vec<u8>, (Arc<Tenant>, Arc<Key>)>);

impl KnownCallers {
    const FOR: Duration = Duration::from_millis(500);
    const MAX: u64 = 10_000;

    /// Knows one caller, for good: of a process that asks itself. Gives the text of their key, which may read everything
    /// and write nothing, and which no other process knows.
    pub fn reader(tenant: Tenant, now: DateTime<Utc>) -> (Self, String) {
        let (key, text) = Key::to_read(&tenant, now);
        let known = Cache::builder().max_capacity(1).build();
        known.insert(digest(&text), (Arc::new(tenant), Arc::new(key)));
        (Self(known), text)
    }

    /// Forgets everybody, because a key or a setting has changed.
    pub fn forget(&self) {
        self.0.invalidate_all();
    }
}

impl Default for KnownCallers {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(Self::MAX).time_to_live(Self::FOR).build())
    }
}

/// Why a handler is not reached: a problem, or because the answer is known already.
#[derive(Debug)]
pub enum Interrupt {
    Problem(Problem),
    Replay(StoredAnswer),
}

impl std::fmt::Display for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(f),
            Self::Replay(_) => f.write_str("answered before"),
        }
    }
}

impl<E: Into<Problem>> From<E> for Interrupt {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

impl ResponseError for Interrupt {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Problem(problem) => problem.status_code(),
            Self::Replay(answer) => stored_status(answer),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Problem(problem) => problem.error_response(),
            Self::Replay(answer) => replayed(answer),
        }
    }
}

/// The stored answer of this very request, opened.
fn same_answer(app: &App, stored: StoredAnswer, fingerprint: &[u8; 32]) -> Result<StoredAnswer, Problem> {
    idempotency::same_request(&stored, fingerprint)?;
    let body = app.vault.open(stored.tenant_id, &stored.body).map_err(|error| Problem::internal(&error))?;
    Ok(StoredAnswer { body, ..stored })
}

fn stored_status(answer: &StoredAnswer) -> StatusCode {
    u16::try_from(answer.status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default()
}

fn replayed(answer: &StoredAnswer) -> HttpResponse {
    HttpResponse::build(stored_status(answer))
        .insert_header(("idempotent-replayed", "true"))
        .content_type("application/json")
        .body(answer.body.clone())
}

impl<R: Resource> FromRequest for Read<R> {
    type Error = Interrupt;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Interrupt>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let (app, tenant, _) = recognize(&request, &format!("{}:read", R::NAME)).await?;
            Ok(Self { app, tenant, form: Form::of(request.headers()), resource: PhantomData })
        })
    }
}

impl<R: Resource> FromRequest for Write<R> {
    type Error = Interrupt;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Interrupt>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let (app, tenant, key) = authenticate(&request, &format!("{}:write", R::NAME)).await?;
            let idempotency = idempotency_of(&request, &app, tenant.id).await?;
            let action = format!("{} {}", request.method(), request.match_pattern().unwrap_or_default());
            let actor = key.id.to_string();
            let resource = PhantomData;
            Ok(Self { app, tenant, key, actor, action, audited: false, idempotency, resource })
        })
    }
}

impl<R: Resource> FromRequest for Bring<R> {
    type Error = Interrupt;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Interrupt>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let (app, tenant, key) = recognize(&request, &format!("{}:write", R::NAME)).await?;
            Ok(Self { app, tenant, actor: key.id.to_string(), resource: PhantomData })
        })
    }
}

async fn authenticate(request: &HttpRequest, scope: &str) -> Result<(App, Tenant, Key), Problem> {
    let app = app_of(request);
    let (tenant, key) = find_caller(&app, bearer(request)?).await?;
    allow(&key, scope)?;
    check_query(request)?;
    Ok((app, tenant, key))
}

/// The same by what is known of callers.
async fn recognize(request: &HttpRequest, scope: &str) -> Result<(App, Arc<Tenant>, Arc<Key>), Problem> {
    let app = app_of(request);
    let known = request.app_data::<Data<KnownCallers>>().expect("mounted with the app");
    let text = bearer(request)?;
    let digest = digest(text);
    let (tenant, key) = match known.0.get(&digest) {
        Some((tenant, key)) if key.is_usable(app.now()) => (tenant, key),
        _ => {
            let (tenant, key) = find_caller(&app, text).await?;
            let caller = (Arc::new(tenant), Arc::new(key));
            known.0.insert(digest, caller.clone());
            caller
        }
    };
    allow(&key, scope)?;
    check_query(request)?;
    Ok((app, tenant, key))
}

/// Parameters that nobody knows are refused, not passed over.
fn check_query(request: &HttpRequest) -> Result<(), Problem> {
    request.app_data::<Data<Addresses>>().map_or(Ok(()), |addresses| addresses.check_query(request))
}

fn app_of(request: &HttpRequest) -> App {
    request.app_data::<Data<App>>().expect("the app is mounted").get_ref().clone()
}

fn bearer(request: &HttpRequest) -> Result<&str, Problem> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    header
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, text)| text.trim())
        .ok_or_else(|| {
            Problem::new(&problem::UNAUTHENTICATED, "the header `Authorization: Bearer …` is missing")
        })
}

async fn find_caller(app: &App, text: &str) -> Result<(Tenant, Key), Problem> {
    let found = service::authenticate(app.db.reader(), text, app.now()).await?;
    found.ok_or_else(|| Problem::new(&problem::UNAUTHENTICATED, "the key is unknown, expired or revoked"))
}

fn allow(key: &Key, scope: &str) -> Result<(), Problem> {
    if key.may(scope) {
        return Ok(());
    }
    Err(Problem::new(&problem::SCOPE_MISSING, format!("the key lacks the scope `{scope}`")))
}

async fn idempotency_of(
    request: &HttpRequest,
    app: &App,
    tenant: TenantId,
) -> Result<Option<Idempotency>, Interrupt> {
    let Some(header) = request.headers().get("idempotency-key") else { return Ok(None) };
    let key = header.to_str().ok().and_then(idempotency::parse_key).ok_or_else(|| {
        Problem::new(&problem::UNREADABLE, "an Idempotency-Key has 1 to 255 visible ASCII characters")
    })?;
    let received = request.extensions().get::<Received>().cloned().expect("the middleware reads every body");
    let fingerprint = received.fingerprint(request);
    let guard = app.in_flight.enter(tenant, &key);
    // Entered first, looked after: what is not in flight by now has stored its answer.
    if let Some(stored) = idempotency::find(app.db.reader(), tenant, &key, app.now()).await? {
        return Err(Interrupt::Replay(same_answer(app, stored, &fingerprint)?));
    }
    let guard = guard.ok_or_else(|| Problem::new(&problem::IN_FLIGHT, "send it again in a moment"))?;
    Ok(Some(Idempotency { key, fingerprint, _guard: guard }))
}
