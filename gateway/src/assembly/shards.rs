//! The shards and the desk, made from a city.

use std::collections::BTreeMap;
use std::sync::Arc;

use codecs::time::Mono;
use switchboard::gate::Gate;
use switchboard::replay::Front;
use switchboard::route::Router;
use switchboard::{
    Binding, CallIds, Desk, DeskConfig, Flow, KeptBinding, Mint, Own, SerialBlock, Shard, ShardConfig, Transport,
};

use super::Settings;
use crate::city::City;
use crate::clock::{Clock, random};
use crate::inbox::Mailbox;
use crate::net::ports::Ports;
use crate::prompts;
use crate::thread::shard::{self, Links, ShardThread, Sockets};

/// Every shard's thread, ready to run; the first has the desk and the SIP sockets.
pub(super) fn build(
    city: &mut City,
    settings: &Settings,
    (udp, tcp): (std::net::UdpSocket, std::net::TcpListener),
    front: &Front,
    (clock, mailboxes, links): (Clock, Vec<Mailbox>, &Links),
) -> anyhow::Result<Vec<ShardThread>> {
    let sip = udp.local_addr()?;
    let mut mint = Mint::new(random());
    let call_ids = CallIds::new(&mint.seed(), settings.node);
    let router = Router::new(call_ids, &mint.seed(), settings.shards);
    let own = Own {
        addresses: [settings.rtp_address, settings.rtp_advertise],
        ports: (settings.rtp_ports.from, settings.rtp_ports.to),
        sip_port: sip.port(),
    };
    let (tone, attendant) = (prompts::tone(city.tone), prompts::attendant());
    let mut desk = Some((desk(city, front), tcp));
    let mut threads = Vec::new();
    for (index, mailbox) in (0u16..).zip(mailboxes) {
        let mut shard = Shard::new(ShardConfig {
            shard: index,
            shards: settings.shards,
            sip_address: settings.sip_advertise.unwrap_or(sip),
            rtp_address: settings.rtp_advertise,
            own,
            phones_nat: city.phones_nat,
            registrar: city.registrar.clone(),
            call_ids,
            shared_media: settings.rtp_shared > 0,
            realm: settings.realm.clone(),
            // Registrations are the first shard's.
            accounts: if index == 0 { std::mem::take(&mut city.accounts) } else { Vec::new() },
            seed: mint.seed(),
            trunks: city.trunks.iter().map(|t| t.part(settings.shards)).collect(),
            subscribers: Arc::clone(&city.subscribers),
            grids: Arc::clone(&city.grids),
            policy: city.policy.clone(),
            unit: settings.unit.clone(),
            node: settings.node,
            tone: tone.clone(),
            attendant: attendant.clone(),
            // They come by the inbox once they are reserved.
            serials: SerialBlock { from: 0, until: 0, date: 0 },
            luck: u32::from_le_bytes(crate::clock::random()),
        });
        if index == 0 {
            restore_bindings(&mut shard, &front.bindings, clock.mono(), city);
        }
        let range = settings.rtp_ports.part(index, settings.shards);
        let shared = settings.rtp_shared.div_ceil(usize::from(settings.shards));
        let stock = city.legs.div_ceil(usize::from(settings.shards));
        let ports = Ports::new(settings.rtp_address, range.from, range.to, shared, stock)?;
        let cap = city.connections.clone();
        let sources = city.trunks.iter().flat_map(|t| t.sources.clone()).collect();
        let gate = Gate::new(sources, city.messages);
        let front = desk.take().map(|(desk, tcp)| shard::Front::new(desk, tcp, cap, gate, &mailbox, router));
        let front = front.transpose()?;
        let sockets = Sockets { udp: udp.try_clone()?, ports };
        threads.push(ShardThread::new(clock, index, shard, front, sockets, mailbox, links.clone())?);
    }
    Ok(threads)
}

fn desk(city: &mut City, front: &Front) -> Desk {
    let mut responders = std::mem::take(&mut city.responders);
    for responder in &mut responders {
        if let Some(on_duty) = front.duties.get(&responder.no) {
            responder.on_duty = *on_duty;
        }
    }
    Desk::new(DeskConfig {
        groups: std::mem::take(&mut city.groups),
        seats: std::mem::take(&mut city.seats),
        seat_users: std::mem::take(&mut city.seat_users),
        responders,
        grids: Arc::clone(&city.grids),
        default_unit: std::mem::take(&mut city.default_unit),
    })
}

/// Whoever was registered when the process ended is tried at once; their phones know nothing of it. What is kept says
/// where they were, not until when: a refresh is not written down.
fn restore_bindings(shard: &mut Shard, bindings: &BTreeMap<String, KeptBinding>, now: Mono, city: &City) {
    for (user, kept) in bindings {
        let flow = match kept.transport {
            Transport::Udp => Flow::udp(kept.remote),
            Transport::Tcp => Flow::tcp(kept.remote),
        };
        let expires_at = now + city.registrar.max_expires;
        let binding = Binding { contact: kept.contact.clone().into_bytes(), flow, expires_at };
        shard.restore_binding(now, user, binding);
    }
}
