//! Compression both ways: what comes back, what is refused, and that bytes do not depend on chance.

#![expect(clippy::disallowed_methods, reason = "the judge is a program")]

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};

use dhow_archive::compress::{
    DecodeError, Decoder, Encoder, Encoding, LayerReader, LayerWriter, Limits, as_images_have_it,
};
use dhow_archive::hash::Hasher;
use dhow_spec::Algorithm;
use dhow_spec::image::Compression;

const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];
const BLOCK: usize = 128 << 10;

/// Words with noise between them: somewhat compressible.
fn sample(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 32);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(b"usr/share/doc/package/");
        bytes.extend_from_slice(&state.to_le_bytes()[..(state % 7) as usize]);
    }
    bytes.truncate(size);
    bytes
}

fn encoding(compression: Compression, threads: usize) -> Encoding {
    Encoding::customary(compression, NonZeroUsize::new(threads).expect("some"))
}

fn encode(data: &[u8], encoding: Encoding, portion: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), encoding).expect("an encoder");
    for portion in data.chunks(portion) {
        encoder.write_all(portion).expect("a sink");
        encoder.flush().expect("a sink");
    }
    encoder.finish().expect("a sink")
}

fn decode(blob: &[u8], limits: Limits) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder::new(blob, limits)?;
    let mut data = Vec::new();
    decoder.read_to_end(&mut data)?;
    assert!(decoder.into_inner().is_empty(), "all was read");
    Ok(data)
}

#[test]
fn comes_back_whatever_its_size() {
    let sizes = [0, 1, 5, 6, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 4321];
    for compression in ALL {
        for size in sizes {
            let data = sample(size);
            let blob = encode(&data, encoding(compression, 2), usize::MAX);
            let back = decode(&blob, Limits::NONE).expect("what we wrote");
            assert!(back == data, "{compression:?}, {size} bytes");
        }
    }
}

#[test]
fn the_same_bytes_from_any_threads_and_portions() {
    let data = sample(30 * BLOCK + 1234);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let expected = encode(&data, encoding(compression, 1), usize::MAX);
        assert!(expected.len() < data.len() / 2);
        for (threads, portion) in
            [(1, 1000), (2, 7777), (3, BLOCK), (8, BLOCK + 1), (2, usize::MAX)]
        {
            let blob = encode(&data, encoding(compression, threads), portion);
            assert!(blob == expected, "{compression:?}: {threads} threads, {portion} at a time");
        }
    }
}

#[test]
fn every_level() {
    let data = sample(2 * BLOCK + 99);
    for (compression, levels) in [(Compression::Gzip, 0..=9), (Compression::Zstd, 1..=19)] {
        for level in levels {
            let blob = encode(&data, Encoding { level, ..encoding(compression, 2) }, usize::MAX);
            assert!(decode(&blob, Limits::NONE).expect("what we wrote") == data, "{level}");
        }
    }
}

#[test]
fn noise_grows_by_little() {
    let mut noise = vec![0; 5 * BLOCK + 17];
    let mut state = 1_u64;
    for byte in &mut noise {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = encode(&noise, encoding(compression, 3), usize::MAX);
        assert!(blob.len() < noise.len() + 500, "{compression:?}: {}", blob.len());
        assert!(decode(&blob, Limits::NONE).expect("what we wrote") == noise);
    }
}

fn pipe(program: &str, arguments: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect(program);
    let mut stdin = child.stdin.take().expect("a pipe");
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect(program);
    feeder.join().expect("no panic").expect("all of it");
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

#[test]
fn the_systems_gzip_agrees() {
    let data = sample(7 * BLOCK + 5);
    let ours = encode(&data, encoding(Compression::Gzip, 2), usize::MAX);
    assert!(pipe("gzip", &["-dc"], ours) == data);
    for level in ["-1", "-9"] {
        let theirs = pipe("gzip", &[level, "-c"], data.clone());
        assert!(decode(&theirs, Limits::NONE).expect("what gzip wrote") == data);
    }
}

#[test]
fn streams_one_after_the_other_are_one() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = |data: &[u8]| encode(data, encoding(compression, 1), usize::MAX);
        let both = [blob(b"one "), blob(b""), blob(b"two")].concat();
        assert_eq!(decode(&both, Limits::NONE).expect("two streams"), b"one two");
    }
    let frame = encode(b"data", encoding(Compression::Zstd, 1), usize::MAX);
    let skipped =
        [&b"\x50\x2a\x4d\x18\x03\0\0\0xyz"[..], &frame, b"\x5f\x2a\x4d\x18\0\0\0\0"].concat();
    assert_eq!(decode(&skipped, Limits::NONE).expect("frames to skip"), b"data");
}

#[test]
fn damaged_streams() {
    let data = sample(2 * BLOCK);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = encode(&data, encoding(compression, 1), usize::MAX);
        for length in [7, 20, blob.len() / 2, blob.len() - 9, blob.len() - 1] {
            assert!(
                decode(&blob[..length], Limits::NONE).is_err(),
                "{compression:?} cut at {length}"
            );
        }
        let mut changed = blob.clone();
        changed[blob.len() / 2] ^= 0x10;
        assert!(decode(&changed, Limits::NONE).is_err(), "{compression:?} changed");
        let mut checksum = blob.clone();
        *checksum.last_mut().expect("a trailer") ^= 1;
        assert!(decode(&checksum, Limits::NONE).is_err(), "{compression:?} with a wrong trailer");
        let garbage = [&blob[..], b"garbage behind it"].concat();
        assert!(decode(&garbage, Limits::NONE).is_err(), "{compression:?} and garbage");
    }
}

/// `once more ` forty times, by bzip2 and by xz.
const BZIP2: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x70\xd5\x12\xcc\x00\x00\x9f\x91\x80\x40\x00\x0a\x03\x90\
    \x00\x20\x00\x50\x86\x00\x29\x50\x34\xd8\x4e\x89\xc1\x30\x4e\x89\x82\x68\x4c\x13\x62\x7c\x5d\xc9\
    \x14\xe1\x42\x41\xc3\x54\x4b\x30";
const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\
    \xe0\x01\x8f\x00\x12\x5d\x00\x37\x9b\x88\x8d\x46\xad\xc9\xab\xe7\x6d\x8d\x21\xaf\xdf\xed\x2c\x60\
    \x00\x00\x00\x00\x6f\xcc\x16\x6d\x6b\xf3\xb4\x83\x00\x01\x2e\x90\x03\x00\x00\x00\x65\x38\x40\x3d\
    \xb1\xc4\x67\xfb\x02\x00\x00\x00\x00\x04\x59\x5a";

#[test]
fn what_archives_have_beside_images() {
    let expected = "once more ".repeat(40).into_bytes();
    for blob in [BZIP2, XZ] {
        assert!(decode(blob, Limits::NONE).expect("a stream") == expected);
        let twice = [blob, blob].concat();
        assert_eq!(decode(&twice, Limits::NONE).expect("two streams").len(), 800);
        assert!(decode(&blob[..blob.len() - 1], Limits::NONE).is_err(), "cut off");
        let mut changed = blob.to_vec();
        changed[blob.len() / 2] ^= 0x10;
        assert!(decode(&changed, Limits::NONE).is_err(), "changed");
        let limits = Limits { output_bytes_max: 399, ..Limits::NONE };
        let error = decode(blob, limits).expect_err("one too many");
        assert_eq!(DecodeError::of(&error), Some(&DecodeError::TooLarge { max: 399 }));
        let mut plain = Vec::new();
        let mut reader = as_images_have_it(blob, Limits::NONE).expect("a stream");
        reader.read_to_end(&mut plain).expect("all of it");
        assert!(plain == expected);
    }
    let limits = Limits { window_log_max: 12, ..Limits::NONE };
    assert!(decode(XZ, limits).is_err(), "a window of 8 MiB");
    let mut kept = Vec::new();
    let mut reader = as_images_have_it(&b"plain"[..], Limits::NONE).expect("a stream");
    reader.read_to_end(&mut kept).expect("all of it");
    assert_eq!(kept, b"plain");
}

#[test]
fn refused_by_name() {
    let error = decode(b"\x04\x22\x4d\x18..", Limits::NONE).expect_err("lz4");
    assert_eq!(error.to_string(), "lz4 compression is not supported");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

#[test]
fn no_more_output_than_allowed() {
    let data = sample(BLOCK);
    for compression in ALL {
        let blob = encode(&data, encoding(compression, 1), usize::MAX);
        let max = |max| decode(&blob, Limits { output_bytes_max: max, ..Limits::NONE });
        assert!(max(BLOCK as u64).expect("just enough") == data);
        let error = max(BLOCK as u64 - 1).expect_err("one too many");
        let expected = DecodeError::TooLarge { max: BLOCK as u64 - 1 };
        assert_eq!(DecodeError::of(&error), Some(&expected), "{compression:?}");
    }
}

#[test]
fn bombs_are_noticed_early() {
    let zeros = vec![0; 40 << 20];
    let limits = Limits { ratio_max: 200, ..Limits::NONE };
    for compression in [Compression::Gzip, Compression::Zstd] {
        let blob = encode(&zeros, encoding(compression, 2), usize::MAX);
        let mut decoder = Decoder::new(&blob[..], limits).expect("a stream");
        let mut seen = 0;
        let mut buffer = vec![0; 64 << 10];
        let error = loop {
            match decoder.read(&mut buffer) {
                Ok(count) => seen += count,
                Err(error) => break error,
            }
        };
        assert!((16 << 20..17 << 20).contains(&seen), "{compression:?}: {seen}");
        assert_eq!(error.to_string(), "decompresses to more than 200 times its size");
        assert_eq!(decode(&blob, Limits::NONE).expect("no limit").len(), zeros.len());
    }
}

#[test]
fn windows_take_no_more_memory_than_allowed() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
    encoder.window_log(27).expect("a window of 128 MiB");
    encoder.write_all(&sample(1000)).expect("a sink");
    let blob = encoder.finish().expect("a sink");
    assert!(decode(&blob, Limits::NONE).is_ok());
    assert!(decode(&blob, Limits { window_log_max: 26, ..Limits::NONE }).is_err());
}

fn digest(data: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(data);
    hasher.finish().digest.to_string()
}

#[test]
fn both_sides_of_a_layer() {
    let tar = sample(3 * BLOCK);
    for compression in ALL {
        let mut writer = LayerWriter::new(Vec::new(), encoding(compression, 2), Algorithm::Sha256)
            .expect("a writer");
        writer.write_all(&tar).expect("a sink");
        let (blob, packed) = writer.finish().expect("a sink");
        assert_eq!(
            (packed.blob.size, packed.blob.digest.to_string()),
            (blob.len() as u64, digest(&blob))
        );
        assert_eq!(
            (packed.tar.size, packed.tar.digest.to_string()),
            (tar.len() as u64, digest(&tar))
        );

        let algorithm = Algorithm::Sha256;
        let mut reader =
            LayerReader::new(&blob[..], Limits::NONE, algorithm, algorithm).expect("a layer");
        assert_eq!(reader.compression(), Some(compression));
        reader.read_exact(&mut [0; 100]).expect("its beginning");
        let (rest, seen) = reader.finish().expect("its rest");
        assert_eq!((rest.len(), seen), (0, packed));
    }
}

/// Fails after so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_sink_ends_it() {
    let data = sample(40 * BLOCK);
    for compression in ALL {
        for threads in [1, 3] {
            let mut encoder =
                Encoder::new(Full(1000), encoding(compression, threads)).expect("an encoder");
            let written = encoder.write_all(&data);
            let error = written.and_then(|()| encoder.finish().map(drop)).expect_err("full");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{compression:?}");
        }
    }
}
