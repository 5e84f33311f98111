//! Extended headers: `length keyword=value` records, those that we know kept by keyword.
//!
//! Invariant: of each keyword there is at most one value; a second, different one is an error,
//! since some readers keep the first and some the last.
//! Absent on purpose: keywords that describe the archiver's machine (`SCHILY.ino`, creation times)
//! and access control lists as text (`SCHILY.acl.*`), which are skipped as Docker skips them.

use super::decimal;
use super::entry::{Extent, Time, Xattrs};
use super::error::Fault;

/// The longest value of an extended attribute, and the longest name, that Linux has.
const XATTR_BYTES_MAX: usize = 64 << 10;
const XATTR_NAME_BYTES_MAX: usize = 255;

const SCHILY: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// A keyword whose value decides what an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Path,
    LinkPath,
    Size,
    Uid,
    Gid,
    Uname,
    Gname,
    Modified,
    Accessed,
    Changed,
    Charset,
    DeviceMajor,
    DeviceMinor,
    StarSize,
    SparseMajor,
    SparseMinor,
    SparseName,
    SparseSize,
    SparseRealSize,
    SparseMap,
    SparseBlocks,
}

const KEYWORDS: [(Keyword, &str); 21] = [
    (Keyword::Path, "path"),
    (Keyword::LinkPath, "linkpath"),
    (Keyword::Size, "size"),
    (Keyword::Uid, "uid"),
    (Keyword::Gid, "gid"),
    (Keyword::Uname, "uname"),
    (Keyword::Gname, "gname"),
    (Keyword::Modified, "mtime"),
    (Keyword::Accessed, "atime"),
    (Keyword::Changed, "ctime"),
    (Keyword::Charset, "hdrcharset"),
    (Keyword::DeviceMajor, "SCHILY.devmajor"),
    (Keyword::DeviceMinor, "SCHILY.devminor"),
    (Keyword::StarSize, "SCHILY.realsize"),
    (Keyword::SparseMajor, "GNU.sparse.major"),
    (Keyword::SparseMinor, "GNU.sparse.minor"),
    (Keyword::SparseName, "GNU.sparse.name"),
    (Keyword::SparseSize, "GNU.sparse.size"),
    (Keyword::SparseRealSize, "GNU.sparse.realsize"),
    (Keyword::SparseMap, "GNU.sparse.map"),
    (Keyword::SparseBlocks, "GNU.sparse.numblocks"),
];

/// What a global header may set for the entries after it; of the others, no two may share one.
const GLOBAL: [Keyword; 8] = [
    Keyword::Uid,
    Keyword::Gid,
    Keyword::Uname,
    Keyword::Gname,
    Keyword::Modified,
    Keyword::Accessed,
    Keyword::Changed,
    Keyword::Charset,
];

/// The values of one extended header.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    values: [Option<Vec<u8>>; KEYWORDS.len()],
    pub(super) xattrs: Xattrs,
    /// The map in its oldest form: pairs of records, in order.
    pub(super) extents: Vec<Extent>,
    offset: Option<u64>,
}

impl Keyword {
    pub(super) const fn as_str(self) -> &'static str {
        KEYWORDS[self as usize].1
    }

    fn of(text: &[u8]) -> Option<Self> {
        KEYWORDS.into_iter().find(|(_, known)| known.as_bytes() == text).map(|(keyword, _)| keyword)
    }
}

impl Records {
    /// Reads an extended header's body.
    pub(super) fn parse(bytes: &[u8], extents_max: usize) -> Result<Self, Fault> {
        let mut records = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let malformed = || Fault::Record { offset: bytes.len() - rest.len() };
            let (keyword, value, after) = split(rest).ok_or_else(malformed)?;
            records.take(keyword, value, extents_max)?;
            rest = after;
        }
        if records.offset.is_some() {
            return Err(Fault::SparseMap);
        }
        Ok(records)
    }

    fn take(&mut self, keyword: &[u8], value: &[u8], extents_max: usize) -> Result<(), Fault> {
        if let Some(known) = Keyword::of(keyword) {
            return self.set(known, value);
        }
        if let Some(name) = keyword.strip_prefix(SCHILY) {
            return self.set_xattr(plain_name(name, keyword)?, value.to_vec());
        }
        if let Some(name) = keyword.strip_prefix(LIBARCHIVE) {
            let decoded = percent_decode(name).zip(base64_decode(value));
            let (name, value) = decoded.ok_or_else(|| unsupported(keyword))?;
            return self.set_xattr(name, value);
        }
        match keyword {
            b"GNU.sparse.offset" if self.offset.is_none() => {
                self.offset = Some(decimal::parse(value).ok_or(Fault::SparseMap)?);
                Ok(())
            }
            b"GNU.sparse.numbytes" => self.push_extent(value, extents_max),
            // A hole map of Solaris, and whatever GNU tar thinks of next.
            b"SUN.holesdata" => Err(unsupported(keyword)),
            _ if keyword.starts_with(SPARSE) => Err(unsupported(keyword)),
            _ => Ok(()),
        }
    }

    fn set(&mut self, keyword: Keyword, value: &[u8]) -> Result<(), Fault> {
        let place = &mut self.values[keyword as usize];
        if place.as_deref().is_some_and(|before| before != value) {
            return Err(Fault::Twice { keyword: keyword.as_str().to_owned() });
        }
        // POSIX: as if nothing had been said. Python: the empty text.
        if value.is_empty() {
            return Err(Fault::Empty { field: keyword.as_str() });
        }
        if value.contains(&0) {
            return Err(Fault::Nul { field: keyword.as_str() });
        }
        *place = Some(value.to_vec());
        Ok(())
    }

    fn set_xattr(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), Fault> {
        check_xattr(&name, &value)?;
        if self.xattrs.get(&name).is_some_and(|before| *before != value) {
            let keyword = String::from_utf8_lossy(&name).into_owned();
            return Err(Fault::Twice { keyword });
        }
        self.xattrs.insert(name, value);
        Ok(())
    }

    fn push_extent(&mut self, length: &[u8], extents_max: usize) -> Result<(), Fault> {
        let offset = self.offset.take().ok_or(Fault::SparseMap)?;
        let length = decimal::parse(length).ok_or(Fault::SparseMap)?;
        if self.extents.len() == extents_max {
            return Err(Fault::TooLong { field: "map of its holes", max: extents_max as u64 });
        }
        self.extents.push(Extent { offset, length });
        Ok(())
    }

    /// The value of a keyword.
    pub(super) fn text(&self, keyword: Keyword) -> Option<&[u8]> {
        self.values[keyword as usize].as_deref()
    }

    /// The value of a keyword that is a number.
    pub(super) fn number(&self, keyword: Keyword) -> Result<Option<u64>, Fault> {
        let wrong = Fault::Number { field: keyword.as_str() };
        self.text(keyword).map(|text| decimal::parse(text).ok_or(wrong)).transpose()
    }

    /// The value of a keyword that is a moment.
    pub(super) fn time(&self, keyword: Keyword) -> Result<Option<Time>, Fault> {
        let wrong = Fault::Number { field: keyword.as_str() };
        self.text(keyword).map(|text| decimal::parse_time(text).ok_or(wrong)).transpose()
    }

    /// Whether anything speaks of holes.
    pub(super) fn is_sparse(&self) -> bool {
        let sparse = |(keyword, text): (Keyword, &str)| {
            text.as_bytes().starts_with(SPARSE) && self.text(keyword).is_some()
        };
        !self.extents.is_empty() || KEYWORDS.into_iter().any(sparse)
    }

    /// The first keyword that would change an entry.
    pub(super) fn first(&self) -> Option<&'static str> {
        let mut present = KEYWORDS
            .into_iter()
            .filter(|(keyword, _)| self.text(*keyword).is_some() && *keyword != Keyword::Charset);
        let xattr = || (!self.xattrs.is_empty()).then_some("extended attributes");
        present.next().map(|(_, text)| text).or_else(xattr)
    }

    /// Takes in a later global header; it may speak only of what entries can share.
    pub(super) fn merge_global(&mut self, later: Self) -> Result<(), Fault> {
        if !later.xattrs.is_empty() {
            return Err(Fault::Global { keyword: "extended attributes" });
        }
        if !later.extents.is_empty() {
            return Err(Fault::Global { keyword: "GNU.sparse.offset" });
        }
        for ((keyword, text), value) in KEYWORDS.into_iter().zip(later.values) {
            let Some(value) = value else { continue };
            if !GLOBAL.contains(&keyword) {
                return Err(Fault::Global { keyword: text });
            }
            self.values[keyword as usize] = Some(value);
        }
        Ok(())
    }

    /// Adds what the global headers said and this one does not.
    pub(super) fn inherit(&mut self, globals: &Self) {
        for (place, value) in self.values.iter_mut().zip(&globals.values) {
            if place.is_none() {
                place.clone_from(value);
            }
        }
    }
}

/// The first record's keyword and value, and the records after it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(LENGTH_DIGITS_MAX + 1).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal::parse(&bytes[..space])?).ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let keyword = &record[..equals];
    let named = !keyword.is_empty() && !keyword.contains(&0);
    named.then_some((keyword, &record[equals + 1..], after))
}

const LENGTH_DIGITS_MAX: usize = 10;

/// Prints one record; its length counts itself.
pub(super) fn print(out: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let payload = keyword.len() + value.len() + 3;
    let mut length = payload + digits(payload);
    if payload + digits(length) != length {
        length += 1;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(keyword);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// An extended attribute's keyword and value. An equals sign cannot stand in a plain keyword, and
/// GNU tar would decode some percent signs.
pub(super) fn xattr(name: &[u8], value: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    check_xattr(name, value)?;
    if name.iter().any(|byte| matches!(byte, b'=' | b'%')) {
        return Ok(([LIBARCHIVE, &percent_encode(name)].concat(), base64_encode(value)));
    }
    Ok(([SCHILY, name].concat(), value.to_vec()))
}

/// What Linux can hold.
fn check_xattr(name: &[u8], value: &[u8]) -> Result<(), Fault> {
    const NAME: &str = "extended attribute's name";
    if name.is_empty() {
        return Err(Fault::Empty { field: NAME });
    }
    if name.contains(&0) {
        return Err(Fault::Nul { field: NAME });
    }
    if name.len() > XATTR_NAME_BYTES_MAX {
        return Err(Fault::TooLong { field: NAME, max: XATTR_NAME_BYTES_MAX as u64 });
    }
    if value.len() > XATTR_BYTES_MAX {
        return Err(Fault::TooLong { field: "extended attribute", max: XATTR_BYTES_MAX as u64 });
    }
    Ok(())
}

fn unsupported(keyword: &[u8]) -> Fault {
    let shown = &keyword[..keyword.len().min(super::error::EXCERPT_BYTES_MAX)];
    Fault::Keyword { keyword: String::from_utf8_lossy(shown).into_owned() }
}

/// GNU tar reads `%3D` and `%25` in such a name as one byte, Go as three.
fn plain_name(name: &[u8], keyword: &[u8]) -> Result<Vec<u8>, Fault> {
    let is_code = |window: &[u8]| window == b"%3D" || window == b"%25";
    match name.windows(3).any(is_code) {
        true => Err(unsupported(keyword)),
        false => Ok(name.to_vec()),
    }
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        decoded.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = after;
    }
    Some(decoded)
}

fn percent_encode(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'%' | b'=' | 0..=b' ' | 0x7f.. => encoded.extend([
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
            _ => encoded.push(*byte),
        }
    }
    encoded
}

const BASE_64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Without padding, as libarchive writes it.
fn base64_encode(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits: u32, place| {
            bits << 8 | u32::from(group.get(place).copied().unwrap_or(0))
        });
        let digit = |place: usize| BASE_64[(bits >> (18 - 6 * place) & 63) as usize];
        encoded.extend((0..=group.len()).map(digit));
    }
    encoded
}

/// With padding or without.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = &text[..text.len() - padding];
    if padding > 2 || (padding > 0 && !(text.len() + padding).is_multiple_of(4)) {
        return None;
    }
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            let value = group
                .get(place)
                .map_or(Some(0), |digit| BASE_64.iter().position(|known| known == digit))?;
            bits = bits << 6 | value as u32;
        }
        let count = (group.len() * 6) / 8;
        // One digit alone is less than a byte, and spare bits that are set are another spelling.
        if count == 0 || bits & (0x00ff_ffff >> (8 * count)) != 0 {
            return None;
        }
        decoded.extend_from_slice(&bits.to_be_bytes()[1..=count]);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXTENTS_MAX: usize = 4;

    fn parse(text: &[u8]) -> Result<Records, Fault> {
        Records::parse(text, EXTENTS_MAX)
    }

    fn records(pairs: &[(&str, &str)]) -> Result<Records, Fault> {
        let mut bytes = Vec::new();
        for (keyword, value) in pairs {
            print(&mut bytes, keyword.as_bytes(), value.as_bytes());
        }
        parse(&bytes)
    }

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (place, (keyword, text)) in KEYWORDS.into_iter().enumerate() {
            assert_eq!(keyword as usize, place);
            assert_eq!(Keyword::of(text.as_bytes()), Some(keyword));
        }
    }

    #[test]
    fn lengths_count_themselves() {
        let check = |value: usize, expected: usize| {
            let mut out = Vec::new();
            print(&mut out, b"k", &vec![b'x'; value]);
            assert_eq!(out.len(), expected);
            assert!(out.starts_with(format!("{expected} k=").as_bytes()));
        };
        check(0, 5);
        check(4, 9);
        check(5, 11);
        check(92, 98);
        check(93, 99);
        check(94, 101);
        check(992, 999);
        check(993, 1001);
    }

    #[test]
    fn malformed_records() {
        let malformed: [&[u8]; 13] = [
            b"5 k=\n6 k=\n",
            b"5 k=",
            b"k=v\n",
            b"6 k=\n",
            b"4 k=\n",
            b"05 =v\n",
            b" 5 k=\n",
            b"-5 k=\n",
            b"5\tk=v\n",
            b"4 kv\n",
            b"7 k\0=v\n",
            b"99999999999 k=v\n",
            b"0 ",
        ];
        for text in malformed {
            assert!(matches!(parse(text), Err(Fault::Record { .. })), "{}", text.escape_ascii());
        }
        assert!(matches!(parse(b"6 k=v\n\0\0"), Err(Fault::Record { offset: 6 })));
        assert!(parse(b"").is_ok());
        assert!(parse(b"6 k=v\n").is_ok(), "unknown keywords are skipped");
    }

    #[test]
    fn one_value_of_each() {
        let twice = records(&[("size", "1"), ("size", "2")]);
        assert!(matches!(twice, Err(Fault::Twice { keyword }) if keyword == "size"));
        assert!(records(&[("size", "1"), ("size", "1")]).is_ok());
        assert!(records(&[("comment", "1"), ("comment", "2")]).is_ok());
        assert!(matches!(records(&[("path", "a\0b")]), Err(Fault::Nul { field: "path" })));
        assert!(matches!(records(&[("path", "")]), Err(Fault::Empty { field: "path" })));
    }

    #[test]
    fn attributes_in_both_spellings() {
        let both = records(&[
            ("SCHILY.xattr.user.a", "v\0w"),
            ("LIBARCHIVE.xattr.user.a", "dgB3"),
            ("LIBARCHIVE.xattr.user.%C3%A9%3D", "eA=="),
            ("SCHILY.xattr.user.empty", ""),
        ])
        .expect("they agree");
        let names: Vec<_> =
            both.xattrs.keys().map(|name| name.escape_ascii().to_string()).collect();
        assert_eq!(names, ["user.a", "user.empty", r"user.\xc3\xa9="]);
        assert_eq!(both.xattrs[&b"user.a"[..]], b"v\0w");

        let refused = [
            [("SCHILY.xattr.user.a", "v"), ("LIBARCHIVE.xattr.user.a", "dw")],
            [("SCHILY.xattr.user.a%3Db", "v"), ("comment", "")],
            [("LIBARCHIVE.xattr.user.%4", "dw"), ("comment", "")],
            [("LIBARCHIVE.xattr.user.a", "d"), ("comment", "")],
            [("LIBARCHIVE.xattr.user.%00", "dw"), ("comment", "")],
            [("SCHILY.xattr.", "v"), ("comment", "")],
        ];
        for pairs in refused {
            assert!(records(&pairs).is_err(), "{pairs:?}");
        }
        let long = "x".repeat(XATTR_BYTES_MAX + 1);
        let long = records(&[("SCHILY.xattr.user.a", &long)]);
        assert!(matches!(long, Err(Fault::TooLong { max: 65536, .. })));
    }

    #[test]
    fn pairs_of_the_oldest_sparse_form() {
        let pair =
            |offset, length| [("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", length)];
        let two = records(&[pair("0", "1"), pair("5", "2")].concat()).expect("pairs");
        assert_eq!(
            two.extents,
            [Extent { offset: 0, length: 1 }, Extent { offset: 5, length: 2 },]
        );
        assert!(two.is_sparse());
        assert!(matches!(records(&pair("0", "1").repeat(5)), Err(Fault::TooLong { max: 4, .. })));
        assert!(matches!(records(&pair("0", "1")[..1]), Err(Fault::SparseMap)));
        assert!(matches!(records(&pair("0", "1")[1..]), Err(Fault::SparseMap)));
        assert!(matches!(records(&[("GNU.sparse.next", "1")]), Err(Fault::Keyword { .. })));
    }

    #[test]
    fn globals_are_what_entries_can_share() {
        let mut globals = Records::default();
        let later = records(&[("uid", "7"), ("comment", "x"), ("mtime", "1.5")]).expect("records");
        assert_eq!(later.first(), Some("uid"));
        globals.merge_global(later).expect("shared");
        let mut local = records(&[("mtime", "2")]).expect("records");
        local.inherit(&globals);
        assert_eq!(local.number(Keyword::Uid).expect("a number"), Some(7));
        let modified = local.time(Keyword::Modified).expect("a moment");
        assert_eq!(modified.map(|time| time.seconds), Some(2), "its own counts");
        for keyword in ["path", "size", "SCHILY.xattr.user.a", "GNU.sparse.major"] {
            let later = records(&[(keyword, "1")]).expect("records");
            assert!(globals.merge_global(later).is_err(), "{keyword}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn attributes_come_back(
            name in proptest::collection::vec(1..=255_u8, 1..40),
            value in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = Vec::new();
            let (keyword, printed) = xattr(&name, &value).expect("what Linux can hold");
            print(&mut bytes, &keyword, &printed);
            let records = parse(&bytes).expect("what we printed");
            prop_assert_eq!(records.xattrs.get(&name), Some(&value));
        }

        #[test]
        fn base_64_has_one_spelling(text in "[A-Za-z0-9+/]{0,9}") {
            if let Some(bytes) = base64_decode(text.as_bytes()) {
                prop_assert_eq!(base64_encode(&bytes), text.into_bytes());
            }
        }

        #[test]
        fn anything_is_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
