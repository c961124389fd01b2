//! Reading a file, line by line, whatever its size.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;

use super::columns::{Columns, Fields};
use crate::metering::Line;

/// Longer lines and rows are nothing that could be taken: of an event, metadata alone has at most 8 KiB.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
const BUFFER_BYTES: usize = 1024 * 1024;

/// How objects stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A header, and one of them in each row.
    Csv,
    /// One of them as JSON on each line, as it may be sent.
    Ndjson,
}

impl Format {
    /// What a file's name says: `events.csv`, `events.ndjson.gz`.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.') {
            Some((_, "csv")) => Ok(Self::Csv),
            Some((_, "ndjson" | "jsonl")) => Ok(Self::Ndjson),
            _ => bail!("the name says neither .csv nor .ndjson: say --format"),
        }
    }
}

type Source = Box<dyn Read + Send>;

/// What stands in a file, one after the other.
pub(super) enum Records {
    Rows { rows: Box<csv::Reader<Bounded>>, row: ByteRecord, columns: Columns },
    Lines { lines: BufReader<Source>, number: u64, fields: &'static Fields },
}

/// Gives no more than a row may have, until it is told that another one begins: where a quote does not end, the rest of
/// the file would be one.
pub(super) struct Bounded {
    source: Source,
    left: u64,
    /// Whether lines end in CR LF, once one has ended: a record then begins before the LF of the one before.
    has_crlf: Option<bool>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::Error::other("a row is longer than 1 MiB: does a quote not end?"));
        }
        let read = self.source.read(buffer)?;
        if self.has_crlf.is_none()
            && let Some(end) = buffer[..read].iter().position(|byte| *byte == b'\n')
        {
            self.has_crlf = Some(end > 0 && buffer[end - 1] == b'\r');
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

impl Records {
    /// Opens a file; `columns` makes sense of a header. The bar moves by the bytes that are read.
    pub fn open(
        path: &Path,
        format: Format,
        bar: &ProgressBar,
        fields: &'static Fields,
        columns: impl FnOnce(&[String]) -> Result<Columns>,
    ) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        bar.set_length(file.metadata()?.len());
        let read = BufReader::with_capacity(BUFFER_BYTES, bar.wrap_read(file));
        let is_packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let source: Source = if is_packed { Box::new(MultiGzDecoder::new(read)) } else { Box::new(read) };
        if format == Format::Ndjson {
            let lines = BufReader::with_capacity(BUFFER_BYTES, source);
            return Ok(Self::Lines { lines, number: 0, fields });
        }
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(Bounded {
            source,
            left: LINE_BYTES_MAX,
            has_crlf: None,
        });
        let header: Vec<String> = rows.headers()?.iter().map(|name| name.trim().to_owned()).collect();
        let columns = columns(&header)?;
        Ok(Self::Rows { rows: Box::new(rows), row: ByteRecord::new(), columns })
    }

    /// The next one; none at the end. Empty lines are passed over.
    pub fn next(&mut self) -> Result<Option<Line>> {
        match self {
            Self::Rows { rows, row, columns } => {
                rows.get_mut().left = LINE_BYTES_MAX;
                if !rows.read_byte_record(row)? {
                    return Ok(None);
                }
                let ends_before = u64::from(rows.get_ref().has_crlf == Some(true));
                let number = row.position().map_or(0, csv::Position::line) + ends_before;
                Ok(Some(Line { number, json: columns.object(row) }))
            }
            Self::Lines { lines, number, fields } => loop {
                let mut bytes = Vec::new();
                *number += 1;
                let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
                if read == 0 {
                    return Ok(None);
                }
                let is_whole = bytes.ends_with(b"\n") || (read as u64) < LINE_BYTES_MAX;
                ensure!(is_whole, "line {number} is longer than 1 MiB: is this NDJSON?");
                if !bytes.trim_ascii().is_empty() {
                    let json = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned());
                    let json = json.and_then(|json| fields.object(json));
                    return Ok(Some(Line { number: *number, json }));
                }
            },
        }
    }
}
