//! Short messages as the carriers hand them over: CMPP, SGIP, SMGP and SMPP, and the text inside.
//!
//! Every protocol frames itself by a length in its first four bytes and is read in place: a parsed PDU borrows from
//! the frame and allocates nothing. No length that a peer claims is ever used to allocate.

pub mod cmpp;
pub mod sgip;
pub mod smgp;
pub mod smpp;
mod text;
mod udh;
mod wire;

pub use text::{Alphabet, Part, decode, split};
pub use udh::{Segment, UserData, user_data};
pub use wire::{PduError, frame};
