//! SIP messages (RFC 3261): framing and index without a copy, field parsers, writers, digest.
//!
//! Knows neither transactions nor dialogs; a message is bytes and where its parts lie.

pub mod auth;
mod check;
mod class;
mod lex;
mod message;
pub mod multipart;
mod name;
mod peek;
mod scan;
mod stream;
mod uri;
mod value;
mod write;

pub use check::{Fields, Rejection, check_request, check_response};
pub use lex::{Params, split_commas, token_list, trim, unquote};
pub use message::{Fault, MAX_HEADERS, MAX_MESSAGE, Message, Method, Span, Start};
pub use name::Name;
pub use peek::peek_call_id;
pub use stream::{Framed, StreamError, StreamFramer};
pub use uri::{Host, Scheme, Uri};
pub use value::{CSeq, NameAddr, ReplyTo, Via};
pub use write::{Writer, reason_phrase};
