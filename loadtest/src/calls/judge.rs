//! What a run has come to, against what was promised.

use hdrhistogram::Histogram;

use super::{MediaMode, Report, Threshold};

/// Milliseconds to a human's voice, and to the officer's.
const HUMAN_MS: f64 = 3_000.0;
const OFFICER_MS: f64 = 30_000.0;
/// Of the windows, how many this tool may have spoilt by standing still, in percent.
const LEFT_OUT_PERCENT: f64 = 10.0;

fn ms(histogram: &Histogram<u64>) -> f64 {
    histogram.value_at_quantile(1.0) as f64 / 1000.0
}

/// The attendant's 200 is no human's answer: wherever there is a seat both are judged, each by its own measure. What
/// nobody listened to is named as what it is.
pub(super) fn thresholds(legs: u8, media: MediaMode, r: &Report) -> Vec<Threshold> {
    let below = |name, value: f64, limit: f64| Threshold { name, limit, value, pass: value <= limit };
    let mut all = vec![
        below("200 p100 ms", ms(&r.taken_after), HUMAN_MS),
        below("without a 200", (r.placed - r.taken) as f64, 0.0),
        below("failed calls", r.failed.values().sum::<u64>() as f64, 0.0),
        // A run that placed nothing has shown nothing.
        below("nothing placed", f64::from(u8::from(r.placed == 0)), 0.0),
    ];
    if legs >= 2 {
        let (time, nobody) = match media {
            MediaMode::None => ("seat's 200 p100 ms", "not taken by a seat"),
            MediaMode::Full | MediaMode::Probe => ("human heard p100 ms", "no human heard"),
        };
        all.push(below(time, ms(&r.answer), HUMAN_MS));
        all.push(below(nobody, (r.placed - r.answered) as f64, 0.0));
    }
    if legs == 3 {
        let time = match media {
            MediaMode::None => "officer's 200 p100 ms",
            MediaMode::Full | MediaMode::Probe => "officer heard p100 ms",
        };
        all.push(below(time, ms(&r.officer), OFFICER_MS));
        all.push(below("not bridged", (r.placed - r.bridged) as f64, 0.0));
    }
    if media == MediaMode::Full {
        all.push(below("calls with wrong audio", (r.placed - r.audible) as f64, 0.0));
    }
    if media == MediaMode::Full && legs >= 2 {
        let windows = (r.windows.judged() + r.windows.left_out).max(1);
        all.push(below("windows left out %", r.windows.left_out as f64 * 100.0 / windows as f64, LEFT_OUT_PERCENT));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::Tally;

    /// Ten calls, everything as it should be.
    fn good(legs: u8, media: MediaMode) -> Report {
        let mut r = Report::new().expect("histograms");
        (r.placed, r.taken, r.answered, r.audible) = (10, 10, 10, 10);
        r.bridged = if legs == 3 { 10 } else { 0 };
        for h in [&mut r.taken_after, &mut r.answer, &mut r.officer] {
            h.record_n(400_000, 10).expect("in range");
        }
        r.windows = Tally { sound: 100, ..Tally::default() };
        r.thresholds = thresholds(legs, media, &r);
        r
    }

    fn crossed(legs: u8, media: MediaMode, spoil: impl FnOnce(&mut Report)) -> Vec<&'static str> {
        let mut r = good(legs, media);
        spoil(&mut r);
        thresholds(legs, media, &r).iter().filter(|t| !t.pass).map(|t| t.name).collect()
    }

    const ALL: [MediaMode; 3] = [MediaMode::Full, MediaMode::Probe, MediaMode::None];

    #[test]
    fn a_run_in_which_all_is_well_passes_in_every_mode() {
        for media in ALL {
            (1..=3).for_each(|legs| assert!(good(legs, media).pass(), "{legs} legs, {media:?}"));
        }
        assert_eq!(crossed(1, MediaMode::Probe, |r| *r = Report::new().expect("histograms")), ["nothing placed"]);
    }

    #[test]
    fn an_attendants_200_is_no_humans_answer() {
        for legs in [2, 3] {
            assert_eq!(crossed(legs, MediaMode::Full, |r| r.answered = 9), ["no human heard"]);
            assert_eq!(crossed(legs, MediaMode::None, |r| r.answered = 9), ["not taken by a seat"]);
            let late = |r: &mut Report| r.answer.record(3_100_000).expect("in range");
            assert_eq!(crossed(legs, MediaMode::Probe, late), ["human heard p100 ms"]);
        }
        assert!(crossed(1, MediaMode::Probe, |r| r.answered = 0).is_empty(), "with one leg there is no human");
    }

    #[test]
    fn an_officer_who_comes_late_or_not_at_all_is_missed_in_every_mode() {
        for media in ALL {
            assert_eq!(crossed(3, media, |r| r.bridged = 9), ["not bridged"]);
            let late = crossed(3, media, |r| r.officer.record(31_000_000).expect("in range"));
            assert!(late.len() == 1 && late[0].starts_with("officer"), "{late:?}");
        }
    }

    #[test]
    fn every_call_counts_and_windows_that_were_not_judged_do_not() {
        assert_eq!(crossed(2, MediaMode::Full, |r| r.audible = 9), ["calls with wrong audio"]);
        assert_eq!(crossed(2, MediaMode::Full, |r| r.windows.left_out = 20), ["windows left out %"]);
        for media in ALL {
            assert_eq!(crossed(2, media, |r| r.taken = 9), ["without a 200"]);
            assert_eq!(crossed(2, media, |r| r.fail("cut off", 1)), ["failed calls"]);
        }
    }
}
