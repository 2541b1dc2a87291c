//! Where the log goes and how it looks.
//!
//! It is written by a thread of its own: a stderr that nobody reads, or a disk that is full, must keep nobody waiting.
//! What finds the queue full is dropped and counted.

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const QUEUE: usize = 4096;
/// How long the end waits for what is queued.
const LAST: Duration = Duration::from_millis(500);

enum Entry {
    Line(Vec<u8>),
    /// Everything before is written.
    Flush(SyncSender<()>),
}

static QUEUED: OnceLock<SyncSender<Entry>> = OnceLock::new();

type SetLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;
static LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// From now on at this level: `error`, `warn`, `info`, `debug`, `trace`, or by module as tracing's directives say.
///
/// # Errors
/// What is no level.
pub fn set_level(level: &str) -> Result<(), String> {
    LEVEL.get().map_or_else(|| Err("this process has no log".to_owned()), |set| set(level))
}

/// Hands lines to the thread that writes them.
#[derive(Clone)]
struct Queue(SyncSender<Entry>);

impl Queue {
    fn start(to: impl Write + Send + 'static) -> io::Result<Queue> {
        let (sender, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new().name("log".into()).spawn(move || write_all(&receiver, to))?;
        Ok(Queue(sender))
    }
}

fn write_all(queue: &Receiver<Entry>, mut to: impl Write) {
    while let Ok(entry) = queue.recv() {
        match entry {
            // A line that cannot be written is gone; the next may go.
            Entry::Line(line) => drop(to.write_all(&line)),
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl Write for Queue {
    /// One line, as the formatter writes it; never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Entry::Line(line.to_vec())).is_err() {
            metrics::counter!("gateway_log_dropped_total").increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Queue;

    fn make_writer(&'a self) -> Queue {
        self.clone()
    }
}

/// Logs to stderr: human on a terminal, JSON otherwise.
pub fn init(format: &str, level: &str) {
    let filter = parse(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let human = match format {
        "human" => true,
        "json" => false,
        _ => io::stderr().is_terminal(),
    };
    let Ok(queue) = Queue::start(io::stderr()) else { return };
    let _ = QUEUED.set(queue.0.clone());
    // A log that cannot be written must cost nothing else: the default complaint about it panics.
    let builder = tracing_subscriber::fmt().with_writer(queue).log_internal_errors(false);
    // A second call (tests start several gateways) keeps the first.
    if human {
        let builder = builder.with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = LEVEL.set(Box::new(move |level| handle.reload(parse(level)?).map_err(|e| e.to_string())));
        let _ = builder.try_init();
    } else {
        let builder = builder.json().with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = LEVEL.set(Box::new(move |level| handle.reload(parse(level)?).map_err(|e| e.to_string())));
        let _ = builder.try_init();
    }
}

/// Whether each part, between commas, is a level or `target=level`: any other word would be taken for a target, of which
/// there is none, and nothing would be told any more.
pub fn is_level(text: &str) -> bool {
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').all(|part| known.contains(&part.rsplit('=').next().unwrap_or(part).trim()))
}

fn parse(level: &str) -> Result<EnvFilter, String> {
    if !is_level(level) {
        return Err(format!("`{level}` is neither a level nor target=level"));
    }
    EnvFilter::builder().parse(level).map_err(|e| e.to_string())
}

/// What is queued is written, if that takes no longer than a moment: before the process ends.
pub fn flush() {
    let Some(queue) = QUEUED.get() else { return };
    let (done, written) = sync_channel(1);
    if queue.try_send(Entry::Flush(done)).is_ok() {
        let _ = written.recv_timeout(LAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that nobody reads.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_logs_into_a_pipe_that_nobody_reads_does_not_wait() {
        let (free, stuck) = sync_channel(0);
        let mut queue = Queue::start(Stuck(stuck)).expect("a thread");
        for _ in 0..10 * QUEUE {
            assert_eq!(queue.write(b"a line\n").expect("taken or dropped"), 7);
        }
        drop(free);
    }
}
