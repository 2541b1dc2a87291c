//! Errors as clients get them: application/problem+json with a GW code.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The longest explanation of an error, in characters.
const DETAIL_MAX: usize = 300;

/// An error as the client gets it.
#[derive(Debug)]
pub struct Problem {
    pub(super) status: StatusCode,
    code: &'static str,
    detail: String,
    /// It was carried out all the same.
    done: bool,
}

impl Problem {
    /// What a client has sent is not told back to it at any length.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(DETAIL_MAX) {
            detail.truncate(end);
            detail.push('…');
        }
        Problem { status, code, detail, done: false }
    }

    /// What was asked for has happened all the same.
    pub(super) fn but_done(self) -> Problem {
        Problem { done: true, ..self }
    }

    pub(super) fn internal(error: &anyhow::Error) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "GW-4500", format!("{error:#}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:gateway:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if self.done {
            body["done"] = json!(true);
        }
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

/// What the framework refuses by itself is told like everything else.
pub(super) async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || !(kind.starts_with("text/plain") || kind.is_empty()) {
        return response;
    }
    let bytes = axum::body::to_bytes(response.into_body(), 4096).await.unwrap_or_default();
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "GW-4413",
        _ if status.is_server_error() => "GW-4500",
        _ => "GW-4400",
    };
    Problem::new(status, code, String::from_utf8_lossy(&bytes)).into_response()
}

pub(super) async fn nowhere() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such path")
}

pub(super) async fn not_so() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "GW-4405", "this path takes other methods")
}
