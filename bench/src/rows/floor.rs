//! What the machine itself takes: the measure by which its figures compare with those of another.

use std::net::UdpSocket;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use loadtest::clock::Clock;

use super::Lab;
use crate::lab::{own_thread_us, pause};

/// One sent and one received over 1,000 sockets on the machine that the goals were set on.
pub(super) const GOALS_MACHINE_US: f64 = 2.100 + 1.036;
const SOCKETS: usize = 600;
const ROUNDS: usize = 60;
/// Times that something is done five milliseconds apart.
const PACED: u64 = 200;
const RECORD: usize = 3072;

pub(super) fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    datagram(lab)?;
    wake(lab)?;
    sync(lab)
}

/// What `work` costs this thread each time, done five milliseconds apart; the waiting itself taken off.
fn paced(mut work: impl FnMut(u64) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let clock = Clock::start();
    let mut round = |working: bool| -> anyhow::Result<f64> {
        let begun = own_thread_us();
        for n in 0..PACED {
            if working {
                work(n)?;
            }
            pause(clock, Duration::from_millis(5));
        }
        Ok((own_thread_us() - begun) / PACED as f64)
    };
    Ok(round(true)? - round(false)?)
}

fn wake(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let sleeper = std::thread::spawn(move || {
        let begun = own_thread_us();
        let times = receiver.iter().count();
        (own_thread_us() - begun) / times as f64
    });
    let waker = paced(|_| Ok(sender.send(())?))?;
    drop(sender);
    let woken = sleeper.join().map_err(|_| anyhow::anyhow!("the sleeping thread failed"))?;
    lab.results.add("floor-wake", "bare threads", waker + woken);
    Ok(())
}

fn sync(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let scratch = lab.scratch("sync")?;
    let file = std::fs::OpenOptions::new().create_new(true).write(true).open(scratch.0.join("bare"))?;
    file.write_all_at(&vec![0; PACED as usize * RECORD], 0)?;
    file.sync_all()?;
    let each = paced(|n| {
        file.write_all_at(&[b'x'; RECORD], n * RECORD as u64)?;
        Ok(file.sync_data()?)
    })?;
    lab.results.add("floor-sync", "bare file", each);
    Ok(())
}

fn datagram(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let bind = || UdpSocket::bind("127.0.0.1:0");
    let senders: Vec<UdpSocket> = (0..SOCKETS).map(|_| bind()).collect::<Result<_, _>>()?;
    let receivers: Vec<UdpSocket> = (0..SOCKETS).map(|_| bind()).collect::<Result<_, _>>()?;
    let addresses: Vec<_> = receivers.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
    let mut buffer = [0u8; 2048];
    let begun = own_thread_us();
    for _ in 0..ROUNDS {
        for (socket, to) in senders.iter().zip(&addresses) {
            socket.send_to(&buffer[..172], to)?;
        }
        for socket in &receivers {
            socket.recv_from(&mut buffer)?;
        }
    }
    let each = (own_thread_us() - begun) / (SOCKETS * ROUNDS) as f64;
    lab.results.add("floor-datagram", "bare sockets", each);
    Ok(())
}
