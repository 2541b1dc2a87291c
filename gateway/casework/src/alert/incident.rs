//! What happened, and where: the incident, location and transcript sections of the record.

use codecs::geo::distance_m;
use codecs::record::{
    AlertRecord, Assessment, Casualties, External, Hazards, Incident, KeywordHit, Location, Major, Ownership, Stamp,
    State, Step, Triage,
};

use super::fanout::make_room;
use super::{LEGS_MAX, LOCATIONS_MAX, advance, bound};
use crate::fact::{IncidentFact, Place};
use crate::keyword::KeywordTable;
use crate::suggest::{Suggestions, UnitFor};

/// Moves the record; the step to publish, if the fact makes a revision of its own.
pub(super) fn apply(record: &mut AlertRecord, at: Stamp, fact: &IncidentFact) -> Option<Step> {
    match fact {
        IncidentFact::Triaged(said) => triaged(record, said),
        IncidentFact::Told(said) => triaged(record, &unsaid(record, said)),
        IncidentFact::Located(place) => located(record, at, place),
        IncidentFact::Tracked { location } => tracked(record, location),
    }
}

/// Triages kept on one alert.
const TRIAGES_MAX: usize = 32;

fn triaged(record: &mut AlertRecord, said: &Assessment) -> Option<Step> {
    fn put<T: Clone>(to: &mut T, said: &Option<T>) {
        if let Some(said) = said {
            to.clone_from(said);
        }
    }
    fn put_some<T: Clone>(to: &mut Option<T>, said: &Option<T>) {
        if said.is_some() {
            to.clone_from(said);
        }
    }
    let Assessment { kind, category, level, validity, flags, text, occurred_at, .. } = said;
    let incident = &mut record.incident;
    put_some(&mut incident.kind, kind);
    put_some(&mut incident.category, category);
    put_some(&mut incident.level, level);
    put(&mut incident.text, text);
    put_some(&mut incident.occurred_at, occurred_at);
    put_some(&mut incident.foreign, &said.foreign);
    put(&mut incident.vehicles, &said.vehicles);
    if let Some(counted) = said.casualties {
        let known = incident.casualties.get_or_insert_default();
        put_some(&mut known.trapped, &counted.trapped);
        put_some(&mut known.injured, &counted.injured);
        put_some(&mut known.dead, &counted.dead);
    }
    if let Some(told) = said.hazards {
        let known = incident.hazards.get_or_insert_default();
        put_some(&mut known.weapons, &told.weapons);
        put_some(&mut known.explosives, &told.explosives);
        put_some(&mut known.suspect_present, &told.suspect_present);
    }
    if let Some(told) = &said.fraud {
        let known = incident.fraud.get_or_insert_default();
        put_some(&mut known.account, &told.account);
        put_some(&mut known.bank, &told.bank);
        put_some(&mut known.amount, &told.amount);
        put_some(&mut known.paid_at, &told.paid_at);
        put_some(&mut known.counter_account, &told.counter_account);
    }
    if let Some(unit) = &said.complaint_of {
        incident.complaint_of = Some(unit.clone()).filter(|unit| !unit.is_empty());
    }
    let reporter = &mut record.reporter;
    put(&mut record.source.validity, validity);
    put(&mut reporter.flags, flags);
    put(&mut reporter.name, &said.name);
    put(&mut reporter.sex, &said.sex);
    put(&mut reporter.language, &said.language);
    put(&mut reporter.dialect, &said.dialect);
    put(&mut reporter.disability, &said.disability);
    command(record);
    Some(Step::Classified)
}

/// Of what is said what nobody has said yet. Who reports is another's to say, and of whom they complain.
pub(crate) fn unsaid(record: &AlertRecord, said: &Assessment) -> Assessment {
    fn new<T: Clone>(said: &Option<T>, known: &Option<T>) -> Option<T> {
        said.clone().filter(|_| known.is_none())
    }
    let known = &record.incident;
    let (counted, told) = (known.casualties.unwrap_or_default(), known.hazards.unwrap_or_default());
    Assessment {
        kind: new(&said.kind, &known.kind),
        category: new(&said.category, &known.category),
        level: new(&said.level, &known.level),
        occurred_at: new(&said.occurred_at, &known.occurred_at),
        casualties: said.casualties.map(|said| Casualties {
            trapped: new(&said.trapped, &counted.trapped),
            injured: new(&said.injured, &counted.injured),
            dead: new(&said.dead, &counted.dead),
        }),
        hazards: said.hazards.map(|said| Hazards {
            weapons: new(&said.weapons, &told.weapons),
            explosives: new(&said.explosives, &told.explosives),
            suspect_present: new(&said.suspect_present, &told.suspect_present),
        }),
        ..Assessment::default()
    }
}

/// What is known of a matter that turns out to be this one: words of danger, and what nobody has said here. Whether there
/// is something new.
pub(super) fn take_matter(record: &mut AlertRecord, matter: &Incident, agencies: &[External]) -> bool {
    let before = record.incident.clone();
    let told = Assessment {
        kind: matter.kind,
        category: matter.category.clone(),
        level: None,
        occurred_at: matter.occurred_at,
        casualties: matter.casualties,
        hazards: matter.hazards,
        ..Assessment::default()
    };
    let new = unsaid(record, &told);
    triaged(record, &new);
    let incident = &mut record.incident;
    for hit in &matter.keywords {
        if !incident.keywords.iter().any(|known| known.word == hit.word) {
            incident.keywords.push(hit.clone());
        }
    }
    incident.sensitive |= matter.sensitive;
    // Of what a taker has judged an agency's words are no news.
    let is_judged = |incident: &Incident| incident.triage.iter().any(|t| t.said.level.is_some());
    let is_agency_s =
        |hit: &KeywordHit| agencies.iter().any(|a| hit.source.strip_prefix("message:") == Some(&a.system));
    let is_hearsay = !is_judged(matter) && matter.keywords.iter().all(is_agency_s);
    if incident.level.is_none() || !(is_judged(incident) && is_hearsay) {
        incident.level = incident.level.into_iter().chain(matter.level).min();
    }
    if incident.major.is_none() {
        incident.major = matter.major.clone().filter(|major| major.ended.is_none());
    }
    command(record);
    record.incident != before
}

/// Whoever has not been answered yet is still waited for, however much is known of the matter.
pub(super) fn triaged_state(record: &mut AlertRecord) {
    let is_answered = record.call.t.answer.is_some();
    if is_answered && record.state != State::Closed && !record.incident.triage.is_empty() {
        advance(record, State::Triaged);
    }
}

/// The triage as it was made, and by whom.
pub(super) fn note_triage(record: &mut AlertRecord, at: Stamp, by: &str, said: &Assessment) {
    make_room(&mut record.incident.triage, TRIAGES_MAX, |t| &t.by);
    record.incident.triage.push(Triage { at, by: by.to_owned(), said: said.clone() });
}

fn located(record: &mut AlertRecord, at: Stamp, place: &Place) -> Option<Step> {
    place_at(record, at, place);
    Some(Step::Located)
}

/// What a device tells by itself is believed to be a move from here on.
const MOVED_M: f64 = 50.0;

fn tracked(record: &mut AlertRecord, location: &Location) -> Option<Step> {
    let last = record.location.first().and_then(|l| l.wgs84);
    if let (Some(before), Some(now)) = (last, location.wgs84)
        && distance_m(before, now) < MOVED_M
    {
        return None;
    }
    add_location(record, location.clone());
    Some(Step::Located)
}

/// Where the reporter is, with the units that follow from it.
pub(super) fn place_at(record: &mut AlertRecord, at: Stamp, place: &Place) {
    add_location(record, place.location.clone());
    // A place of no grid takes nobody's away.
    if place.jurisdiction.len() > 1 || record.route.jurisdiction.len() <= 1 {
        record.route.jurisdiction.clone_from(&place.jurisdiction);
        own(record, at, &place.owner);
        command(record);
    }
}

/// The newest in front, where everybody looks for it.
pub(super) fn add_location(record: &mut AlertRecord, location: Location) {
    record.location.insert(0, location);
    record.location.truncate(LOCATIONS_MAX);
}

/// The alert is this unit's from now on: exactly one owner at every moment, and never one that is complained of.
pub(super) fn own(record: &mut AlertRecord, at: Stamp, owner: &str) {
    let owner = above_the_complaint(record, owner);
    if record.route.owner != owner {
        let owner = owner.to_owned();
        record.route.owner.clone_from(&owner);
        bound(&mut record.route.owner_history, LEGS_MAX);
        record.route.owner_history.push(Ownership { owner, from: at });
        record.route.handler.clear();
    }
}

/// How it is led from now on, by a hand or by its level; none: as before.
pub(super) fn led(
    record: &AlertRecord,
    at: Stamp,
    by: &str,
    said: Option<bool>,
    major_at: Option<u8>,
) -> Option<Major> {
    let incident = &record.incident;
    let begun = |by: &str, why: String| Major { at, by: by.to_owned(), why, ended: None };
    match (said, &incident.major) {
        (Some(true), _) => (!incident.is_major()).then(|| begun(by, "by hand".into())),
        (Some(false), Some(major)) if major.ended.is_none() => Some(Major { ended: Some(at), ..major.clone() }),
        (None, None) => {
            let level = incident.level.filter(|level| major_at.is_some_and(|most| *level <= most))?;
            Some(begun("gateway", format!("level {level}")))
        }
        _ => None,
    }
}

/// Whoever is complained of, or is not any more, changes who owns the alert: the unit of its place, or the one above the
/// complaint; one that it was handed over to keeps it.
pub(super) fn own_again(record: &mut AlertRecord, at: Stamp) {
    let owner = record.route.owner.clone();
    let was_past = units(record).last().is_some_and(|station| {
        let units = units(record);
        let place = |wanted: &str| units.iter().position(|u| u == wanted);
        place(&owner) < place(station)
    });
    let station = units(record).last().cloned().filter(|_| was_past && record.incident.complaint_of.is_none());
    own(record, at, station.as_deref().unwrap_or(&owner));
    command(record);
}

/// The units of the chain, the highest first; behind them a grid may stand.
fn units(record: &AlertRecord) -> &[String] {
    let chain = &record.route.jurisdiction;
    &chain[..chain.len() - usize::from(chain.len() > 1)]
}

/// This unit; where it or one above it is complained of, the one above that. Whoever is above all is above complaint: there
/// is nobody else.
fn above_the_complaint<'a>(record: &'a AlertRecord, unit: &'a str) -> &'a str {
    let Some(complained) = &record.incident.complaint_of else { return unit };
    let units = units(record);
    let place = |wanted: &str| units.iter().position(|u| u == wanted);
    match (place(complained), place(unit)) {
        (Some(theirs), Some(own)) if own >= theirs => &units[theirs.saturating_sub(1)],
        (None, _) if unit == complained => units.first().unwrap_or(complained),
        _ => unit,
    }
}

/// Words that speak for a category are kept, and what they suggest.
pub(super) fn note_clues(record: &mut AlertRecord, table: &Suggestions, text: &str) {
    if table.note(record, text) {
        place_suggestions(record, table);
    }
}

/// Whose the suggested categories are, as its place and its complaint have it by now.
pub(super) fn place_suggestions(record: &mut AlertRecord, table: &Suggestions) {
    table.place(record, |record, whose| unit_for(record, whose).to_owned());
    let category = record.incident.category.as_deref().and_then(|code| table.category(code));
    if let Some(unit) = category.map(|category| unit_for(record, &category.supervised_by).to_owned()) {
        record.route.supervising = unit;
    }
}

/// The unit that this means; never one that is complained of.
fn unit_for<'a>(record: &'a AlertRecord, desk: &'a UnitFor) -> &'a str {
    let units = units(record);
    let below = |top: usize| units.get(top.min(units.len().saturating_sub(1))).map_or("", String::as_str);
    let unit = match desk {
        UnitFor::City => below(0),
        UnitFor::County => below(units.len().saturating_sub(2)),
        UnitFor::Station => below(usize::MAX),
        UnitFor::Unit(code) => code,
    };
    above_the_complaint(record, unit)
}

/// Whether this unit is complained of, or one above it is.
pub(super) fn is_complained_of(record: &AlertRecord, unit: &str) -> bool {
    above_the_complaint(record, unit) != unit || record.incident.complaint_of.as_deref() == Some(unit)
}

/// Who commands: the whole city what is 特别重大, the unit above the station what is 重大, the station the rest.
fn command(record: &mut AlertRecord) {
    let units = units(record);
    let steps = match record.incident.level {
        None => return,
        Some(1) => units.len(),
        Some(2) => 1,
        Some(_) => 0,
    };
    let Some(unit) = units.len().checked_sub(1).and_then(|last| units.get(last.saturating_sub(steps))) else { return };
    let unit = above_the_complaint(record, unit);
    if record.route.command != unit {
        record.route.command = unit.to_owned();
    }
}

/// Records words not seen before on this alert; a worse level raises the alert's, where whoever says them overrules
/// what was said.
pub(super) fn note_keywords(
    record: &mut AlertRecord,
    at: Stamp,
    table: &KeywordTable,
    text: &str,
    (source, overrules): (String, bool),
) -> (Vec<String>, bool) {
    let (mut fresh, mut silent) = (Vec::new(), false);
    for keyword in table.find(text) {
        silent |= keyword.silent;
        if let Some(known) = record.incident.keywords.iter().position(|k| k.word == keyword.word) {
            let is_agency_s = |hit: &KeywordHit| {
                let channel = hit.source.strip_prefix("message:");
                record.id.external.iter().any(|case| channel == Some(case.system.as_str()))
            };
            if !overrules || !is_agency_s(&record.incident.keywords[known]) {
                continue;
            }
            // An agency has said it: from whoever is there it is news.
            record.incident.keywords.remove(known);
        }
        record.incident.keywords.push(KeywordHit {
            word: keyword.word.clone(),
            level: keyword.level,
            at,
            source: source.clone(),
        });
        record.incident.sensitive |= keyword.level <= 2;
        let known = record.incident.level;
        if overrules || known.is_none() {
            record.incident.level = known.into_iter().chain([keyword.level]).min();
            command(record);
        }
        if record.incident.category.is_none() {
            record.incident.category.clone_from(&keyword.category);
        }
        fresh.push(keyword.word.clone());
    }
    (fresh, silent)
}
