//! Which role may do what: a row a route, and where what it names belongs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::http::Method;

use super::who::{Principal, Role};

/// Which of a route's names has to be the token's subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Own {
    /// None: whoever has the role.
    Any,
    /// For this role, the path's parameter of this name.
    Subject(Role, &'static str),
}

pub(super) struct Rule {
    method: Method,
    path: &'static str,
    roles: &'static [Role],
    own: Own,
}

const fn rule(method: Method, path: &'static str, roles: &'static [Role], own: Own) -> Rule {
    Rule { method, path, roles, own }
}

const READERS: &[Role] = &[Role::Seat, Role::Supervisor, Role::Downstream, Role::Auditor];
const ACTORS: &[Role] = &[Role::Seat, Role::Supervisor, Role::Downstream, Role::Officer];
const TAKERS: &[Role] = &[Role::Seat, Role::Supervisor];
const OFFICERS: &[Role] = &[Role::Officer, Role::Supervisor];
const OWN_SEAT: Own = Own::Subject(Role::Seat, "id");
const OWN_DUTY: Own = Own::Subject(Role::Officer, "no");

/// Every route that needs a token, and who may; `All` may everything.
static RULES: [Rule; 25] = [
    rule(Method::GET, "/v1/alerts", READERS, Own::Any),
    rule(Method::GET, "/v1/alerts/{no}", READERS, Own::Any),
    rule(Method::GET, "/v1/alerts/{no}/similar", READERS, Own::Any),
    rule(Method::POST, "/v1/alerts/{no}/transcript", &[Role::Downstream, Role::Supervisor], Own::Any),
    rule(Method::GET, "/v1/alerts/{no}/audio/{leg}", &[Role::Supervisor], Own::Any),
    rule(Method::GET, "/v1/events", &[Role::Downstream, Role::Supervisor, Role::Auditor], Own::Any),
    rule(Method::POST, "/v1/alerts/{no}/join", TAKERS, Own::Any),
    rule(Method::POST, "/v1/alerts/{no}/split", TAKERS, Own::Any),
    rule(Method::POST, "/v1/alerts/{no}/triage", TAKERS, Own::Any),
    // Whose step it may be the route itself says: a target's own, an officer's own.
    rule(Method::POST, "/v1/alerts/{no}/steps", ACTORS, Own::Any),
    rule(Method::GET, "/v1/seats/{id}/events", TAKERS, OWN_SEAT),
    rule(Method::POST, "/v1/seats/{id}/conversations/{no}/say", TAKERS, OWN_SEAT),
    rule(Method::POST, "/v1/seats/{id}/conversations/{no}/done", TAKERS, OWN_SEAT),
    rule(Method::POST, "/v1/seats/{id}/{action}", TAKERS, OWN_SEAT),
    rule(Method::GET, "/v1/agencies", TAKERS, Own::Any),
    rule(Method::POST, "/v1/outbound", &[Role::Supervisor], Own::Any),
    rule(Method::GET, "/v1/outbound/{id}", &[Role::Supervisor], Own::Any),
    rule(Method::GET, "/v1/sinks", &[Role::Operator, Role::Supervisor], Own::Any),
    rule(Method::POST, "/v1/sinks/{name}/replay", &[Role::Operator], Own::Any),
    rule(Method::GET, "/v1/officers/{no}/events", OFFICERS, OWN_DUTY),
    rule(Method::PUT, "/v1/officers/{no}/duty", OFFICERS, OWN_DUTY),
    rule(Method::PUT, "/v1/officers/{no}/position", OFFICERS, OWN_DUTY),
    rule(Method::PUT, "/v1/log", &[Role::Operator], Own::Any),
    rule(Method::GET, "/v1/app", &[Role::Citizen], Own::Any),
    rule(Method::POST, "/v1/links", &[Role::Supervisor], Own::Any),
];

/// Where seats and officers belong. Alerts are judged by their records.
#[derive(Default, Debug)]
pub struct Places {
    /// The code of the city's own centre: its seats, its lines to anybody, its sinks.
    pub unit: String,
    pub seats: BTreeSet<String>,
    /// The unit of each officer and duty room.
    pub officers: HashMap<String, String>,
    /// Who can be asked into a call besides, by number: what they are called.
    pub agencies: BTreeMap<String, String>,
    /// Those who are asked in together by one name.
    pub linkages: BTreeMap<String, Vec<String>>,
    /// What may have come of an alert; none: whatever is said.
    pub result_codes: BTreeMap<String, String>,
    /// Kinds of incidents by code; none: any six digits are one.
    pub categories: BTreeMap<String, String>,
}

impl Places {
    /// Whether this is the code of a unit that the city knows.
    pub fn is_unit(&self, code: &str) -> bool {
        self.unit == code || self.officers.values().any(|unit| unit == code)
    }

    /// Whether what a path names lies in an area.
    fn lie_in(&self, area: &str, path: &str, of: impl Fn(&str) -> Option<String>) -> bool {
        if area.is_empty() || path.starts_with("/v1/alerts") || path.starts_with("/v1/events") {
            return true;
        }
        if path.starts_with("/v1/officers/") {
            return of("no").and_then(|no| self.officers.get(&no)).is_some_and(|unit| unit.starts_with(area));
        }
        self.unit.starts_with(area)
    }
}

/// Whether a principal may do this; `of`: the path's parameters.
pub(super) fn may(
    who: &Principal,
    places: &Places,
    method: &Method,
    path: &str,
    of: impl Fn(&str) -> Option<String>,
) -> bool {
    let Some(rule) = RULES.iter().find(|r| r.method == *method && r.path == path) else { return false };
    if who.role == Role::All {
        return true;
    }
    let own = match rule.own {
        // What is theirs by name is theirs wherever it lies.
        Own::Subject(role, name) if role == who.role => of(name).as_deref() == Some(&*who.subject),
        Own::Subject(..) | Own::Any => places.lie_in(&who.area, path, of),
    };
    rule.roles.contains(&who.role) && own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_an_area_reaches_no_seat_officer_or_line_elsewhere() {
        let officers = [("2001", "370402510000"), ("2002", "370403510000")].map(|(n, u)| (n.to_owned(), u.to_owned()));
        let places = Places {
            unit: "370400000000".into(),
            seats: BTreeSet::new(),
            officers: officers.into(),
            ..Places::default()
        };
        let may = |area: &str, method: Method, path: &str, name: &'static str| {
            let who = Principal { role: Role::Supervisor, subject: "s".into(), area: area.into() };
            may(&who, &places, &method, path, |_| Some(name.to_owned()))
        };
        for (method, path) in [
            (Method::POST, "/v1/seats/{id}/{action}"),
            (Method::GET, "/v1/seats/{id}/events"),
            (Method::POST, "/v1/outbound"),
        ] {
            assert!(may("3704", method.clone(), path, "1001"), "{path}");
            assert!(!may("370402", method.clone(), path, "1001"), "the room is the city's: {path}");
            assert!(!may("999999", method, path, "1001"), "{path}");
        }
        let duty = "/v1/officers/{no}/duty";
        assert!(may("370402", Method::PUT, duty, "2001") && !may("370402", Method::PUT, duty, "2002"));
        assert!(!may("370402", Method::PUT, duty, "2999"), "whom nobody knows is nobody's");
        let own = Principal { role: Role::Seat, subject: "1001".into(), area: "370402".into() };
        assert!(super::may(&own, &places, &Method::GET, "/v1/seats/{id}/events", |_| Some("1001".into())));
    }

    #[test]
    fn every_role_may_what_its_rows_say_with_its_own_subject_and_nothing_else() {
        let who = |role, subject: &str| Principal { role, subject: subject.into(), area: String::new() };
        let param = |value: &'static str| move |_: &str| Some(value.to_owned());
        let (mut allowed, places) = (0, Places::default());
        for rule in &RULES {
            for role in Role::EACH {
                let may = |subject: &str| may(&who(role, subject), &places, &rule.method, rule.path, param("1101"));
                let wanted = rule.roles.contains(&role);
                assert_eq!(may("1101"), wanted, "{role:?} {} {}", rule.method, rule.path);
                let is_bound = matches!(rule.own, Own::Subject(bound, _) if bound == role);
                assert_eq!(may("1102"), wanted && !is_bound, "another's: {role:?} {} {}", rule.method, rule.path);
                allowed += u32::from(wanted);
            }
            assert!(may(&who(Role::All, ""), &places, &rule.method, rule.path, param("x")));
            assert!(
                !may(&who(Role::All, ""), &places, &Method::DELETE, rule.path, param("x")),
                "what no row names is refused"
            );
        }
        assert_eq!(allowed, 52, "a row that is added or widened is looked at here");
        assert!(!may(&who(Role::Citizen, "c"), &places, &Method::GET, "/v1/alerts", param("x")));
    }
}
