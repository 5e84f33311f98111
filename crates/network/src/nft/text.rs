//! Rules and elements as the program `nft` words them, for people who ask what is in force.
//!
//! Invariant: what is told is told from the same expressions that the kernel is given.
//! Absent on purpose: reading such text; rules of others.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::expression::{CtKey, Expression, Meta, Verdict};

/// A rule in one line.
pub(crate) fn rule(expressions: &[Expression<'_>]) -> String {
    let mut teller = Teller::default();
    expressions.iter().for_each(|expression| teller.tell(expression));
    teller.words.join(" ")
}

/// What registers hold, in words, and what was said so far.
#[derive(Default)]
struct Teller {
    registers: BTreeMap<u32, String>,
    words: Vec<String>,
}

impl Teller {
    /// A register has something new; what began behind it belonged to something older.
    fn load(&mut self, register: u32, words: impl Into<String>) {
        self.registers.split_off(&register);
        self.registers.insert(register, words.into());
    }

    fn from(&self, register: u32) -> String {
        let all: Vec<_> =
            self.registers.range(register..).map(|(_, words)| words.as_str()).collect();
        all.join(" . ")
    }

    fn at(&self, register: u32) -> &str {
        self.registers.get(&register).map_or("", String::as_str)
    }

    fn tell(&mut self, expression: &Expression<'_>) {
        match *expression {
            Expression::Meta(to, what) => self.load(to.0, meta(what)),
            Expression::Header(to, offset, length) => self.load(to.0, header(offset, length)),
            Expression::DestinationPort(to) => self.load(to.0, "th dport"),
            Expression::Ct(to, CtKey::State) => self.load(to.0, "ct state"),
            Expression::Ct(to, CtKey::Status) => self.load(to.0, "ct status"),
            Expression::DestinationKind(to) => self.load(to.0, "fib daddr type"),
            Expression::Load(to, bytes) => self.load(to.0, value("", bytes)),
            Expression::And(to, mask) => {
                let words = self.at(to.0).to_owned();
                let masked = format!("{words} & {}", value(&words, mask));
                self.load(to.0, masked);
            }
            Expression::Is(of, bytes) => {
                let words = self.at(of.0);
                self.words.push(format!("{words} {}", value(words, bytes)));
            }
            Expression::IsNot(of, bytes) => {
                let words = self.at(of.0);
                self.words.push(format!("{words} != {}", value(words, bytes)));
            }
            Expression::In(of, set) => self.words.push(format!("{} @{set}", self.from(of.0))),
            Expression::NotIn(of, set) => {
                self.words.push(format!("{} != @{set}", self.from(of.0)));
            }
            Expression::Map(of, set, to) => {
                let words = format!("{} map @{set}", self.from(of.0));
                self.load(to.0, words);
            }
            Expression::Redirect(to, _) => self.words.push(format!("dnat ip to {}", self.at(to.0))),
            Expression::Redirect6(to, _) => {
                self.words.push(format!("dnat ip6 to {}", self.at(to.0)));
            }
            Expression::Masquerade => self.words.push("masquerade".to_owned()),
            Expression::Then(Verdict::Accept) => self.words.push("accept".to_owned()),
            Expression::Then(Verdict::Drop) => self.words.push("drop".to_owned()),
            Expression::Then(Verdict::Jump(chain)) => self.words.push(format!("jump {chain}")),
        }
    }
}

fn meta(what: Meta) -> &'static str {
    match what {
        Meta::InputName => "iifname",
        Meta::OutputName => "oifname",
        Meta::Family => "meta nfproto",
        Meta::Protocol => "meta l4proto",
        Meta::InputKind => "meta iifkind",
        Meta::OutputKind => "meta oifkind",
    }
}

fn header(offset: u32, length: u32) -> String {
    let known = match (offset, length) {
        (12, 4) => "ip saddr",
        (16, 4) => "ip daddr",
        (8, 16) => "ip6 saddr",
        (24, 16) => "ip6 daddr",
        _ => return format!("@nh,{},{}", offset * 8, length * 8),
    };
    known.to_owned()
}

/// A value, by what it is compared with.
fn value(words: &str, bytes: &[u8]) -> String {
    let number = || bytes.try_into().map(u32::from_ne_bytes).unwrap_or_default();
    match words {
        "meta nfproto" => if bytes == [10] { "ipv6" } else { "ipv4" }.to_owned(),
        "fib daddr type" => "local".to_owned(),
        "ct state" => "(established | related)".to_owned(),
        "ct status" => "dnat".to_owned(),
        "meta iifkind" | "meta oifkind" => "\"\"".to_owned(),
        words if words.starts_with("ct ") => number().to_string(),
        _ => match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(address), _) => Ipv4Addr::from(address).to_string(),
            (_, Ok(address)) => Ipv6Addr::from(address).to_string(),
            _ => format!("{bytes:?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::Reg;

    #[test]
    fn rules_are_worded_as_nft_does() {
        let look = [
            Expression::Header(Reg(0), 16, 4),
            Expression::Meta(Reg(1), Meta::Protocol),
            Expression::DestinationPort(Reg(2)),
            Expression::Map(Reg(0), "ports", Reg(4)),
            Expression::Redirect(Reg(4), Reg(5)),
        ];
        assert_eq!(rule(&look), "dnat ip to ip daddr . meta l4proto . th dport map @ports");
        let closed = [
            Expression::Meta(Reg(0), Meta::Family),
            Expression::Is(Reg(0), &[2]),
            Expression::Header(Reg(0), 16, 4),
            Expression::And(Reg(0), &[255, 0, 0, 0]),
            Expression::Is(Reg(0), &[127, 0, 0, 0]),
            Expression::Then(Verdict::Drop),
        ];
        let words = "meta nfproto ipv4 ip daddr & 255.0.0.0 127.0.0.0 drop";
        assert_eq!(rule(&closed), words);
        let within = [
            Expression::Meta(Reg(0), Meta::InputName),
            Expression::Meta(Reg(4), Meta::OutputName),
            Expression::In(Reg(0), "within"),
        ];
        assert_eq!(rule(&within), "iifname . oifname @within");
    }
}
