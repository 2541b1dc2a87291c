//! What happened, and where: the incident, location and transcript sections of the record.

use codecs::geo::distance_m;
use codecs::record::{AlertRecord, IncidentKind, KeywordHit, Location, Ownership, Stamp, State, Step};

use super::{LEGS_MAX, LOCATIONS_MAX, TEXT_MAX, advance, bound};
use crate::fact::{IncidentFact, Place};
use crate::keyword::KeywordTable;

/// Moves the record; the step to publish, if the fact makes a revision of its own.
pub(super) fn apply(record: &mut AlertRecord, at: Stamp, fact: &IncidentFact) -> Option<Step> {
    match fact {
        IncidentFact::Triaged { kind, category, level, text } => triaged(record, *kind, category, *level, text),
        IncidentFact::Located(place) => located(record, at, place),
        IncidentFact::Tracked { location } => tracked(record, location),
    }
}

fn triaged(
    record: &mut AlertRecord,
    kind: IncidentKind,
    category: &Option<String>,
    level: Option<u8>,
    text: &str,
) -> Option<Step> {
    record.incident.kind = Some(kind);
    record.incident.category.clone_from(category);
    record.incident.level = level;
    record.incident.text = text.chars().take(TEXT_MAX).collect();
    advance(record, State::Triaged);
    Some(Step::Classified)
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
    record.route.jurisdiction.clone_from(&place.jurisdiction);
    own(record, at, &place.owner);
}

/// The newest in front, where everybody looks for it.
pub(super) fn add_location(record: &mut AlertRecord, location: Location) {
    record.location.insert(0, location);
    record.location.truncate(LOCATIONS_MAX);
}

/// The alert is this unit's from now on: exactly one owner at every moment.
fn own(record: &mut AlertRecord, at: Stamp, owner: &str) {
    if record.route.owner != owner {
        record.route.owner = owner.to_owned();
        bound(&mut record.route.owner_history, LEGS_MAX);
        record.route.owner_history.push(Ownership { owner: owner.to_owned(), from: at });
    }
}

/// Records words not seen before on this alert; a worse level raises the alert's.
pub(super) fn note_keywords(
    record: &mut AlertRecord,
    at: Stamp,
    table: &KeywordTable,
    text: &str,
    source: String,
) -> (Vec<String>, bool) {
    let (mut fresh, mut silent) = (Vec::new(), false);
    for keyword in table.find(text) {
        silent |= keyword.silent;
        if record.incident.keywords.iter().any(|k| k.word == keyword.word) {
            continue;
        }
        record.incident.keywords.push(KeywordHit {
            word: keyword.word.clone(),
            level: keyword.level,
            at,
            source: source.clone(),
        });
        record.incident.sensitive |= keyword.level <= 2;
        let level = record.incident.level.map_or(keyword.level, |l| l.min(keyword.level));
        record.incident.level = Some(level);
        if record.incident.category.is_none() {
            record.incident.category.clone_from(&keyword.category);
        }
        fresh.push(keyword.word.clone());
    }
    (fresh, silent)
}
