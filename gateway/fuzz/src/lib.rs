//! What a stranger may send, given to every codec and every machine: none panics, and each keeps what it promises of
//! any input.
//!
//! `cargo test` replays the seeds and what earlier runs found worth keeping (`corpus/`); `.ci/fuzz` looks for more.

mod app;
mod carrier;
mod casebook;
mod codec;
mod disk;
mod media_engine;
mod peer;
mod script;
mod seeds;
mod shard;
mod sip_endpoint;

/// One entry: a name, what is run on any bytes, and inputs that reach far into it.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "sip_message", run: codec::sip_message, seeds: seeds::sip_messages },
    Target { name: "sip_stream", run: codec::sip_stream, seeds: seeds::sip_streams },
    Target { name: "sip_digest", run: codec::sip_digest, seeds: seeds::digests },
    Target { name: "sip_multipart", run: codec::sip_multipart, seeds: seeds::multiparts },
    Target { name: "sdp", run: codec::sdp, seeds: seeds::sdps },
    Target { name: "rtp", run: codec::rtp, seeds: seeds::rtps },
    Target { name: "rtcp", run: codec::rtcp, seeds: seeds::rtcps },
    Target { name: "sms_text", run: codec::sms_text, seeds: seeds::sms_texts },
    Target { name: "wechat", run: codec::wechat, seeds: seeds::wechats },
    Target { name: "qq", run: codec::qq, seeds: seeds::qqs },
    Target { name: "weibo", run: codec::weibo, seeds: seeds::weibos },
    Target { name: "agency", run: codec::agency, seeds: seeds::agencies },
    Target { name: "app_frame", run: app::frame, seeds: seeds::app_frames },
    Target { name: "app_sessions", run: app::sessions, seeds: seeds::app_sessions },
    Target { name: "webhook", run: codec::webhook, seeds: seeds::webhooks },
    Target { name: "record", run: codec::record, seeds: seeds::records },
    Target { name: "geojson", run: codec::geojson, seeds: seeds::geojsons },
    Target { name: "audio", run: codec::audio, seeds: seeds::audios },
    Target { name: "cmpp", run: carrier::cmpp, seeds: seeds::cmpps },
    Target { name: "sgip", run: carrier::sgip, seeds: seeds::sgips },
    Target { name: "smgp", run: carrier::smgp, seeds: seeds::smgps },
    Target { name: "smpp", run: carrier::smpp, seeds: seeds::smpps },
    Target { name: "sip_endpoint", run: sip_endpoint::run, seeds: seeds::sip_endpoints },
    Target { name: "media_engine", run: media_engine::run, seeds: seeds::media_engines },
    Target { name: "shard", run: shard::run, seeds: seeds::shards },
    Target { name: "casebook", run: casebook::run, seeds: seeds::casebooks },
    Target { name: "journal", run: disk::journal, seeds: seeds::journals },
    Target { name: "recording", run: disk::recording, seeds: seeds::recordings },
];
