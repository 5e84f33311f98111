//! A file at an address that is no registry's: what a build downloads.
//!
//! Invariant: nobody's credentials are shown to anybody; what comes is bounded by the caller, who may stop at any
//! piece. Absent on purpose: verifying, which is for whoever knows what it should be.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LAST_MODIFIED};

use crate::auth::Scopes;
use crate::client::Client;
use crate::error::{Fault, ProtocolFault};
use crate::exchange::Call;
use crate::http::Request;
use crate::site::Site;
use crate::url::Url;

/// What an answer says of a file beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// What it should be called, if the server says so.
    pub name: Option<String>,
    /// When it was changed, in seconds since 1970.
    pub modified_s: Option<i64>,
    /// Its media type, without parameters.
    pub media_type: Option<String>,
}

/// A file that did not come.
#[derive(Debug)]
pub struct PageError {
    /// Its address.
    pub url: String,
    /// Why.
    pub fault: PageFault,
}

/// Why a file did not come.
#[derive(Debug)]
pub enum PageFault {
    /// That is no address of HTTP.
    Address,
    /// The server says no.
    Status(u16),
    /// Connections, redirects, the caller's sink.
    Fault(Fault),
}

impl Client {
    /// Gets what an address has, redirects followed; every piece goes to `sink`, in order.
    pub async fn page(
        &self,
        url: &str,
        mut sink: impl FnMut(Bytes) -> io::Result<()>,
    ) -> Result<Page, PageError> {
        let failed = |fault| PageError { url: url.to_owned(), fault };
        let address = Url::parse(url).ok_or_else(|| failed(PageFault::Address))?;
        let site = Site::upstream(&address.origin.authority(), address.origin.clone());
        let call = Call::new(&site, Request::get(address), Scopes::none());
        let answer = self.exchange_as_nobody(&call).await;
        let mut answer = answer.map_err(|fault| failed(PageFault::Fault(fault)))?;
        if !answer.status.is_success() {
            return Err(failed(PageFault::Status(answer.status.as_u16())));
        }
        let page = Page {
            name: answer.header(&CONTENT_DISPOSITION).and_then(file_name),
            modified_s: answer.header(&LAST_MODIFIED).and_then(seconds),
            media_type: answer
                .header(&CONTENT_TYPE)
                .and_then(|text| text.split(';').next())
                .map(|text| text.trim().to_ascii_lowercase()),
        };
        let expected = answer.content_length();
        let mut size = 0;
        while let Some(bytes) =
            answer.chunk().await.map_err(|fault| failed(PageFault::Fault(fault)))?
        {
            size += bytes.len() as u64;
            sink(bytes).map_err(|error| failed(PageFault::Fault(Fault::Sink(error))))?;
        }
        match expected {
            Some(expected) if expected != size => {
                let why = format!("{size} of {expected} bytes came");
                let fault = Fault::Interrupted { host: site.host(), why };
                Err(failed(PageFault::Fault(fault)))
            }
            _ => Ok(page),
        }
    }
}

impl PageError {
    /// Whether there is simply nothing there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.fault, PageFault::Status(404 | 410))
    }

    /// Whether the caller's sink refused what came.
    pub fn is_of_the_sink(&self) -> bool {
        matches!(self.fault, PageFault::Fault(Fault::Sink(_)))
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        match &self.fault {
            PageFault::Address => write!(f, "{url:?} is no address"),
            PageFault::Status(status) => {
                let reason = hyper::StatusCode::from_u16(*status).ok();
                let reason = reason.and_then(|status| status.canonical_reason());
                write!(f, "{url}: the server answers {status} {}", reason.unwrap_or_default())
            }
            PageFault::Fault(Fault::Protocol {
                fault: ProtocolFault::Downgrade { text }, ..
            }) => {
                write!(f, "{url} leads from TLS to {text}, where nothing proves the content")
            }
            PageFault::Fault(fault) => write!(f, "{url}: {fault}"),
        }
    }
}

impl std::error::Error for PageError {}

/// `attachment; filename="x"`: the last component of the name, if it is one.
fn file_name(header: &str) -> Option<String> {
    let value = header.split(';').skip(1).find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("filename").then_some(value)
    })?;
    let value = value.trim().trim_matches('"');
    let name = value.rsplit(['/', '\\']).next().unwrap_or_default();
    let good = !matches!(name, "" | "." | "..") && !name.contains('\0');
    good.then(|| name.to_owned())
}

fn seconds(header: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(header).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times() {
        for (header, name) in [
            ("attachment; filename=\"a b.tgz\"", Some("a b.tgz")),
            ("attachment; FileName=x", Some("x")),
            ("attachment; filename=../../etc/passwd", Some("passwd")),
            ("attachment; filename=..", None),
            ("inline", None),
        ] {
            assert_eq!(file_name(header).as_deref(), name, "{header}");
        }
        assert_eq!(seconds("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(seconds("yesterday"), None);
    }
}
