//! An archive's file: gzip, a line for each event. It has its name only once it is whole, on the disk, and read back.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use sha2::{Digest, Sha256};

const BUFFER_BYTES: usize = 64 * 1024;
/// Digits of the digest in the name: the same name is the same file, so none is ever written over.
const DIGEST_DIGITS: usize = 16;

/// A file that is being written.
pub(super) struct Writing {
    folder: PathBuf,
    stem: String,
    part: PathBuf,
    packed: GzEncoder<BufWriter<File>>,
    digest: Sha256,
    lines: u64,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub name: String,
    pub lines: u64,
    pub bytes: u64,
    pub sha256: String,
}

/// A file as it is.
pub(super) struct Found {
    lines: u64,
    /// Of the lines.
    digest: String,
    pub bytes: u64,
    /// Of the file.
    pub sha256: String,
}

impl Writing {
    /// Begins a file of which the name begins with `stem`; `run` is nobody else's.
    pub fn begin(folder: PathBuf, stem: String, run: &str) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let part = folder.join(format!("{stem}.{run}.part"));
        let file = BufWriter::new(File::create_new(&part)?);
        let packed = GzEncoder::new(file, Compression::default());
        Ok(Self { folder, stem, part, packed, digest: Sha256::new(), lines: 0 })
    }

    pub fn write(&mut self, lines: &[String]) -> io::Result<()> {
        for line in lines {
            for bytes in [line.as_bytes(), b"\n"] {
                self.packed.write_all(bytes)?;
                self.digest.update(bytes);
            }
            self.lines += 1;
        }
        Ok(())
    }

    /// Waits for the disk, reads the file back, and only then gives it its name.
    pub fn finish(self) -> io::Result<Finished> {
        let Self { folder, stem, part, packed, digest, lines } = self;
        let file = packed.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        drop(file);
        let found = read(&part)?;
        if (found.lines, found.digest) != (lines, digits(digest)) {
            return Err(io::Error::other("what was read back is not what was written"));
        }
        let name = format!("{stem}-{}.ndjson.gz", &found.sha256[..DIGEST_DIGITS]);
        fs::rename(&part, folder.join(&name))?;
        // The name is on the disk when the folder is.
        File::open(&folder)?.sync_all()?;
        Ok(Finished { name, lines, bytes: found.bytes, sha256: found.sha256 })
    }
}

/// Reads a file to its end.
pub(super) fn read(path: &Path) -> io::Result<Found> {
    let mut lines = MultiGzDecoder::new(Digesting::new(File::open(path)?));
    let (mut count, mut digest) = (0, Sha256::new());
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = lines.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        count += buffer[..read].split(|byte| *byte == b'\n').count() as u64 - 1;
    }
    let file = lines.into_inner();
    Ok(Found { lines: count, digest: digits(digest), bytes: file.bytes, sha256: digits(file.digest) })
}

/// Removes what runs that ended early left in a folder: other files whose names begin with `stem`.
pub(super) fn tidy(folder: &Path, stem: &str, keep: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(stem) && name != keep {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Keeps the digest of what is read through it.
struct Digesting {
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Digesting {
    fn new(file: File) -> Self {
        Self { file, digest: Sha256::new(), bytes: 0 }
    }
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.digest.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn digits(digest: Sha256) -> String {
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        (0..3000).map(|number| format!("{{\"n\":{number}}}")).collect()
    }

    fn written(folder: &Path, run: &str) -> Finished {
        let mut writing = Writing::begin(folder.to_owned(), "usage-2026-01".to_owned(), run).unwrap();
        writing.write(&lines()).unwrap();
        writing.finish().unwrap()
    }

    #[test]
    fn the_same_lines_are_the_same_file_whoever_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (written(folder.path(), "a"), written(folder.path(), "b"));
        assert_eq!((&one, one.lines), (&other, 3000));
        let bytes = fs::read(folder.path().join(&one.name)).unwrap();
        assert_eq!((bytes.len() as u64, digits(Sha256::new().chain_update(&bytes))), (one.bytes, one.sha256));
        let mut text = String::new();
        MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines());
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_other_months_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = written(folder.path(), "a").name;
        for other in ["usage-2026-01.b.part", "usage-2026-01-0123.ndjson.gz", "usage-2026-10.a.part"] {
            fs::write(folder.path().join(other), "x").unwrap();
        }

        tidy(folder.path(), "usage-2026-01", &kept).unwrap();

        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [kept.as_str(), "usage-2026-10.a.part"]);
    }

    #[test]
    fn a_file_that_was_cut_short_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(written(folder.path(), "a").name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        assert!(read(&path).is_err());
    }
}
