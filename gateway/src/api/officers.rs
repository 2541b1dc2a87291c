//! Officers: what they are called to, duty, position.

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use codecs::geo::Point;
use serde::Deserialize;
use switchboard::{ToCasebook, ToDesk};

use super::who::{Principal, Standing};
use super::{Api, Problem, ask, parse_body, talk};
use crate::inbox::{self, Input};

/// Server-sent events of one officer: how everything stands that they were called to lately, then whatever changes.
pub(super) async fn events(
    State(state): State<Api>,
    Path(no): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !state.places.officers.contains_key(&no) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such officer"));
    }
    let listener = state.notices.listen_officer(&no);
    let standing = Standing::of(&state, &headers);
    let _ = state.casebook.send(inbox::casebook::Input::Message(ToCasebook::TellOfficer { officer: no }));
    Ok(talk::stream(listener, standing, None))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Duty {
    on_duty: bool,
}

pub(super) async fn duty(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(officer): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let on_duty = parse_body::<Duty>(&body)?.on_duty;
    let request = state.new_request();
    let told = ToDesk::Duty { officer: officer.clone(), on_duty, request };
    ask(&state, request, || state.shards.send(Input::Desk(told))).await?;
    let (request, at) = (state.new_request(), state.clock.wall());
    ask(&state, request, || state.tell(&who, ToCasebook::Duty { at, officer, on_duty, request })).await
}

/// Live state, not journalled: 204.
pub(super) async fn position(
    State(state): State<Api>,
    Path(officer): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let at: Point = parse_body(&body)?;
    if !at.is_sane() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", "lon and lat are degrees"));
    }
    let (request, hour) = (state.new_request(), state.clock.wall().beijing_hour());
    ask(&state, request, || state.shards.send(Input::Desk(ToDesk::Position { officer, at, hour, request }))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
