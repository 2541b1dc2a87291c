//! What a call taker does in the call at their seat, and whom they can ask into it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;
use switchboard::{Action, ToDesk};

use super::rights::Places;
use super::who::Principal;
use super::{Api, Problem, ask, parse_body, work};
use crate::inbox::Input;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    to: Names,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drop {
    /// As it stands in `dispatch[].officer`.
    party: String,
}

/// One name, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

/// Names in one request, at most.
const NAMES_MAX: usize = 32;

impl Names {
    /// Those who are meant: whoever has a linkage's name has theirs.
    fn all(self, places: &Places) -> Result<Vec<String>, Problem> {
        let named = match self {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        };
        let meant = |name: String| places.linkages.get(&name).cloned().unwrap_or_else(|| vec![name]);
        let all: Vec<String> = named.into_iter().flat_map(meant).collect();
        if all.is_empty() || all.len() > NAMES_MAX {
            let what = format!("to: 1 to {NAMES_MAX} names");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", what));
        }
        Ok(all)
    }
}

/// Who can be asked into a call, and what one key asks in together.
pub(super) async fn agencies(State(state): State<Api>) -> Response {
    let agencies: Vec<_> = state.places.agencies.iter().map(|(no, name)| json!({ "no": no, "name": name })).collect();
    let linkages: Vec<_> = state.places.linkages.iter().map(|(name, to)| json!({ "name": name, "to": to })).collect();
    Json(json!({ "agencies": agencies, "linkages": linkages })).into_response()
}

pub(super) async fn act(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path((seat, action)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let action = match action.as_str() {
        "hangup" => Action::HangUp,
        "answer" => Action::Ready,
        "three-way" => Action::ThreeWay,
        "triage" => {
            let (said, place) = work::assessment(&body, &state.places)?;
            Action::Triage { said: Box::new(said), place }
        }
        "drop" => Action::Drop { party: parse_body::<Drop>(&body)?.party },
        "transfer" => Action::Transfer { to: parse_body::<Transfer>(&body)?.to.all(&state.places)? },
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "GW-4404",
                "actions: answer, hangup, triage, three-way, transfer, drop",
            ));
        }
    };
    let (request, by) = (state.new_request(), who.actor());
    ask(&state, request, || state.shards.send(Input::Desk(ToDesk::SeatAction { seat, action, by, request }))).await
}
