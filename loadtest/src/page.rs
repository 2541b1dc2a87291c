//! What load tools need to know: ports, secrets and accounts, as a demo tells them or a file does.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::api::Api;

/// What a running demo tells load tools.
///
/// # Errors
/// When nobody answers there, or it is no demo.
pub fn demo_page(admin: SocketAddr) -> anyhow::Result<serde_json::Value> {
    let (status, body) =
        Api::new(admin, "").request("GET", "/demo/peers.json", "").context("no demo answers at --admin")?;
    anyhow::ensure!(status == 200, "{admin}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

/// # Errors
/// When the page does not say it.
pub fn text_of<'a>(page: &'a serde_json::Value, key: &str) -> anyhow::Result<&'a str> {
    page[key].as_str().with_context(|| format!("peers.json has no {key}"))
}

/// The API's address and token.
///
/// # Errors
/// When the page does not say it, or the token's file cannot be read.
pub fn api_of(page: &serde_json::Value) -> anyhow::Result<(SocketAddr, String)> {
    let token_file = std::path::Path::new(text_of(page, "token_file")?);
    let token = std::fs::read_to_string(token_file).with_context(|| token_file.display().to_string())?;
    Ok((text_of(page, "http")?.parse()?, token.trim().to_owned()))
}

/// Accounts that are there for load tools, where the page names none.
pub const OFFICERS: (u32, u32) = (4001, 4600);

/// From and to, where the page names them.
pub fn range_of<T: TryFrom<u64> + PartialOrd>(value: &serde_json::Value) -> Option<(T, T)> {
    let end = |n: usize| value[n].as_u64().and_then(|no| T::try_from(no).ok());
    end(0).zip(end(1)).filter(|(from, to)| from <= to)
}

/// The officers' accounts that the page names.
pub fn officers_of(page: &serde_json::Value) -> (u32, u32) {
    range_of(&page["load"]["officers"]).unwrap_or(OFFICERS)
}
