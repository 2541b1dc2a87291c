//! Tests of the whole: what the tree must look like, and the binary on real sockets.

mod agencies;
mod app;
mod asked;
mod edge;
mod fanout;
mod loopback;
mod parties;
mod roles;
mod rude;
mod small;
mod storage;
mod text;
mod tidy;
mod words;
