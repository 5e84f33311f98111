//! Questions for names and the answers that are ours to give: bytes in, bytes out.
//!
//! Invariant: an answer has the question's number and the question itself, is never longer than what fits, and
//! says so if it is cut off. What cannot be understood is not answered.
//! Absent on purpose: sockets, and everything that we do not know ourselves: such a question is passed on as
//! it came.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::names::{Known, NamesConfig};

const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 255;
/// What fits an answer by UDP to somebody who says nothing else.
const PLAIN_BYTES: usize = 512;
/// How long an answer may be remembered, in seconds.
const TTL_S: u32 = 600;

const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;

const FLAG_ANSWER: u8 = 0x80;
const FLAG_CUT_OFF: u8 = 0x02;
const FLAG_RECURSION_WANTED: u8 = 0x01;
const FLAG_RECURSION_THERE: u8 = 0x80;
const CODE_FAILURE: u8 = 2;
const OPCODE: u8 = 0x78;

/// What is to be done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Somebody else may know.
    Ask,
    /// It is no question.
    Ignore,
}

/// A question, as far as we look at it.
struct Question<'a> {
    message: &'a [u8],
    name: String,
    kind: u16,
    class: u16,
    /// Where the question ends.
    end: usize,
    /// What fits.
    room: usize,
}

/// Answers a question that came by UDP or, as `stream`, by TCP. `order` tells which of several addresses comes
/// first.
pub fn answer(message: &[u8], names: &NamesConfig, stream: bool, order: usize) -> Verdict {
    let Some(question) = Question::read(message, stream) else { return Verdict::Ignore };
    if question.class != CLASS_IN {
        return Verdict::Ask;
    }
    if question.kind == TYPE_PTR
        && let Some(address) = address_in(&question.name)
    {
        return match names.look_up_address(address) {
            Some(name) => Verdict::Answer(question.reply(&[(TYPE_PTR, encode(&name))])),
            None => Verdict::Ask,
        };
    }
    let Known::Here(mut addresses) = names.look_up(&question.name) else { return Verdict::Ask };
    if !addresses.is_empty() {
        let first = order % addresses.len();
        addresses.rotate_left(first);
    }
    let fits = |address: &&IpAddr| match question.kind {
        TYPE_A => address.is_ipv4(),
        TYPE_AAAA => address.is_ipv6(),
        TYPE_ANY => true,
        _ => false,
    };
    let records: Vec<_> = addresses
        .iter()
        .filter(fits)
        .map(|address| match address {
            IpAddr::V4(address) => (TYPE_A, address.octets().to_vec()),
            IpAddr::V6(address) => (TYPE_AAAA, address.octets().to_vec()),
        })
        .collect();
    Verdict::Answer(question.reply(&records))
}

/// The answer to a question that nobody could answer.
pub fn failure(message: &[u8]) -> Option<Vec<u8>> {
    let question = Question::read(message, false)?;
    let mut reply = question.reply(&[]);
    reply[3] |= CODE_FAILURE;
    Some(reply)
}

/// The number of a question or an answer.
pub fn number(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(..2)?.try_into().ok()?))
}

impl<'a> Question<'a> {
    fn read(message: &'a [u8], stream: bool) -> Option<Self> {
        let header = message.get(..HEADER_BYTES)?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let is_question = header[2] & (FLAG_ANSWER | OPCODE) == 0 && count(4) == 1;
        if !is_question {
            return None;
        }
        let (name, at) = decode(message, HEADER_BYTES)?;
        let fixed = message.get(at..at + 4)?;
        let (kind, class) =
            (u16::from_be_bytes([fixed[0], fixed[1]]), u16::from_be_bytes([fixed[2], fixed[3]]));
        let end = at + 4;
        let plain = count(6) == 0 && count(8) == 0;
        let room = match (stream, plain && count(10) > 0) {
            (true, _) => usize::from(u16::MAX),
            (false, true) => room_of(message.get(end..)?),
            (false, false) => PLAIN_BYTES,
        };
        Some(Self { message, name, kind, class, end, room })
    }

    fn reply(&self, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut reply = self.message[..self.end].to_vec();
        reply[2] = FLAG_ANSWER | self.message[2] & FLAG_RECURSION_WANTED;
        reply[3] = FLAG_RECURSION_THERE;
        reply[6..HEADER_BYTES].fill(0);
        let mut count: u16 = 0;
        for (kind, data) in records {
            let mut record = vec![0xc0, HEADER_BYTES as u8];
            record.extend(kind.to_be_bytes());
            record.extend(CLASS_IN.to_be_bytes());
            record.extend(TTL_S.to_be_bytes());
            record.extend((data.len() as u16).to_be_bytes());
            record.extend(data);
            if reply.len() + record.len() > self.room {
                reply[2] |= FLAG_CUT_OFF;
                break;
            }
            reply.extend(record);
            count += 1;
        }
        reply[6..8].copy_from_slice(&count.to_be_bytes());
        reply
    }
}

/// What somebody says who knows more than the old rules.
fn room_of(additional: &[u8]) -> usize {
    let said = || {
        let fixed = additional.get(..5)?;
        let kind = u16::from_be_bytes([fixed[1], fixed[2]]);
        let size = u16::from_be_bytes([fixed[3], fixed[4]]);
        (fixed[0] == 0 && kind == TYPE_OPT).then_some(usize::from(size))
    };
    said().unwrap_or_default().max(PLAIN_BYTES)
}

/// A name without compression, which questions have none of, and where it ends.
fn decode(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = message.get(at..at + length).filter(|_| length < 64)?;
        if name.len() + length + 1 > NAME_BYTES_MAX {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label));
        at += length;
    }
}

fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// The address that a reverse question is about.
fn address_in(name: &str) -> Option<IpAddr> {
    let lower = name.to_ascii_lowercase();
    if let Some(digits) = lower.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = digits.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let digits = lower.strip_suffix(".ip6.arpa")?;
    let (mut bits, mut count) = (0u128, 0);
    for (at, digit) in digits.split('.').enumerate().take(33) {
        let value = u128::from_str_radix(digit, 16).ok().filter(|_| digit.len() == 1)?;
        bits |= value.checked_shl(4 * at as u32).unwrap_or_default();
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(encode(name));
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message
    }

    fn names(count: u8) -> NamesConfig {
        let addresses = (0..count).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        NamesConfig { hosts: BTreeMap::from([("web".to_owned(), addresses)]), ..Default::default() }
    }

    fn reply(message: &[u8], names: &NamesConfig, stream: bool) -> Vec<u8> {
        match answer(message, names, stream, 1) {
            Verdict::Answer(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_has_what_was_asked_for_and_nothing_else() {
        let asked = question("WEB", TYPE_A);
        let reply_a = reply(&asked, &names(2), false);
        assert_eq!(reply_a[..8], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 2]);
        assert_eq!(reply_a[HEADER_BYTES..asked.len()], asked[HEADER_BYTES..]);
        let records = &reply_a[asked.len()..];
        assert_eq!(records[..12], [0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4]);
        assert_eq!(records[12..16], [10, 0, 0, 1]);
        assert_eq!(reply(&question("web", TYPE_AAAA), &names(2), false)[6..8], [0, 0]);
        assert_eq!(answer(&question("other", TYPE_A), &names(2), false, 0), Verdict::Ask);
        assert_eq!(failure(&asked).expect("an answer")[3] & 15, CODE_FAILURE);
    }

    #[test]
    fn what_does_not_fit_is_cut_off_unless_it_comes_in_a_stream() {
        let asked = question("web", TYPE_A);
        let cut = reply(&asked, &names(100), false);
        assert!(cut.len() <= PLAIN_BYTES && cut[2] & FLAG_CUT_OFF != 0);
        let whole = reply(&asked, &names(100), true);
        assert_eq!(whole[2] & FLAG_CUT_OFF, 0);
        assert_eq!(whole[7], 100);
        let mut roomy = asked.clone();
        roomy[11] = 1;
        roomy.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reply(&roomy, &names(100), false)[7], 100);
    }

    #[test]
    fn what_is_no_question_is_ignored() {
        let asked = question("web", TYPE_A);
        for end in 0..asked.len() {
            assert_eq!(answer(&asked[..end], &names(1), false, 0), Verdict::Ignore, "{end}");
        }
        let mut answered = asked.clone();
        answered[2] |= FLAG_ANSWER;
        assert_eq!(answer(&answered, &names(1), false, 0), Verdict::Ignore);
        let mut pointing = asked.clone();
        pointing[HEADER_BYTES] = 0xc0;
        assert_eq!(answer(&pointing, &names(1), false, 0), Verdict::Ignore);
    }

    #[test]
    fn reverse_questions_name_addresses() {
        assert_eq!(address_in("2.0.17.172.IN-ADDR.arpa"), "172.17.0.2".parse().ok());
        assert_eq!(address_in("1.2.3.in-addr.arpa"), None);
        let six = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa";
        assert_eq!(address_in(six), "4321:0:1:2:3:4:567:89ab".parse().ok());
    }
}
