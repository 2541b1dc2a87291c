//! Phones that fail.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Deeds, Scene};
use crate::clock::Clock;
use crate::peers::{Behaviour, Happening, Peers};

#[expect(clippy::unnecessary_wraps, reason = "as every act is played")]
pub(super) fn nothing(_: &Scene) -> anyhow::Result<Deeds> {
    Ok(Deeds::default())
}

/// Two seats of each kind take part in the room.
pub(super) fn seats(scene: &Scene) -> anyhow::Result<Deeds> {
    let mut peers = Peers::new(Clock::start())?;
    let agent = peers.add_agent(IpAddr::V4(Ipv4Addr::LOCALHOST), scene.stage.calls.sip, 1, Behaviour::RingOn)?;
    let kinds = [Behaviour::Busy, Behaviour::RingOn, Behaviour::Silent, Behaviour::Quits];
    let from = scene.stage.rude_seats.0;
    for (user, kind) in (from..).zip(kinds.into_iter().cycle().take(8)) {
        peers.behave(agent, &user.to_string(), kind);
        peers.register(agent, &user.to_string(), &scene.stage.calls.password);
    }
    let (mut called, mut picked_up) = (0, 0);
    while !scene.over() {
        peers.step(Duration::from_millis(20));
        while let Some((_, happening)) = peers.poll_happening() {
            called += u64::from(matches!(happening, Happening::Called { .. }));
            picked_up += u64::from(matches!(happening, Happening::PickedUp { .. }));
        }
    }
    peers.unregister_all(Duration::from_secs(2));
    let mut deeds = Deeds::default();
    deeds.count("rude seats called", called);
    deeds.count("of them picked up", picked_up);
    // Otherwise nothing was tried.
    deeds.at_most("rude seats not tried", f64::from(u8::from(called == 0)), 0.0);
    Ok(deeds)
}
