//! Bodies as they arrive, compressed or not: never more than their limit, and never more of all of them than
//! memory has room for.

use std::{
    io::{self, Write},
    sync::Arc,
};

use actix_web::{
    http::header::HeaderValue,
    web::{Bytes, BytesMut},
};
use flate2::write::MultiGzDecoder;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::{self, Problem};

/// What a body may have without asking for room: most have less, and there are only so many connections.
const FREE: usize = 64 * 1024;
/// Room is asked for in steps, so that not every chunk has to.
const STEP: usize = 256 * 1024;

/// For what large bodies have beyond that, all together.
pub(crate) static ROOM: Semaphore = Semaphore::const_new(128 * 1024 * 1024);

/// Memory that a body holds until all who have this are done with it.
pub(crate) type Room = Option<Arc<SemaphorePermit<'static>>>;

/// Takes a body in pieces and unpacks it.
pub(crate) enum Unpacker {
    Plain(Unpacked),
    Gzip { packed: usize, decoder: Box<MultiGzDecoder<Unpacked>> },
}

/// What was unpacked.
pub(crate) struct Unpacked {
    body: BytesMut,
    max: usize,
    /// Where room is asked for.
    of: &'static Semaphore,
    room: Option<SemaphorePermit<'static>>,
    /// Why there is no more.
    refused: Option<Problem>,
}

impl Unpacker {
    /// `max` is of bytes, unpacked.
    pub fn try_new(
        encoding: Option<&HeaderValue>,
        max: usize,
        room: &'static Semaphore,
    ) -> Result<Self, Problem> {
        let unpacked = Unpacked::new(max, room);
        let encoding = encoding.map_or("identity", |encoding| encoding.to_str().unwrap_or_default());
        match encoding.trim().to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(Self::Plain(unpacked)),
            "gzip" | "x-gzip" => {
                Ok(Self::Gzip { packed: 0, decoder: Box::new(MultiGzDecoder::new(unpacked)) })
            }
            other => {
                let detail = format!("bodies may be packed by gzip, not by `{other}`");
                Err(Problem::new(&problem::MEDIA_TYPE, detail))
            }
        }
    }

    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Plain(unpacked) => {
                unpacked.write_all(chunk).map_err(|_| unpacked.refused.take().expect("that was why"))
            }
            Self::Gzip { packed, decoder } => {
                // Packed bytes may be without end and give nothing.
                *packed += chunk.len();
                if *packed > decoder.get_ref().max {
                    return Err(too_large(decoder.get_ref().max));
                }
                let written = decoder.write_all(chunk);
                written.map_err(|_| decoder.get_mut().refused.take().unwrap_or_else(not_gzip))
            }
        }
    }

    pub fn finish(self) -> Result<(Bytes, Room), Problem> {
        let unpacked = match self {
            Self::Plain(unpacked) => unpacked,
            Self::Gzip { packed, mut decoder } => {
                // No body at all is not packed either.
                let finished = if packed == 0 { Ok(()) } else { decoder.try_finish() };
                let unpacked = decoder.get_mut();
                finished.map_err(|_| unpacked.refused.take().unwrap_or_else(not_gzip))?;
                let (max, of) = (unpacked.max, unpacked.of);
                std::mem::replace(unpacked, Unpacked::new(max, of))
            }
        };
        Ok((unpacked.body.freeze(), unpacked.room.map(Arc::new)))
    }
}

impl Unpacked {
    fn new(max: usize, of: &'static Semaphore) -> Self {
        Self { body: BytesMut::new(), max, of, room: None, refused: None }
    }

    fn refuse(&mut self, problem: Problem) -> io::Error {
        self.refused = Some(problem);
        io::ErrorKind::OutOfMemory.into()
    }
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.body.len() + bytes.len();
        if length > self.max {
            return Err(self.refuse(too_large(self.max)));
        }
        let held = FREE + self.room.as_ref().map_or(0, SemaphorePermit::num_permits);
        if length > held {
            let more = (length - held).next_multiple_of(STEP);
            let more = u32::try_from(more).expect("limits are far below 4 GiB");
            let Ok(more) = self.of.try_acquire_many(more) else {
                let detail = "more large bodies are being read than can be held; send it again";
                return Err(self.refuse(Problem::new(&problem::UNAVAILABLE, detail)));
            };
            match &mut self.room {
                Some(room) => room.merge(more),
                none => *none = Some(more),
            }
        }
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_large(max: usize) -> Problem {
    Problem::new(&problem::TOO_LARGE, format!("at most {max} bytes are taken here, unpacked"))
}

fn not_gzip() -> Problem {
    Problem::new(&problem::UNREADABLE, "the body is not gzip, or broke off")
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(encoding: &'static str, max: usize, body: &[u8]) -> Result<Bytes, u16> {
        let mut unpacker = Unpacker::try_new(Some(&HeaderValue::from_static(encoding)), max, &ROOM)
            .map_err(|problem| problem.kind.status)?;
        for chunk in body.chunks(100) {
            unpacker.push(chunk).map_err(|problem| problem.kind.status)?;
        }
        unpacker.finish().map(|(body, _)| body).map_err(|problem| problem.kind.status)
    }

    #[test]
    fn a_body_is_the_same_packed_in_one_piece_or_in_several() {
        let body: Vec<u8> = (0..5000_u32).flat_map(u32::to_be_bytes).collect();
        let (first, second) = body.split_at(7000);
        assert_eq!(unpack("identity", 20_000, &body).unwrap(), body);
        assert_eq!(unpack("gzip", 20_000, &gzip(&body)).unwrap(), body);
        assert_eq!(unpack("X-Gzip", 20_000, &[gzip(first), gzip(second)].concat()).unwrap(), body);
        assert_eq!(unpack("gzip", 10, &[]).unwrap(), Bytes::new());
    }

    #[test]
    fn the_limit_is_of_what_is_unpacked() {
        assert_eq!(unpack("identity", 999, &[b' '; 1000]), Err(413));
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 100_000);
        assert_eq!(unpack("gzip", 1_000_000, &bomb), Err(413));
        let empty = gzip(&[]).repeat(100);
        assert_eq!(unpack("gzip", empty.len() - 1, &empty), Err(413));
    }

    #[test]
    fn what_is_broken_or_packed_otherwise_is_refused() {
        let packed = gzip(&[b'x'; 1000]);
        assert_eq!(unpack("gzip", 2000, &packed[..packed.len() - 1]), Err(400));
        assert_eq!(unpack("gzip", 2000, &[&packed[..], b"{}"].concat()), Err(400));
        assert_eq!(unpack("gzip", 2000, b"{}"), Err(400));
        for encoding in ["br", "deflate", "gzip, gzip"] {
            assert_eq!(unpack(encoding, 2000, &packed), Err(415), "{encoding}");
        }
    }

    #[test]
    fn large_bodies_are_refused_while_there_is_no_room_for_them() {
        static FEW: Semaphore = Semaphore::const_new(3 * 1024 * 1024);
        let chunk = vec![0; 1024 * 1024];
        let mut first = Unpacker::try_new(None, 10 * chunk.len(), &FEW).unwrap();
        assert_eq!((0..10).take_while(|_| first.push(&chunk).is_ok()).count(), 3);
        let mut second = Unpacker::try_new(None, 2 * chunk.len(), &FEW).unwrap();
        assert_eq!(second.push(&chunk).unwrap_err().kind.status, 503);
        let mut small = Unpacker::try_new(None, FREE, &FEW).unwrap();
        small.push(&chunk[..FREE]).unwrap();
        drop(first);
        second.push(&chunk).unwrap();
    }
}
