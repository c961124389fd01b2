//! `accrue keys`: API keys from the shell.

use std::process::ExitCode;

use accrue_core::{
    clock::{Clock, SystemClock},
    id::KeyId,
};
use accrue_platform::{db::Db, page::PageQuery};
use anyhow::Context;
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use crate::auth::{
    KeyKind, Mode, NewKey, Tenant,
    service::{self, Deed},
};

/// Make, list and revoke API keys.
#[derive(clap::Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    settings: super::Settings,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Make a key and print it: it is not shown again.
    Create {
        #[arg(long, value_enum)]
        mode: Mode,
        /// What a restricted key may do: `customers:read,usage:write,calculate`. Without it the key may do everything.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<String>,
        /// Make a key that may only send usage events.
        #[arg(long, conflicts_with = "scopes")]
        ingest: bool,
        #[arg(long, default_value = "")]
        name: String,
        /// Print {"id","key"} for scripts.
        #[arg(long)]
        json: bool,
    },
    /// List keys; none is shown whole.
    List {
        #[arg(long, value_enum, default_value = "test")]
        mode: Mode,
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key.
    Revoke {
        id: String,
        #[arg(long, value_enum, default_value = "test")]
        mode: Mode,
    },
}

impl Keys {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let db = Db::open(&self.settings.load(&[])?.database).await?;
        db.migrate().await?;
        match self.verb {
            Verb::Create { mode, scopes, ingest, name, json } => {
                let kind = match (ingest, scopes.is_empty()) {
                    (true, _) => KeyKind::Ingest,
                    (false, true) => KeyKind::Secret,
                    (false, false) => KeyKind::Restricted,
                };
                create(&db, mode, NewKey { name, kind, scopes, expires_at: None }, json).await?;
            }
            Verb::List { mode, json } => list(&db, mode, json).await?,
            Verb::Revoke { id, mode } => revoke(&db, mode, id.parse()?).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn create(db: &Db, mode: Mode, new: NewKey, json: bool) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let tx = db.begin_alone().await?;
    let tenant = if let Some(tenant) = service::first_tenant(&tx, mode).await? {
        tenant
    } else {
        let (live, test) = service::open_account(&tx, "My company", now).await?;
        if mode == Mode::Live { live } else { test }
    };
    let (key, text) = service::create_key(&tx, &tenant, new, now).await?;
    note(&tx, &tenant, "keys create", key.id, now).await?;
    tx.commit().await?;
    if json {
        println!("{}", serde_json::json!({"id": key.id, "key": text}));
    } else {
        println!("{text}\n\nKeep it safe: it is not shown again. Its identifier is {}.", key.id);
    }
    Ok(())
}

/// What is done from the shell stands in the audit log like what is done over the API.
async fn note(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    action: &str,
    key: KeyId,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let deed = Deed { actor: service::COMMAND_LINE, action, object_id: key.to_string() };
    service::audit(tx, tenant.id, now, deed).await
}

async fn tenant(db: &Db, mode: Mode) -> anyhow::Result<Tenant> {
    service::first_tenant(db.reader(), mode)
        .await?
        .context("there is no account yet: run `accrue serve` or `accrue keys create`")
}

async fn list(db: &Db, mode: Mode, json: bool) -> anyhow::Result<()> {
    let tenant = tenant(db, mode).await?;
    let page = PageQuery { limit: Some(100), ..PageQuery::default() };
    for key in service::list_keys(db.reader(), tenant.id, &page).await? {
        let state = if key.revoked_at.is_some() { "revoked" } else { "usable" };
        if json {
            println!(
                "{}",
                serde_json::json!({"id": key.id, "hint": key.hint, "name": key.name, "kind": key.kind, "scopes": key.scopes, "state": state})
            );
        } else {
            println!("{}  {:<18} {:<8} {}", key.id, key.hint, state, key.name);
        }
    }
    Ok(())
}

async fn revoke(db: &Db, mode: Mode, id: KeyId) -> anyhow::Result<()> {
    let tenant = tenant(db, mode).await?;
    let now = SystemClock.now();
    let tx = db.begin().await?;
    let key = service::revoke_key(&tx, tenant.id, id, now).await?;
    note(&tx, &tenant, "keys revoke", key.id, now).await?;
    tx.commit().await?;
    println!("{} is revoked", key.id);
    Ok(())
}
