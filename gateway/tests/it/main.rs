//! Tests of the whole: what the tree must look like, and the binary on real sockets.

mod loopback;
mod text;
mod tidy;
