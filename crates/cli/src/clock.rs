//! Points in time: read from flags, printed as Go prints them, in the machine's time zone.
//!
//! The zone is read from `/etc/localtime` only when a time is printed or read without a zone. Absent
//! on purpose: leap seconds, and the rule behind a zone file's last transition (its last offset goes on).

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time: seconds since 1970 and nanoseconds of that second.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// A zone at some moment: its distance from UTC, and its letters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Offset {
    pub(crate) seconds: i64,
    pub(crate) name: String,
}

/// Where local time comes from.
#[derive(Debug)]
pub(crate) struct Zone {
    /// When an offset begins, in order.
    transitions: Vec<(i64, Offset)>,
    first: Offset,
}

/// A year, month, day, hour, minute and second.
type Civil = (i64, u32, u32, u32, u32, u32);

impl Moment {
    pub(crate) fn now() -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { seconds: since.as_secs() as i64, nanoseconds: since.subsec_nanos() }
    }

    pub(crate) fn of_nanoseconds(total: i64) -> Moment {
        let seconds = total.div_euclid(1_000_000_000);
        Moment { seconds, nanoseconds: total.rem_euclid(1_000_000_000) as u32 }
    }

    /// `2006-01-02 15:04:05 +0100 CET`: Go's default for a time.
    pub(crate) fn go(self, zone: &Zone) -> String {
        let offset = zone.at(self.seconds);
        let (year, month, day, hour, minute, second) = civil(self.seconds + offset.seconds);
        let fraction = match self.nanoseconds {
            0 => String::new(),
            some => format!(".{some:09}").trim_end_matches('0').to_owned(),
        };
        format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction} {} {}",
            colonless(offset.seconds),
            offset.name
        )
    }

    /// RFC 3339 with all nine digits, as Docker prints the times of logs and events.
    pub(crate) fn rfc3339_nano(self, zone: &Zone) -> String {
        let offset = zone.at(self.seconds);
        let (year, month, day, hour, minute, second) = civil(self.seconds + offset.seconds);
        let sign = if offset.seconds < 0 { '-' } else { '+' };
        let away = offset.seconds.abs();
        let tail = match away {
            0 => "Z".to_owned(),
            _ => format!("{sign}{:02}:{:02}", away / 3600, away % 3600 / 60),
        };
        format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}{tail}",
            self.nanoseconds
        )
    }

    /// What the API's `since` and `until` take.
    pub(crate) fn api(self) -> String {
        format!("{}.{:09}", self.seconds, self.nanoseconds)
    }
}

fn colonless(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    format!("{sign}{:02}{:02}", seconds.abs() / 3600, seconds.abs() % 3600 / 60)
}

/// The value of `--since` or `--until` for the API: a span back from `now`, a date, or a number of
/// seconds.
pub(crate) fn parse_since(text: &str, now: Moment, zone: &Zone) -> Result<String, String> {
    if text != "0"
        && let Ok(span) = crate::units::parse_duration(text)
    {
        let total = now.seconds * 1_000_000_000 + i64::from(now.nanoseconds) - span;
        return Ok(total.div_euclid(1_000_000_000).to_string());
    }
    if let Some(moment) = parse_date(text, zone) {
        return Ok(moment.api());
    }
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if number(seconds) && number(fraction) {
        return Ok(text.to_owned());
    }
    Err(format!("failed to parse value as time or duration: {text:?}"))
}

/// RFC 3339, or a front part of it, with a zone or in local time.
pub(crate) fn parse_date(text: &str, zone: &Zone) -> Option<Moment> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let mut parts = date.split('-');
    let year: i64 = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?.trim_end_matches(['Z', 'z']), 2)?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let place = time.find(['Z', 'z', '+', '-']);
    let (time, suffix) = place.map_or((time, ""), |place| time.split_at(place));
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.split(':').filter(|part| !part.is_empty());
    let mut next = || parts.next().map_or(Some(0), |part| digits(part, 2));
    let (hour, minute, second) = (next()?, next()?, next()?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanoseconds = match fraction.len() {
        0 => 0,
        1..=9 => digits(&format!("{fraction:0<9}"), 9)? as u32,
        _ => digits(&fraction[..9], 9)? as u32,
    };
    let local = days(year, month as u32, day as u32) * 86400 + hour * 3600 + minute * 60 + second;
    let utc = date.ends_with(['Z', 'z']) || suffix.eq_ignore_ascii_case("z");
    let away = match suffix {
        _ if utc => 0,
        "" => zone.at(local).seconds,
        _ => {
            let (hours, minutes) = suffix[1..].split_once(':')?;
            let away = digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60;
            if suffix.starts_with('-') { -away } else { away }
        }
    };
    Some(Moment { seconds: local - away, nanoseconds })
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(seconds: i64) -> Civil {
    let day_number = seconds.div_euclid(86400) + 719_468;
    let rest = seconds.rem_euclid(86400) as u32;
    let era = day_number.div_euclid(146_097);
    let of_era = day_number.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day, rest / 3600, rest % 3600 / 60, rest % 60)
}

impl Zone {
    pub(crate) fn utc() -> Zone {
        Zone { transitions: Vec::new(), first: Offset { seconds: 0, name: "UTC".to_owned() } }
    }

    /// The machine's zone, or the one that `TZ` names.
    pub(crate) fn local(tz: Option<&str>) -> Zone {
        let path = match tz {
            Some("") => return Zone::utc(),
            Some(name) if name.starts_with('/') => name.to_owned(),
            Some(name) => format!("/usr/share/zoneinfo/{}", name.trim_start_matches(':')),
            None => "/etc/localtime".to_owned(),
        };
        std::fs::read(path).ok().and_then(|bytes| Zone::parse(&bytes)).unwrap_or_else(Zone::utc)
    }

    pub(crate) fn at(&self, seconds: i64) -> &Offset {
        let after = self.transitions.partition_point(|(begins, _)| *begins <= seconds);
        after.checked_sub(1).map_or(&self.first, |index| &self.transitions[index].1)
    }

    /// A TZif file of version 2 or later (its second half has 64-bit times).
    fn parse(bytes: &[u8]) -> Option<Zone> {
        let first = Header::parse(bytes)?;
        let bytes = bytes.get(44 + first.data_len(4)..)?;
        let header = Header::parse(bytes)?;
        let data = bytes.get(44..44 + header.data_len(8))?;
        let (times, data) = data.split_at(header.times * 8);
        let (indices, data) = data.split_at(header.times);
        let (types, data) = data.split_at(header.types * 6);
        let letters = &data[..header.letters];
        let offset = |index: usize| -> Option<Offset> {
            let kind = types.get(index * 6..index * 6 + 6)?;
            let name = letters.get(usize::from(kind[5])..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            Some(Offset {
                seconds: i64::from(i32::from_be_bytes(kind[..4].try_into().ok()?)),
                name: String::from_utf8_lossy(name).into_owned(),
            })
        };
        let mut transitions = Vec::with_capacity(header.times);
        for (time, index) in times.chunks_exact(8).zip(indices) {
            let time = i64::from_be_bytes(time.try_into().ok()?);
            transitions.push((time, offset(usize::from(*index))?));
        }
        Some(Zone { transitions, first: offset(0)? })
    }
}

/// The counts at the front of either half of a zone file.
struct Header {
    ut: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let head = bytes.get(..44)?;
        if !head.starts_with(b"TZif") || head[4] < b'2' {
            return None;
        }
        let count = |index: usize| -> Option<usize> {
            let place = 20 + index * 4;
            Some(u32::from_be_bytes(head[place..place + 4].try_into().ok()?) as usize)
        };
        Some(Header {
            ut: count(0)?,
            standard: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            letters: count(5)?,
        })
    }

    fn data_len(&self, time_bytes: usize) -> usize {
        self.times * (time_bytes + 1)
            + self.types * 6
            + self.letters
            + self.leaps * (time_bytes + 4)
            + self.standard
            + self.ut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn east() -> Zone {
        Zone { transitions: Vec::new(), first: Offset { seconds: 3600, name: "CET".to_owned() } }
    }

    #[test]
    fn times_as_go_prints_them() {
        let moment = Moment { seconds: 1_136_214_245, nanoseconds: 120_000_000 };
        assert_eq!(moment.go(&Zone::utc()), "2006-01-02 15:04:05.12 +0000 UTC");
        assert_eq!(moment.go(&east()), "2006-01-02 16:04:05.12 +0100 CET");
        assert_eq!(moment.rfc3339_nano(&east()), "2006-01-02T16:04:05.120000000+01:00");
        assert_eq!(
            Moment::of_nanoseconds(-1).go(&Zone::utc()),
            "1969-12-31 23:59:59.999999999 +0000 UTC"
        );
    }

    #[test]
    fn dates_whole_and_in_part() {
        let utc = Zone::utc();
        let read = |text| parse_date(text, &utc).map(Moment::api);
        assert_eq!(read("2006-01-02T15:04:05Z").as_deref(), Some("1136214245.000000000"));
        assert_eq!(read("2006-01-02T15:04:05.1+01:00").as_deref(), Some("1136210645.100000000"));
        assert_eq!(read("2006-01-02T15:04").as_deref(), Some("1136214240.000000000"));
        assert_eq!(read("2006-01-02").as_deref(), Some("1136160000.000000000"));
        assert_eq!(read("2006-13-02"), None);
        let local = parse_date("2006-01-02T16:04:05", &east()).map(|moment| moment.seconds);
        assert_eq!(local, Some(1_136_214_245));
    }

    #[test]
    fn since_takes_spans_dates_and_numbers() {
        let now = Moment { seconds: 1000, nanoseconds: 5 };
        let read = |text| parse_since(text, now, &Zone::utc());
        assert_eq!(read("10s").as_deref(), Ok("990"));
        assert_eq!(read("1136073600.5").as_deref(), Ok("1136073600.5"));
        assert_eq!(read("0").as_deref(), Ok("0"));
        assert_eq!(
            read("yesterday").unwrap_err(),
            "failed to parse value as time or duration: \"yesterday\""
        );
    }

    #[test]
    fn calendars_agree_both_ways() {
        for day in (-200_000..200_000).step_by(37) {
            let (year, month, date, ..) = civil(day * 86400);
            assert_eq!(days(year, month, date), day);
        }
    }
}
