//! Alerts: the list in the order of their changes, the list of those that are asked for, and one by its number.

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use codecs::record::{AlertNo, AlertRecord, IncidentKind, Stamp};
use serde::Deserialize;
use serde_json::json;
use store::read_model::{self, Wanted, Work};
use switchboard::{Candidate, Reason};

use super::who::Principal;
use super::{Api, CATCHES_UP_WITHIN, FOLLOWS_WITHIN, Problem};

/// Alerts of one page.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;
/// Characters of what is looked for.
const ASKED_MAX: usize = 64;

#[derive(Deserialize, Default, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// As they changed, the oldest change first: `after` goes on.
    #[default]
    Changed,
    /// The newest number first: `before` goes on.
    Newest,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    after: Option<u64>,
    limit: Option<u32>,
    state: Option<String>,
    order: Order,
    before: Option<String>,
    owner: Option<String>,
    place: Option<String>,
    number: Option<String>,
    words: Option<String>,
    from: Option<String>,
    to: Option<String>,
    kind: Option<String>,
    category: Option<String>,
    level_at_most: Option<u8>,
    work: Option<String>,
    overdue: bool,
}

fn unprocessable(what: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "GW-4422", what.into())
}

/// A state by its name in a record.
fn state_named(name: &str) -> Result<(), Problem> {
    let known = serde_json::from_value::<codecs::record::State>(json!(name));
    known.map(drop).map_err(|e| unprocessable(format!("state: {e}")))
}

impl Page {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }

    /// The first part that only the list of what is asked for has.
    fn asks_for(&self) -> Option<&'static str> {
        let asked = [
            ("before", self.before.is_some()),
            ("owner", self.owner.is_some()),
            ("place", self.place.is_some()),
            ("number", self.number.is_some()),
            ("words", self.words.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("kind", self.kind.is_some()),
            ("category", self.category.is_some()),
            ("level_at_most", self.level_at_most.is_some()),
            ("work", self.work.is_some()),
            ("overdue", self.overdue),
        ];
        asked.into_iter().find(|(_, is_there)| *is_there).map(|(name, _)| name)
    }

    /// What alerts are looked for by.
    fn wanted(self, area: &str) -> Result<Wanted, Problem> {
        let limit = self.limit();
        let short = [&self.owner, &self.place, &self.number, &self.words];
        if short.into_iter().flatten().any(|text| text.trim().is_empty() || text.chars().count() > ASKED_MAX) {
            return Err(unprocessable(format!("owner, place, number and words are 1 to {ASKED_MAX} characters")));
        }
        if let Some(kind) = &self.kind {
            serde_json::from_value::<IncidentKind>(json!(kind)).map_err(|e| unprocessable(format!("kind: {e}")))?;
        }
        // One character stands in a good part of all alerts.
        let is_word = |word: &str| codecs::fold::fold(word).chars().filter(|c| c.is_alphanumeric()).nth(1).is_some();
        if !self.words.iter().flat_map(|words| words.split_whitespace()).all(is_word) {
            return Err(unprocessable("a word that is looked for has two characters at least"));
        }
        let is_begin = |c: &String| (1..=6).contains(&c.len()) && c.bytes().all(|b| b.is_ascii_digit());
        if !self.category.iter().all(is_begin) {
            return Err(unprocessable("category is how one begins: one to six digits"));
        }
        if self.level_at_most.is_some_and(|level| !(1..=4).contains(&level)) {
            return Err(unprocessable("level_at_most is 1 to 4"));
        }
        let is_number = |no: &String| matches!(no.len(), 18 | 30) && no.bytes().all(|b| b.is_ascii_digit());
        if !self.before.iter().all(is_number) {
            return Err(unprocessable("before is the `next` of the page before, or an alert's number"));
        }
        let instant = |name: &str, text: Option<String>| {
            let read = |text: String| Stamp::from_rfc3339(&text).map(|stamp| stamp.text());
            let wrong = || unprocessable(format!("{name}: no RFC 3339 instant"));
            text.map(|text| read(text).ok_or_else(wrong)).transpose()
        };
        let work = self.work.map(|name| {
            let wrong = || unprocessable("work is not_begun, in_hand or done");
            Work::named(&name).ok_or_else(wrong)
        });
        Ok(Wanted {
            before: self.before,
            limit,
            state: self.state,
            owner: self.owner,
            place: self.place,
            number: self.number,
            words: self.words,
            from: instant("from", self.from)?,
            to: instant("to", self.to)?,
            kind: self.kind,
            category: self.category,
            level_at_most: self.level_at_most,
            work: work.transpose()?,
            overdue: self.overdue,
            area: area.to_owned(),
        })
    }
}

pub(super) async fn list(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    page.state.as_deref().map(state_named).transpose()?;
    let (next, records) = match (page.order, page.after, page.asks_for()) {
        (Order::Changed, _, Some(name)) => {
            return Err(unprocessable(format!("{name} is asked for with order=newest")));
        }
        (Order::Newest, Some(_), _) => return Err(unprocessable("after goes on with order=changed alone")),
        (Order::Changed, after, None) => {
            let (after, limit) = (after.unwrap_or(0), page.limit());
            let area = who.area.clone();
            let list = move |data: &std::path::Path| read_model::list(data, after, limit, page.state.as_deref(), &area);
            let rows = ask(&state, list).await?;
            let next = rows.last().map_or(after, |(sequence, _)| *sequence);
            (next.to_string(), rows.into_iter().map(|(_, record)| record).collect::<Vec<_>>())
        }
        (Order::Newest, None, _) => {
            let wanted = page.wanted(&who.area)?;
            catch_up(&state).await;
            let found = ask(&state, move |data| read_model::find(data, &wanted)).await?;
            (json!(found.next).to_string(), found.records)
        }
    };
    let alerts: Vec<&str> = records.iter().map(String::as_str).filter(|record| may_see(&who, record)).collect();
    let body = format!("{{\"next\":{next},\"alerts\":[{}]}}", alerts.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Whoever has written reads what they wrote.
async fn catch_up(state: &Api) {
    let (until, mut modelled) = (state.durable.borrow().last, state.modelled.clone());
    let caught_up = modelled.wait_for(|reached| *reached >= until);
    let _ = tokio::time::timeout(CATCHES_UP_WITHIN, caught_up).await;
}

/// Whether a record lies where they may look; most tokens have no area, and nothing is read then.
fn may_see(who: &Principal, record: &str) -> bool {
    who.area.is_empty() || AlertRecord::parse(record.as_bytes()).is_ok_and(|record| who.may_see(&record))
}

/// A read model that does not follow the journal says nothing rather than something old.
async fn ask<T: Send + 'static>(
    state: &Api,
    work: impl FnOnce(&std::path::Path) -> Result<T, read_model::Error> + Send + 'static,
) -> Result<T, Problem> {
    let unavailable = |what: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "GW-3401", what);
    for part in [crate::thread::read_model::START, crate::thread::read_model::PART] {
        let _ = tokio::time::timeout(FOLLOWS_WITHIN, state.health.until_well(part)).await;
    }
    let complaint = state.health.of(crate::thread::read_model::PART);
    if let Some(complaint) = complaint.or_else(|| state.health.of(crate::thread::read_model::START)) {
        return Err(unavailable(format!("the read model does not follow: {}", complaint.what)));
    }
    let data = state.data.clone();
    let found = tokio::task::spawn_blocking(move || work(&data)).await.map_err(|e| Problem::internal(&e.into()))?;
    found.map_err(|error| unavailable(error.to_string()))
}

/// The record of an alert that they may see; elsewhere there is none.
pub(super) async fn find(state: &Api, who: &Principal, no: String) -> Result<String, Problem> {
    let mut found = ask(state, move |data| read_model::get(data, &no)).await?;
    found.retain(|record| may_see(who, record));
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such alert")),
        _ => Err(Problem::new(StatusCode::CONFLICT, "GW-4409", "several alerts end like this; give more digits")),
    }
}

/// A number, or its end if only one alert ends so; of an alert that they may see.
pub(super) async fn number(state: &Api, who: &Principal, no: String) -> Result<AlertNo, Problem> {
    if let Some(no) = AlertNo::parse(&no).filter(|_| who.area.is_empty()) {
        return Ok(no);
    }
    find_record(state, who, no).await.map(|(no, _)| no)
}

async fn find_record(state: &Api, who: &Principal, no: String) -> Result<(AlertNo, AlertRecord), Problem> {
    let record = find(state, who, no).await?;
    let record = AlertRecord::parse(record.as_bytes()).map_err(|e| Problem::internal(&anyhow::Error::msg(e)))?;
    let no = AlertNo::parse(&record.id.alert_no);
    Ok((no.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "GW-4404", "no such alert"))?, record))
}

pub(super) async fn show(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(no): Path<String>,
) -> Result<Response, Problem> {
    catch_up(&state).await;
    let record = find(&state, &who, no).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], record).into_response())
}

/// What may be about the same event as this alert, the likeliest first, with the reasons; nothing is joined by it.
pub(super) async fn similar(
    State(state): State<Api>,
    Extension(who): Extension<Principal>,
    Path(no): Path<String>,
) -> Result<Response, Problem> {
    catch_up(&state).await;
    let (no, record) = find_record(&state, &who, no).await?;
    let like = state.similar.lock().map(|similar| similar.like(no)).unwrap_or_default();
    let is_related = |c: &Candidate| record.id.related.iter().any(|r| r.alert_no == c.no.to_string());
    let mut shown = Vec::new();
    for candidate in like.into_iter().filter(|c| !is_related(c)) {
        if who.area.is_empty() || find(&state, &who, candidate.no.to_string()).await.is_ok() {
            shown.push(json!({
                "alert_no": candidate.no.to_string(),
                "percent": candidate.percent,
                "apart_s": candidate.apart_s,
                "reasons": candidate.reasons.iter().map(reason).collect::<Vec<_>>(),
            }));
        }
    }
    Ok(Json(json!({ "similar": shown })).into_response())
}

fn reason(reason: &Reason) -> serde_json::Value {
    match reason {
        Reason::Number => json!({ "of": "number" }),
        Reason::Place(metres) => json!({ "of": "place", "metres": metres }),
        Reason::Grid => json!({ "of": "grid" }),
        Reason::Category => json!({ "of": "category" }),
        Reason::Words(percent) => json!({ "of": "words", "percent": percent }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_for_is_told_by_its_name() {
        let wanted = |json: &str| {
            let page: Page = serde_json::from_str(json).map_err(|e| e.to_string())?;
            page.wanted("3704").map_err(|p| format!("{p:?}"))
        };
        let found = wanted(r#"{"from":"2026-11-30T00:00:00Z","words":"持刀","work":"in_hand"}"#).expect("is asked for");
        assert_eq!(found.from.as_deref(), Some("2026-11-30T08:00:00.000000+08:00"), "as records write it");
        assert_eq!((found.limit, found.area.as_str(), found.work), (100, "3704", Some(Work::InHand)));
        for (json, what) in [
            (r#"{"wrods":"x"}"#, "unknown field `wrods`"),
            (r#"{"words":" "}"#, "1 to 64"),
            (r#"{"words":"持刀 我"}"#, "two characters"),
            (r#"{"kind":"murder"}"#, "kind: "),
            (r#"{"category":"1007000"}"#, "one to six digits"),
            (r#"{"level_at_most":5}"#, "1 to 4"),
            (r#"{"before":"17"}"#, "before is"),
            (r#"{"to":"yesterday"}"#, "to: no RFC 3339"),
            (r#"{"work":"begun"}"#, "not_begun, in_hand or done"),
        ] {
            let error = wanted(json).expect_err(json);
            assert!(error.contains(what), "{json}: {error}");
        }
    }
}
