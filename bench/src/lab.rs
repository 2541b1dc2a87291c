//! Servers as children: what they have used of processor and memory, read from /proc.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use loadtest::clock::Clock;

/// Microseconds of one tick of /proc/PID/stat: a hundredth of a second on every Linux of today.
const TICK_US: f64 = 10_000.0;

/// A directory of one measurement's own.
pub(crate) struct Scratch(pub PathBuf);

/// Where they all are. They go together at the end: for minutes ext4 searches its way past inodes that were deleted
/// lately, and whoever creates files then pays for the run before.
fn scratch_root() -> PathBuf {
    std::env::temp_dir().join(format!("bench-{}", std::process::id()))
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl Scratch {
    pub(crate) fn new(name: &str) -> anyhow::Result<Scratch> {
        spread(&scratch_root());
        let dir = scratch_root().join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Scratch(dir))
    }

    pub(crate) fn remove_all() {
        let _ = std::fs::remove_dir_all(scratch_root());
    }
}

/// What is made below has block groups of its own, away from whatever was deleted lately beside it: a recording's five
/// inodes cost 80 µs there and 2 ms beside those. Where the file system knows of no such thing, nothing is lost.
fn spread(root: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let flagged = || -> std::io::Result<()> {
        std::fs::create_dir_all(root)?;
        let root = File::open(root)?;
        Ok(ioctl_setflags(&root, ioctl_getflags(&root)? | IFlags::TOPDIR)?)
    };
    let _ = flagged();
}

/// A server under measurement, with the processes that it starts. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub name: String,
}

impl Server {
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn start(command: &mut Command, dir: &Path) -> anyhow::Result<Server> {
        let name = command.get_program().to_string_lossy().into_owned();
        let log = File::create(dir.join(format!("{}.log", name.rsplit('/').next().unwrap_or("server"))))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.current_dir(dir).spawn().with_context(|| name.clone())?;
        Ok(Server { child, name })
    }

    pub(crate) fn is_up(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// User and system time so far, of every thread that lived, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        family(self.child.id()).iter().filter_map(|pid| cpu_us(*pid)).sum()
    }

    /// Of one thread by its name.
    pub(crate) fn thread_us(&self, name: &str) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let of = |path: PathBuf| {
            let comm = std::fs::read_to_string(path.join("comm")).ok()?;
            if comm.trim() != name {
                return None;
            }
            let ran: f64 = std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()?;
            Some(ran / 1000.0)
        };
        tasks.filter_map(|t| of(t.path())).sum()
    }

    /// Resident, shared pages divided among their users, in KiB.
    pub(crate) fn memory_kib(&self) -> f64 {
        let pss = |pid: u32| -> Option<f64> {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            rollup.lines().find_map(|l| l.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
        };
        family(self.child.id()).iter().filter_map(|pid| pss(*pid)).sum()
    }

    /// Resident as `ps` tells it, in KiB.
    pub(crate) fn resident_kib(&self) -> f64 {
        let rss = |pid: u32| -> Option<f64> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
        };
        family(self.child.id()).iter().filter_map(|pid| rss(*pid)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in family(self.child.id()).into_iter().rev() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn cpu_us(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<f64> =
        stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    Some(fields.iter().sum::<f64>() * TICK_US)
}

/// A process and all its descendants.
fn family(root: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: BTreeMap<u32, u32> = all
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(pids.iter().filter(|(_, parent)| **parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

/// Of this thread, in microseconds.
pub(crate) fn own_thread_us() -> f64 {
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    ran.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1000.0
}

/// A program on PATH, or where Debian keeps servers.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/sbin", "/usr/bin"]);
    dirs.map(|dir| Path::new(dir).join(program)).find(|p| p.is_file())
}

/// Of our own programs, which cargo builds beside this one.
///
/// # Errors
/// When it was not built.
pub(crate) fn ours(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(program);
    ensure!(path.is_file(), "{} is missing: cargo build --release --workspace", path.display());
    Ok(path)
}

/// Lets a measurement run for a while.
pub(crate) fn pause(clock: Clock, how_long: Duration) {
    let end = clock.now() + how_long;
    while let Some(left) = end.checked_sub(clock.now()).filter(|d| !d.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Sends OPTIONS until one is answered.
///
/// # Errors
/// When ten seconds pass without.
pub(crate) fn until_it_answers(server: &mut Server, sip: SocketAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let from = socket.local_addr()?;
    socket.set_read_timeout(Some(Duration::from_millis(2)))?;
    let clock = Clock::start();
    let mut buffer = [0u8; 2048];
    for n in 0.. {
        let request = format!(
            "OPTIONS sip:{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKstart{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:bench@{from}>;tag=b\r\nTo: <sip:{sip}>\r\nCall-ID: start-{n}@{from}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let _ = socket.send_to(request.as_bytes(), sip);
        if socket.recv(&mut buffer).is_ok_and(|len| buffer[..len].starts_with(b"SIP/2.0 ")) {
            return Ok(());
        }
        ensure!(clock.now() < Duration::from_secs(10) && server.is_up(), "{} does not answer", server.name);
    }
    Ok(())
}
