//! Lists: `limit`, `starting_after`, `ending_before`; newest first.

use std::str::FromStr;

use sea_orm::QueryFilter;
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, QueryOrder, QuerySelect, Select, Value, entity::ColumnTrait,
};
use serde::{Deserialize, Serialize};

const LIMIT_DEFAULT: u64 = 20;
const LIMIT_MAX: u64 = PAGE_MAX;

/// How many a page has at most.
pub const PAGE_MAX: u64 = 100;

/// Where a page starts and how long it is.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many, 1 to 100; 20 unless told.
    #[param(minimum = 1, maximum = 100, example = 20)]
    pub limit: Option<u64>,
    /// The identifier after which the page starts: the last one of the page before.
    pub starting_after: Option<String>,
    /// The identifier before which the page ends: the first one of the page after.
    pub ending_before: Option<String>,
}

/// Where a page starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<I> {
    /// With the newest.
    Newest,
    /// With the first that is older than this one.
    OlderThan(I),
    /// With those that are newer than this one, the oldest of them at its end.
    NewerThan(I),
}

/// What is wrong with a page's query.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("must be from 1 to {LIMIT_MAX}")]
    Limit,
    #[error("{detail}")]
    Cursor {
        /// The query parameter.
        field: &'static str,
        detail: String,
    },
    #[error("give one of them, not both")]
    BothCursors,
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl PageQuery {
    /// How many are asked for.
    pub fn limit(&self) -> Result<u64, PageError> {
        match self.limit.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=LIMIT_MAX => Ok(limit),
            _ => Err(PageError::Limit),
        }
    }

    /// Reads one more than asked for, so that [`Page::of`] can tell whether more follow.
    pub async fn fetch<E, I>(
        &self,
        select: Select<E>,
        id: E::Column,
        db: &impl ConnectionTrait,
    ) -> Result<Vec<E::Model>, PageError>
    where
        E: EntityTrait,
        I: FromStr<Err: ToString> + Into<Value>,
    {
        let select = select.limit(self.limit()? + 1);
        match self.start::<I>()? {
            Start::NewerThan(before) => {
                let newer = select.filter(id.gt(before)).order_by_asc(id).all(db).await?;
                Ok(newer.into_iter().rev().collect())
            }
            Start::OlderThan(after) => Ok(select.filter(id.lt(after)).order_by_desc(id).all(db).await?),
            Start::Newest => Ok(select.order_by_desc(id).all(db).await?),
        }
    }

    /// Where the page starts, for what is not found row by row.
    pub fn start<I: FromStr<Err: ToString>>(&self) -> Result<Start<I>, PageError> {
        let after = cursor::<I>("starting_after", self.starting_after.as_deref())?;
        let before = cursor::<I>("ending_before", self.ending_before.as_deref())?;
        match (after, before) {
            (Some(_), Some(_)) => Err(PageError::BothCursors),
            (None, Some(before)) => Ok(Start::NewerThan(before)),
            (Some(after), None) => Ok(Start::OlderThan(after)),
            (None, None) => Ok(Start::Newest),
        }
    }
}

fn cursor<I: FromStr<Err: ToString>>(
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<I>, PageError> {
    text.map(str::parse)
        .transpose()
        .map_err(|error: I::Err| PageError::Cursor { field, detail: error.to_string() })
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// Always `list`.
    #[schema(example = "list")]
    pub object: &'static str,
    pub data: Vec<T>,
    /// Are there more in the direction that was asked for?
    pub has_more: bool,
    /// The list's own address.
    #[schema(example = "/v1/customers")]
    pub url: String,
}

impl<T> Page<T> {
    /// `rows` as [`PageQuery::fetch`] gave them: one more than asked for if more follow.
    pub fn of<R>(query: &PageQuery, url: &str, mut rows: Vec<R>, body: impl FnMut(R) -> T) -> Self {
        let limit = usize::try_from(query.limit().unwrap_or(LIMIT_DEFAULT)).expect("at most 100");
        let has_more = rows.len() > limit;
        if has_more && query.ending_before.is_some() {
            rows.remove(0);
        }
        rows.truncate(limit);
        let data = rows.into_iter().map(body).collect();
        Self { object: "list", data, has_more, url: url.to_owned() }
    }
}
