//! Answers with lists: a page, or all of it as a file.

use std::{convert::identity, sync::Arc};

use accrue_platform::{
    export::{Columns, Form},
    page::{PAGE_MAX, Page, PageQuery},
    problem::Problem,
};
use actix_web::{HttpResponse, http::header::CONTENT_DISPOSITION, web::Bytes};
use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{Answer, Read};

impl<R: 'static> Read<R> {
    /// Whether all of a list is asked for, as a file.
    pub fn is_export(&self) -> bool {
        self.form != Form::Page
    }

    /// Answers with the list at `url` in the form that was asked for: a page of it; or all of it from there on, read page by
    /// page while it is sent. `rows` gives a page, and one more if more follow.
    ///
    /// A file that cannot be read to its end breaks off: whoever gets it learns that from the connection.
    pub async fn list<T, F>(self, url: &str, query: PageQuery, rows: F) -> Answer
    where
        T: Serialize + ToSchema + 'static,
        F: AsyncFn(&Self, &PageQuery) -> Result<Vec<T>, Problem> + 'static,
    {
        if !self.is_export() {
            let found = rows(&self, &query).await?;
            return self.answer(&Page::of(&query, url, found, identity));
        }
        for (name, given) in
            [("limit", query.limit.is_some()), ("ending_before", query.ending_before.is_some())]
        {
            if given {
                let detail = "goes with a page: a file has everything from `starting_after` on";
                return Err(Problem::field(name, "not_allowed", detail));
            }
        }
        let form = self.form;
        let columns = (form == Form::Csv).then(|| Arc::new(Columns::of::<T>()));
        let query = PageQuery { limit: Some(PAGE_MAX), ..query };
        let mut export = Export { read: self, rows, query, columns, has_more: true };
        // Read before anything is sent: what is wrong with the question is told as a problem.
        let mut first = export.columns.as_ref().map(|columns| columns.header()).unwrap_or_default();
        first.extend(export.next().await?);
        let rest = stream::try_unfold(export, async |mut export| {
            if !export.has_more {
                return Ok(None);
            }
            let page = export.next().await.inspect_err(|problem| {
                tracing::error!(%problem, "an export broke off");
            })?;
            Ok::<_, Problem>(Some((Bytes::from(page), export)))
        });
        let name = url.rsplit('/').next().unwrap_or_default();
        Ok(HttpResponse::Ok()
            .content_type(form.media_type())
            .insert_header((
                CONTENT_DISPOSITION,
                format!("attachment; filename=\"{name}.{}\"", form.extension()),
            ))
            .streaming(stream::once(async { Ok(Bytes::from(first)) }).chain(rest)))
    }
}

/// A list that is being sent.
struct Export<R, F> {
    read: Read<R>,
    rows: F,
    query: PageQuery,
    columns: Option<Arc<Columns>>,
    has_more: bool,
}

impl<R, F> Export<R, F> {
    async fn next<T: Serialize>(&mut self) -> Result<Vec<u8>, Problem>
    where
        F: AsyncFn(&Read<R>, &PageQuery) -> Result<Vec<T>, Problem>,
    {
        /// What a list goes on after.
        #[derive(Deserialize)]
        struct Last {
            id: String,
        }

        let found = (self.rows)(&self.read, &self.query).await?;
        let Page { data, has_more, .. } = Page::of(&self.query, "", found, identity);
        let mut bytes = Vec::new();
        for object in &data {
            if let Some(columns) = &self.columns {
                bytes.extend(columns.row(object));
            } else {
                serde_json::to_writer(&mut bytes, object).expect("bodies are plain data");
                bytes.push(b'\n');
            }
        }
        self.has_more = has_more;
        if let Some(last) = data.last().filter(|_| has_more) {
            let json = serde_json::to_string(last).expect("bodies are plain data");
            let Last { id } = serde_json::from_str(&json).map_err(|error| Problem::internal(&error))?;
            self.query.starting_after = Some(id);
        }
        Ok(bytes)
    }
}
