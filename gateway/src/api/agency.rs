//! Other agencies' cases by webhook: CloudEvents, signed as Standard Webhooks. What they repeat, correct, reorder or hand
//! round does no harm; who tells more than is taken is told to wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use codecs::chat::agency::{self, Told};
use codecs::record::{Address, External, Form};
use codecs::time::Mono;
use serde_json::json;
use switchboard::{AgencyCase, Body as Words, Case, Incoming};

use super::Api;
use super::hook::{forged, refuse, report, signed_id};

/// How many events each agency may tell now.
#[derive(Default)]
pub struct Paces(Mutex<HashMap<String, (Mono, f64)>>);

impl Paces {
    /// `false`: more than so many a second, and as many more at once.
    fn takes(&self, name: &str, a_second: u32, now: Mono) -> bool {
        let most = f64::from(a_second) * 2.0;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, left) = all.entry(name.to_owned()).or_insert((now, most));
        *left = (*left + now.since(*then).as_secs_f64() * f64::from(a_second)).min(most);
        *then = now;
        let takes = *left >= 1.0;
        *left -= f64::from(u8::from(takes));
        takes
    }
}

/// A case of another agency: 200 with the alert's number when it is durable, the same for the same event.
pub(super) async fn message(
    api: &Api,
    name: &str,
    device: &crate::channel::AgencyDevice,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Response {
    if signed_id(name, &device.http, headers, body, now).is_none() {
        return forged(name);
    }
    if !api.paces.takes(name, device.takes, api.clock.mono()) {
        let mut response =
            refuse(StatusCode::TOO_MANY_REQUESTS, "GW-4429", "more events a second than are taken", name);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    }
    let told = match agency::read(body) {
        Ok(told) => told,
        Err(what) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", &what, name),
    };
    let id = told.id.clone();
    match report(api, case_of(name, told)).await {
        Ok(no) => axum::Json(json!({"id": id, "alert_no": no})).into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn case_of(name: &str, told: Told) -> Incoming {
    let mut forms = vec![Form::Text];
    if told.location.is_some() {
        forms.push(Form::Location);
    }
    let external = External { system: name.to_owned(), no: told.case_no.clone() };
    let case =
        AgencyCase { case: Case { external, order: told.order, hops: told.hops }, about: told.about, said: told.said };
    Incoming {
        from: Address { channel: name.to_owned(), user: told.case_no },
        // Two sources may name theirs alike; neither has blanks.
        message_id: format!("{} {}", told.source, told.id),
        session: None,
        to: name.to_owned(),
        body: Words::Text(told.text),
        forms,
        attachments: Vec::new(),
        location: told.location,
        phone: told.phone,
        silent: told.silent,
        is_ping: false,
        case: Some(Box::new(case)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_tells_more_than_is_taken_waits_and_keeps_nobody_else_waiting() {
        let (paces, at) = (Paces::default(), |ms: u64| Mono(ms * 1_000_000));
        assert_eq!((0..30).filter(|_| paces.takes("119", 10, at(0))).count(), 20);
        assert!(paces.takes("120", 10, at(0)));
        assert!(!paces.takes("119", 10, at(50)) && paces.takes("119", 10, at(150)));
        assert_eq!((0..100).filter(|_| paces.takes("119", 10, at(60_000))).count(), 20, "no more is saved up");
    }
}
