//! What the kernel knows of this process and its neighbours: who holds a port, how many descriptors there may be.

use std::net::SocketAddr;

/// The process that has a UDP or TCP socket bound to this port, if we may see it.
pub fn holder_of(port: u16) -> Option<u32> {
    let inodes: Vec<String> = ["udp", "tcp", "udp6", "tcp6"]
        .iter()
        .filter_map(|t| std::fs::read_to_string(format!("/proc/net/{t}")).ok())
        .flat_map(|table| {
            table
                .lines()
                .skip(1)
                .filter_map(|line| {
                    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                    let local = fields.get(1)?.rsplit(':').next()?;
                    (u16::from_str_radix(local, 16) == Ok(port)).then(|| (*fields.get(9)?).to_owned().into())?
                })
                .collect::<Vec<String>>()
        })
        .collect();
    let wanted: Vec<String> = inodes.iter().map(|i| format!("socket:[{i}]")).collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        for file in files.flatten() {
            if std::fs::read_link(file.path()).is_ok_and(|l| wanted.iter().any(|w| l.as_os_str() == w.as_str())) {
                return Some(pid);
            }
        }
    }
    None
}

/// Raises the soft descriptor limit to the hard one; returns it.
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = limit.maximum.unwrap_or(u64::MAX);
    let _ = setrlimit(Resource::Nofile, limit);
    raised
}

/// A taken port, said with the process that has it.
pub fn port_taken(what: &str, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let holder = holder_of(address.port()).map_or(String::new(), |pid| format!(", held by pid {pid}"));
    anyhow::anyhow!("GW-1002 {what} {address}: {error}{holder}")
}
