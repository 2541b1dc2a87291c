//! Other agencies' cases on real sockets: taken once, handed on at once, refused by name.

use std::time::Duration;

use codecs::record::CloudEvent;
use loadtest::clock::Clock;
use serde_json::{Value, json};

use crate::fanout::{events, free_port, prepare_with, receiver, wait};
use crate::text::signed_as;

const FIRE: &str = "[channel.fire]\nkind = \"agency\"\nrecord = \"agency_119\"\ngroup = \"default\"\ntakes = 20\n\
                    secret = { env = \"CHANNEL_SECRET\" }\n";
const RULES: &str = "[[rule]]\nname = \"fires\"\nchannel = [\"agency_119\"]\nuntriaged = true\ntell = [[\"city\"]]\n";

fn event(id: &str, case: &str, sequence: u64, data: &Value) -> String {
    let subject = case;
    json!({"specversion": "1.0", "id": id, "source": "/119/desk", "type": "case.told", "subject": subject,
        "sequence": sequence.to_string(), "data": data})
    .to_string()
}

#[test]
fn a_case_of_another_agency_is_taken_once_and_handed_on_within_three_seconds() {
    let city = free_port();
    let gateway = prepare_with("cases", 23_500, &[("city", city, "")], FIRE, RULES);
    let at_city = receiver(&gateway.dir, "city", city);
    let tell = |id: &str, body: &str| signed_as(gateway.http, "fire", id, body);
    let data = json!({"text": "仓库起火", "level": 2, "category": "400100", "phone": "13900000119",
        "location": {"lon": 117.55, "lat": 34.81, "datum": "GCJ02", "label": "城东路 8 号"}});
    let (clock, limit) = (Clock::start(), Duration::from_secs(3));
    let begun = clock.now();
    let (status, taken) = tell("d1", &event("e1", "F1", 1, &data));
    let no = taken["alert_no"].as_str().unwrap_or_else(|| panic!("{status} {taken}")).to_owned();
    let told: CloudEvent = wait("its first", || events(&at_city, &no).into_iter().next());
    assert!(clock.now() - begun < limit);
    let record = wait("their triage", || {
        let last = events(&at_city, &no).into_iter().next_back()?;
        last.data.incident.level.is_some().then_some(last.data)
    });
    assert_eq!(told.data.id.external.iter().map(|e| (&*e.system, &*e.no)).collect::<Vec<_>>(), [("fire", "F1")]);
    assert_eq!((record.incident.level, record.incident.category.as_deref()), (Some(2), Some("400100")));
    let again = tell("d2", &event("e1", "F1", 1, &data));
    assert_eq!((again.0, &again.1["alert_no"]), (200, &taken["alert_no"]), "the same event by another delivery");
    // Our own revision comes back, whoever handed it on.
    let ours = serde_json::to_string(&told).expect("JSON");
    let echo = tell("d3", &ours);
    assert_eq!((echo.0, echo.1["code"].as_str()), (422, Some("GW-4422")), "{}", echo.1);
    let about = json!({"text": "已出动三辆车", "alert_no": no});
    assert_eq!(tell("d4", &event("e4", "F9", 1, &about)).1["alert_no"], taken["alert_no"]);
    let mut hops: Value = serde_json::from_str(&event("e5", "F5", 1, &data)).expect("JSON");
    hops["hops"] = 8.into();
    for (body, code) in [
        (hops.to_string(), "GW-4422"),
        (event("e6", "F6", 1, &json!({"level": 7, "text": "x"})), "GW-4422"),
        ("{}".to_owned(), "GW-4422"),
        ("[".to_owned(), "GW-4422"),
    ] {
        let (status, problem) = tell("d6", &body);
        assert_eq!((status, problem["code"].as_str()), (422, Some(code)), "{body}");
    }
    let many: Vec<u16> = (0..80).map(|n| tell("d7", &event(&format!("m{n}"), "F7", n, &data)).0).collect();
    assert!(many.contains(&429) && many.iter().all(|status| [200, 429].contains(status)), "{many:?}");
    let (_, all) = gateway.api().request("GET", "/v1/alerts?limit=50", "").expect("answered");
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let cases = |no: &str| {
        all["alerts"].as_array().expect("alerts").iter().filter(|a| a["id"]["external"][0]["no"] == no).count()
    };
    assert_eq!((cases("F1"), cases("F5"), cases("F6")), (1, 0, 0));
}
