//! What is read out of certificates: the key inside, and from when until when they are valid (RFC 5280 section 4.1).
//! Pure. Also of certificates of version 1, which `openssl req -x509` makes without its configuration file and which
//! rustls does not read.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::limits;
use crate::protocol::compat_version_ms;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const DAY: i64 = 24 * 60 * 60;

/// The key inside a certificate: DER of its SubjectPublicKeyInfo.
pub fn subject_public_key(certificate: &[u8]) -> Option<&[u8]> {
    // Behind the validity: subject.
    let subject = element(behind_issuer(certificate)?)?.rest;
    element(element(subject)?.rest).filter(|key| key.tag == SEQUENCE).map(|key| key.whole)
}

/// When a certificate is valid, in seconds since 1970; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: i64,
    pub until: i64,
}

/// What is wrong with the dates of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Nobody who looks at dates believes it now.
    pub now: bool,
    /// What follows "the certificate".
    pub what: String,
}

impl Validity {
    pub fn of(certificate: &[u8]) -> Option<Validity> {
        let both = element(behind_issuer(certificate)?).filter(|both| both.tag == SEQUENCE)?;
        let from = element(both.content)?;
        Some(Validity { from: seconds(&from)?, until: seconds(&element(from.rest)?)? })
    }

    /// Soon is the last third of its life, and 30 days at most. A clock that is not set proves nothing.
    pub fn trouble(self, now_ms: u64) -> Option<Trouble> {
        if now_ms < compat_version_ms() {
            return None;
        }
        let now = i64::try_from(now_ms / 1000).ok()?;
        let left = self.until.saturating_sub(now);
        let soon = limits::TLS_ENDS_SOON_DAYS.saturating_mul(DAY).min(self.until.saturating_sub(self.from) / 3);
        let (until, from) = (date(self.until), date(self.from));
        let (now, what) = match () {
            () if left < 0 => (true, format!("expired on {until}")),
            () if now < self.from => (true, format!("is not valid before {from}")),
            () if left < DAY => (false, format!("expires on {until}, within a day")),
            () if left < soon => (false, format!("expires on {until}, in {} days", left / DAY)),
            () => return None,
        };
        Some(Trouble { now, what })
    }
}

fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "an unknown day".into(), |at| at.to_zoned(TimeZone::UTC).date().to_string())
}

/// A time without fractions and in UTC, as certificates have it.
fn seconds(time: &Element<'_>) -> Option<i64> {
    let text = str::from_utf8(time.content).ok()?.strip_suffix('Z')?;
    let text = match time.tag {
        UTC_TIME => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    if text.len() != 14 || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = |at: std::ops::Range<usize>| text[at].parse::<i8>().ok();
    let year = text[..4].parse().ok()?;
    let time = DateTime::new(year, part(4..6)?, part(6..8)?, part(8..10)?, part(10..12)?, part(12..14)?, 0).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// From the validity on.
fn behind_issuer(certificate: &[u8]) -> Option<&[u8]> {
    let inside = |der| element(der).filter(|one| one.tag == SEQUENCE).map(|one| one.content);
    let mut rest = inside(inside(certificate)?)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.rest;
    }
    // serialNumber, signature, issuer
    for _ in 0..3 {
        rest = element(rest)?.rest;
    }
    Some(rest)
}

struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&[tag, first], behind) = der.split_first_chunk()?;
    let (len, head) = match usize::from(first) {
        short @ 0..=0x7f => (short, 2),
        // Longer than 64 KiB is no certificate of anybody's.
        long @ (0x81 | 0x82) => {
            let digits = behind.get(..long - 0x80)?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), 2 + digits.len())
        }
        _ => return None,
    };
    let whole = der.get(..head + len)?;
    Some(Element { tag, whole, content: &whole[head..], rest: &der[whole.len()..] })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A certificate that lasts from one time to another, and its key.
    pub fn dated(from: i64, until: i64) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["pi".to_owned()]).unwrap();
        let day = |at: i64| Timestamp::from_second(at).unwrap().to_zoned(TimeZone::UTC).date();
        let date = |d: jiff::civil::Date| rcgen::date_time_ymd(d.year().into(), d.month() as u8, d.day() as u8);
        (params.not_before, params.not_after) = (date(day(from)), date(day(until)));
        (params.self_signed(&key).unwrap(), key)
    }

    #[test]
    fn key_and_dates_of_a_certificate() {
        let (from, until) = (1_795_046_400, 4_070_908_800);
        let (certificate, own) = dated(from, until);
        let der = certificate.der().to_vec();
        let key = subject_public_key(&der).unwrap();
        assert_eq!((key.len(), key[0]), (91, 0x30));
        assert_eq!(key[key.len() - 65..], *own.public_key_raw());
        // The second date is behind 2049: written with four digits.
        assert_eq!(Validity::of(&der), Some(Validity { from, until }));
        // Whatever somebody made of it, it is read to its end and no further.
        for at in 0..der.len() {
            for byte in [0, 0x30, 0x7f, 0x82, 0xff] {
                let mut broken = der.clone();
                broken[at] = byte;
                let _ = (subject_public_key(&broken), Validity::of(&broken));
            }
            let _ = (subject_public_key(&der[..at]), Validity::of(&der[..at]));
        }
    }

    #[test]
    fn times_as_certificates_write_them() {
        for (tag, text, seconds_since_1970) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "99991231235959Z", None),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "261301000000Z", None),
            (UTC_TIME, "260101000000", None),
            (UTC_TIME, "+60101000000Z", None),
            (UTC_TIME, "", None),
            (GENERALIZED_TIME, "20260101000000.5Z", None),
            (2, "700101000000Z", None),
        ] {
            let time = Element { tag, whole: &[], content: text.as_bytes(), rest: &[] };
            assert_eq!(seconds(&time), seconds_since_1970, "{text}");
        }
    }

    #[test]
    fn a_certificate_is_old_in_the_last_third_of_its_life() {
        let begin = i64::try_from(compat_version_ms() / 1000).unwrap() / DAY * DAY + DAY;
        let said = |days_of_life: i64, at_second: i64| {
            let life = Validity { from: begin, until: begin + days_of_life * DAY };
            let now_ms = u64::try_from((begin + at_second) * 1000).unwrap();
            life.trouble(now_ms).map(|trouble| (trouble.now, trouble.what))
        };
        let ends = |days: i64| date(begin + days * DAY);
        assert_eq!(said(3650, 0), None);
        assert_eq!(said(3650, 3620 * DAY), None);
        assert_eq!(said(3650, 3621 * DAY), Some((false, format!("expires on {}, in 29 days", ends(3650)))));
        assert_eq!(said(90, 60 * DAY), None);
        assert_eq!(said(90, 61 * DAY), Some((false, format!("expires on {}, in 29 days", ends(90)))));
        // Some authorities give no more than six days.
        assert_eq!(said(6, 3 * DAY), None);
        assert_eq!(said(6, 5 * DAY), Some((false, format!("expires on {}, in 1 days", ends(6)))));
        assert_eq!(said(6, 5 * DAY + 1), Some((false, format!("expires on {}, within a day", ends(6)))));
        assert_eq!(said(90, 90 * DAY), Some((false, format!("expires on {}, within a day", ends(90)))));
        assert_eq!(said(90, 90 * DAY + 1), Some((true, format!("expired on {}", ends(90)))));
        assert_eq!(said(90, -1), Some((true, format!("is not valid before {}", ends(0)))));
        assert_eq!(Validity { from: 0, until: 0 }.trouble(1), None, "a clock that is not set");
    }
}
