//! Addresses that backends state of the users that they call for. A backend that renders pages, say, calls from one address
//! for everybody: without this all of its users would share one limit, and events would name the backend's address.

use std::net::IpAddr;

use axum::http::HeaderMap;

use super::{Edge, Visit};
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::request::CLIENT_IP;

/// The API key that lends weight to [`CLIENT_IP`]: `Authorization` is the user's.
const API_KEY: &str = "quivive-api-key";

impl Edge {
    /// The address that is stated, if who states it may. Others' statements are nothing: not even an error, which would tell
    /// whether a key is good to whoever asks often enough.
    pub(super) async fn stated(
        &self,
        headers: &HeaderMap,
        visit: &Visit,
    ) -> Result<Option<IpAddr>, Problem> {
        if !headers.contains_key(CLIENT_IP) {
            return Ok(None);
        }
        let Some(key) = only(headers, API_KEY) else {
            return Ok(None);
        };
        let access = &self.web.access;
        if !access.forwarded_lately(key) {
            let (ip, family) = (visit.context.ip(), Family::Statement);
            let limits = self.limits.as_ref();
            if limits.is_some_and(|limits| limits.is_spent(ip, family)) {
                return Ok(None);
            }
            if !access.may_forward(key, self.web.log.as_ref()).await? {
                limits.map(|limits| limits.count(ip, family));
                return Ok(None);
            }
        }
        let ip = only(headers, CLIENT_IP).and_then(|text| text.parse().ok());
        let ip = ip.ok_or_else(|| {
            let detail = "`Quivive-Client-IP` must be there once and be an IP address.";
            Problem::with_detail(Code::BadRequest, detail)
        })?;
        Ok(Some(ip))
    }
}

/// The one value of a header.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let (line, more) = (lines.next()?, lines.next());
    line.to_str().ok().filter(|_| more.is_none())
}
