//! Sockets: SIP over UDP and TCP, media ports, and how many connections there may be.

pub mod crowd;
pub mod http;
pub mod ports;
pub mod streams;
pub mod udp;
