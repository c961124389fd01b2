//! Reads a picture that somebody sent, as far as it takes to know that printing it is safe. Pure.
//!
//! Only PNG is taken: it can do nothing but be seen. (SVG may run programs and load files.) Of its parts only those are
//! kept that make the picture: profiles and texts may be packed to do harm, and nobody sees them.

use std::io::Read;

use flate2::{Crc, read::ZlibDecoder};

/// The largest file, in bytes.
pub(super) const BYTES_MAX: usize = 256 * 1024;
/// The longest side, in pixels.
const SIDE_MAX: u32 = 2000;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Bytes of a chunk around its content: length, name, checksum.
const AROUND: usize = 12;

/// Why a picture is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPng {
    #[error("has at most {BYTES_MAX} bytes")]
    TooLarge,
    #[error("has at most {SIDE_MAX} pixels a side")]
    TooWide,
    #[error("is not a PNG picture")]
    Malformed,
}

/// How a picture is laid out.
#[derive(Clone, Copy)]
struct Header {
    width: u32,
    height: u32,
    bits_per_pixel: u64,
    is_indexed: bool,
    is_interlaced: bool,
}

/// The picture without anything that cannot be seen.
pub(super) fn read(file: &[u8]) -> Result<Vec<u8>, NotPng> {
    if file.len() > BYTES_MAX {
        return Err(NotPng::TooLarge);
    }
    let mut rest = file.strip_prefix(SIGNATURE).ok_or(NotPng::Malformed)?;
    let mut kept = SIGNATURE.to_vec();
    let (mut header, mut packed, mut colors) = (None, Vec::new(), 0);
    loop {
        let (chunk, after) = next(rest)?;
        rest = after;
        let (name, content) = (&chunk[4..8], &chunk[8..chunk.len() - 4]);
        match (name, header) {
            (b"IHDR", None) => header = Some(Header::read(content)?),
            (b"PLTE", Some(_)) if colors == 0 && packed.is_empty() => colors = palette(content)?,
            (b"tRNS", Some(_)) if packed.is_empty() => {}
            (b"IDAT", Some(_)) => packed.extend_from_slice(content),
            (b"IEND", Some(header)) if content.is_empty() => {
                check_pixels(header, &packed, colors)?;
                write(&mut kept, *b"IDAT", &packed);
                write(&mut kept, *b"IEND", &[]);
                return Ok(kept);
            }
            // A small letter first: it may be passed over.
            (_, Some(_)) if name[0].is_ascii_lowercase() => continue,
            _ => return Err(NotPng::Malformed),
        }
        if name == b"tRNS" && !fits(header, content, colors) {
            return Err(NotPng::Malformed);
        }
        if name != b"IDAT" {
            kept.extend_from_slice(chunk);
        }
    }
}

/// The next chunk, whose checksum is right, and what follows it.
fn next(rest: &[u8]) -> Result<(&[u8], &[u8]), NotPng> {
    let length =
        rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length)).ok_or(NotPng::Malformed)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= BYTES_MAX);
    let end = length.map(|length| length + AROUND).ok_or(NotPng::Malformed)?;
    let (chunk, after) = rest.split_at_checked(end).ok_or(NotPng::Malformed)?;
    let (body, sum) = chunk.split_at(end - 4);
    if crc(&body[4..]).to_be_bytes() != sum {
        return Err(NotPng::Malformed);
    }
    Ok((chunk, after))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn write(to: &mut Vec<u8>, name: [u8; 4], content: &[u8]) {
    let length = u32::try_from(content.len()).expect("no longer than the file");
    to.extend_from_slice(&length.to_be_bytes());
    let body = [&name[..], content].concat();
    to.extend_from_slice(&body);
    to.extend_from_slice(&crc(&body).to_be_bytes());
}

/// How many colours a palette has.
fn palette(content: &[u8]) -> Result<usize, NotPng> {
    let colors = content.len() / 3;
    if content.len().is_multiple_of(3) && (1..=256).contains(&colors) {
        Ok(colors)
    } else {
        Err(NotPng::Malformed)
    }
}

/// Which colours let shine through: one sample, three, or one byte for colours of the palette.
fn fits(header: Option<Header>, content: &[u8], colors: usize) -> bool {
    match header {
        Some(header) if header.is_indexed => (1..=colors).contains(&content.len()),
        _ => matches!(content.len(), 2 | 6),
    }
}

impl Header {
    fn read(content: &[u8]) -> Result<Self, NotPng> {
        let content: &[u8; 13] = content.try_into().map_err(|_| NotPng::Malformed)?;
        let [w0, w1, w2, w3, h0, h1, h2, h3, depth, color, packing, filtering, interlacing] = *content;
        let (width, height) = (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
        let samples = match (color, depth) {
            (0, 1 | 2 | 4 | 8 | 16) | (3, 1 | 2 | 4 | 8) => 1,
            (4, 8 | 16) => 2,
            (2, 8 | 16) => 3,
            (6, 8 | 16) => 4,
            _ => return Err(NotPng::Malformed),
        };
        if width == 0 || height == 0 || packing != 0 || filtering != 0 || interlacing > 1 {
            return Err(NotPng::Malformed);
        }
        if width > SIDE_MAX || height > SIDE_MAX {
            return Err(NotPng::TooWide);
        }
        Ok(Self {
            width,
            height,
            bits_per_pixel: samples * u64::from(depth),
            is_indexed: color == 3,
            is_interlaced: interlacing == 1,
        })
    }

    /// Width and height of the pictures that it is sent as: itself, or Adam7's seven passes.
    fn passes(self) -> Vec<(u32, u32)> {
        const ADAM7: [(u32, u32, u32, u32); 7] = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ];
        if !self.is_interlaced {
            return vec![(self.width, self.height)];
        }
        let side = |length: u32, first: u32, step: u32| length.saturating_sub(first).div_ceil(step);
        let pass = |(x, y, across, down)| (side(self.width, x, across), side(self.height, y, down));
        ADAM7.into_iter().map(pass).filter(|(width, height)| *width > 0 && *height > 0).collect()
    }
}

/// Are there as many pixels as the header says, and a palette if they need one?
fn check_pixels(header: Header, packed: &[u8], colors: usize) -> Result<(), NotPng> {
    if header.is_indexed && colors == 0 {
        return Err(NotPng::Malformed);
    }
    let mut pixels = ZlibDecoder::new(packed);
    for (width, height) in header.passes() {
        let row = (u64::from(width) * header.bits_per_pixel).div_ceil(8) + 1;
        let mut row = vec![0; usize::try_from(row).map_err(|_| NotPng::TooWide)?];
        for _ in 0..height {
            pixels.read_exact(&mut row).map_err(|_| NotPng::Malformed)?;
            // The first byte of a row names its filter.
            if row[0] > 4 {
                return Err(NotPng::Malformed);
            }
        }
    }
    // To the end, where the checksum of all of them is, and nothing more.
    match pixels.read(&mut [0]) {
        Ok(0) => Ok(()),
        _ => Err(NotPng::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn png(header: [u8; 13], extra: &[(&[u8; 4], &[u8])], pixels: &[u8]) -> Vec<u8> {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(pixels).unwrap();
        let mut file = SIGNATURE.to_vec();
        write(&mut file, *b"IHDR", &header);
        for (name, content) in extra {
            write(&mut file, **name, content);
        }
        write(&mut file, *b"IDAT", &packer.finish().unwrap());
        write(&mut file, *b"IEND", &[]);
        file
    }

    fn header(width: u32, height: u32, depth: u8, color: u8, interlacing: u8) -> [u8; 13] {
        let mut header = [0; 13];
        header[..4].copy_from_slice(&width.to_be_bytes());
        header[4..8].copy_from_slice(&height.to_be_bytes());
        header[8..].copy_from_slice(&[depth, color, 0, 0, interlacing]);
        header
    }

    #[test]
    fn a_picture_is_kept_without_what_nobody_sees() {
        let plain = png(header(2, 2, 8, 2, 0), &[], &[0; 14]);
        let chatty = png(header(2, 2, 8, 2, 0), &[(b"tEXt", b"Author\0Me"), (b"iCCP", b"x")], &[0; 14]);
        assert_eq!(read(&plain).unwrap(), plain);
        assert_eq!(read(&chatty).unwrap(), plain);

        let indexed = png(header(3, 1, 1, 3, 0), &[(b"PLTE", &[1, 2, 3, 4, 5, 6]), (b"tRNS", &[0])], &[0, 0]);
        assert_eq!(read(&indexed).unwrap(), indexed);
        // 3 × 3 pixels of one byte are sent as 1, 1, 2, 2 and 3 of them, and a byte for each row.
        let interlaced = png(header(3, 3, 8, 0, 1), &[], &[0; 15]);
        assert_eq!(read(&interlaced), Ok(interlaced.clone()));
    }

    #[test]
    fn what_is_no_picture_or_not_whole_is_refused() {
        let good = png(header(2, 2, 8, 2, 0), &[], &[0; 14]);
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), Err(NotPng::Malformed), "{length}");
        }
        for at in 0..good.len() {
            let mut broken = good.clone();
            broken[at] ^= 1;
            assert!(read(&broken).is_err(), "{at}");
        }
        let refused = [
            png(header(2, 2, 8, 2, 0), &[], &[0; 13]),
            png(header(2, 2, 8, 2, 0), &[], &[0; 15]),
            png(header(2, 2, 8, 2, 0), &[], &[5; 14]),
            png(header(2, 2, 8, 3, 0), &[], &[0; 6]),
            png(header(2, 2, 8, 5, 0), &[], &[0; 14]),
            png(header(0, 2, 8, 2, 0), &[], &[]),
            png(header(2, 2, 8, 2, 0), &[(b"EVIL", b"")], &[0; 14]),
            png(header(1, 1, 8, 3, 0), &[(b"PLTE", &[1, 2])], &[0; 2]),
            png(header(1, 1, 8, 3, 0), &[(b"PLTE", &[1, 2, 3]), (b"tRNS", &[1, 2])], &[0; 2]),
            b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
        ];
        for (at, file) in refused.iter().enumerate() {
            assert_eq!(read(file), Err(NotPng::Malformed), "{at}");
        }
    }

    #[test]
    fn a_small_file_that_unpacks_to_a_large_picture_is_refused() {
        assert_eq!(read(&png(header(2001, 1, 1, 0, 0), &[], &[0; 252])), Err(NotPng::TooWide));
        assert_eq!(read(&vec![0; BYTES_MAX + 1]), Err(NotPng::TooLarge));
        let bomb = png(header(1, 1, 8, 0, 0), &[], &vec![0; 10_000_000]);
        assert_eq!(read(&bomb), Err(NotPng::Malformed));
    }
}
