//! Writing a month of events into a file, page by page.

use std::{io, path::Path};

use accrue_core::{clock::Clock, id::RequestId};
use accrue_platform::db::Db;
use tokio::task::spawn_blocking;

use super::{
    file::{self, Writing},
    model::Written,
    service::ArchiveError,
};
use crate::{
    auth::Tenant,
    metering::{Archive, Month, archive::Reading},
};

/// Writes a tenant's month into a file below `folder` and reads it back. Nothing is noted: it may be done again, by
/// whoever and however often. `told` hears how many events were written.
pub async fn write(
    db: &Db,
    clock: &dyn Clock,
    folder: &Path,
    (tenant, month): (&Tenant, Month),
    told: impl Fn(u64) + Send,
) -> Result<Written, ArchiveError> {
    let began_at = clock.now();
    let own = tenant.id.to_string();
    let place = folder.join(&own);
    let cannot = |source| ArchiveError::File { path: place.clone(), source };
    let (run, stem) = (RequestId::new(began_at).to_string(), stem(month));
    let writing = blocking({
        let place = place.clone();
        move || Writing::begin(place, stem, &run)
    });
    let mut writing = writing.await.map_err(cannot)?;
    let mut reading = Reading::new(db, tenant, month);
    loop {
        let lines = reading.next().await?;
        if lines.is_empty() {
            break;
        }
        let events = lines.len() as u64;
        let written = blocking(move || writing.write(&lines).map(|()| writing));
        writing = written.await.map_err(cannot)?;
        told(events);
    }
    let finished = blocking(move || writing.finish()).await.map_err(cannot)?;
    let contents = reading.contents();
    if finished.lines != contents.events {
        return Err(ArchiveError::Damaged(place.join(finished.name)));
    }
    let file::Finished { name, bytes, sha256, .. } = finished;
    Ok(Written { month, contents, file: format!("{own}/{name}"), bytes, sha256, began_at })
}

/// Reads an archive's file to its end: it is what was noted.
pub async fn check(folder: &Path, archive: &Archive) -> Result<(), ArchiveError> {
    let path = folder.join(&archive.file);
    let place = path.clone();
    let found = blocking(move || file::read(&place)).await;
    let found = found.map_err(|source| ArchiveError::File { path: path.clone(), source })?;
    if (found.bytes, &found.sha256) != (archive.bytes, &archive.sha256) {
        return Err(ArchiveError::Damaged(path));
    }
    Ok(())
}

/// Removes what runs that ended early left of a month that is archived.
pub async fn tidy(folder: &Path, archive: &Archive) -> Result<(), ArchiveError> {
    let path = folder.join(&archive.file);
    let (place, stem) = (path.clone(), stem(archive.month));
    let tidied = blocking(move || {
        let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
        file::tidy(folder, &stem, &name.to_string_lossy())
    });
    tidied.await.map_err(|source| ArchiveError::File { path, source })
}

fn stem(month: Month) -> String {
    format!("usage-{month}")
}

/// Disks are waited for aside.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
