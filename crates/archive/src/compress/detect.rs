//! Compressions by the first bytes of their streams.

use dhow_spec::image::Compression;

/// How many bytes [`detect`] wants to see.
pub(super) const MAGIC_BYTES: usize = 6;

/// What the first bytes of a stream say that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One that images have; anything unknown is taken for uncompressed.
    Readable(Compression),
    /// bzip2, which archives have and images have not.
    Bzip2,
    /// xz, the same.
    Xz,
    /// One that we know by name only.
    Unreadable(&'static str),
}

impl Format {
    /// What people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Readable(Compression::None) => "no",
            Self::Readable(Compression::Gzip) => "gzip",
            Self::Readable(Compression::Zstd) => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Unreadable(name) => name,
        }
    }
}

/// What a stream is by its first bytes; fewer than six are enough if there are no more.
pub fn detect(beginning: &[u8]) -> Format {
    match beginning {
        [0x1f, 0x8b, 0x08, ..] => Format::Readable(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Readable(Compression::Zstd),
        // Frames that decoders skip; some writers begin with one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Readable(Compression::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        [0x5d, 0, 0, ..] => Format::Unreadable("lzma"),
        [0x04, 0x22, 0x4d, 0x18, ..] => Format::Unreadable("lz4"),
        [0x1f, 0x9d, ..] => Format::Unreadable("compress"),
        _ => Format::Readable(Compression::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_first_bytes() {
        let check = |beginning: &[u8], expected| assert_eq!(detect(beginning), expected);
        check(b"\x1f\x8b\x08\0\0\0", Format::Readable(Compression::Gzip));
        check(b"\x28\xb5\x2f\xfd\0\0", Format::Readable(Compression::Zstd));
        check(b"\x5a\x2a\x4d\x18\0\0", Format::Readable(Compression::Zstd));
        check(b"BZh91A", Format::Bzip2);
        check(b"\xfd7zXZ\0", Format::Xz);
        check(b"\x5d\0\0\x80\0\xff", Format::Unreadable("lzma"));
        check(b"\x1f\x9d\x90", Format::Unreadable("compress"));
        for plain in [&b""[..], b"\x1f", b"\x1f\x8b", b"BZhome", b"etc/pa", &[0; 6]] {
            check(plain, Format::Readable(Compression::None));
        }
    }
}
