//! What a command asks of sinks: of the running gateway how they stand, of the way itself whether it can be gone.

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};

use crate::channel::Client;
use crate::clock::Clock;
use crate::config::{self, Config, Source};
use crate::sink::Shown;

/// No gateway runs where the configuration says.
const NOT_RUNNING: u8 = 69;
const BAD_CONFIGURATION: u8 = 78;

pub enum Asked {
    List,
    Test(String),
    Replay(String),
}

pub fn sinks(config: &Path, asked: &Asked) -> ExitCode {
    let Some(read) = read(config) else { return ExitCode::from(BAD_CONFIGURATION) };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(ExitCode::FAILURE, &error.to_string()),
    };
    let base = config.parent().unwrap_or(Path::new("."));
    runtime.block_on(async {
        match asked {
            Asked::List => list(&read, base).await,
            Asked::Test(name) => test(&read, base, name).await,
            Asked::Replay(name) => replay(&read, base, name).await,
        }
    })
}

fn failed(code: ExitCode, why: &str) -> ExitCode {
    eprintln!("error: {why}");
    code
}

fn read(path: &Path) -> Option<Config> {
    let text = match config::read_text(path) {
        Ok(text) => text,
        Err(error) => {
            failed(ExitCode::FAILURE, &format!("{}: {error}", path.display()));
            return None;
        }
    };
    let (config, problems) = config::read(Source { path, text: &text });
    problems.iter().for_each(|problem| eprintln!("{} {}: {}", problem.code, path.display(), problem.what));
    config.filter(|_| problems.is_empty())
}

/// An answer of the running gateway, with its installation's token.
async fn ask(config: &Config, base: &Path, method: &str, path: &str) -> Result<(StatusCode, Bytes), ExitCode> {
    let data = base.join(&config.node.data_dir);
    let token = std::fs::read_to_string(data.join("token"))
        .map_err(|e| failed(ExitCode::from(NOT_RUNNING), &format!("{}: {e}", data.join("token").display())))?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let request = Request::builder()
        .method(method)
        .uri(format!("{scheme}://{}{path}", config.listen.http))
        .header("authorization", format!("Bearer {}", token.trim()))
        .body(Full::default());
    let request = request.map_err(|e| failed(ExitCode::FAILURE, &e.to_string()))?;
    let client = match &config.tls {
        Some(tls) => Client::that_believes(&tls.below(base).certificate).map_err(|e| failed(ExitCode::FAILURE, &e))?,
        None => Client::open(),
    };
    client
        .ask(request)
        .await
        .map_err(|e| failed(ExitCode::from(NOT_RUNNING), &format!("no gateway answers at {}: {e}", config.listen.http)))
}

async fn list(config: &Config, base: &Path) -> ExitCode {
    let (status, body) = match ask(config, base, "GET", "/v1/sinks").await {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    let Ok(sinks) = serde_json::from_slice::<Vec<Shown>>(&body) else {
        return failed(ExitCode::FAILURE, &format!("HTTP {status}: {}", String::from_utf8_lossy(&body)));
    };
    println!("NAME\tWAY\tTARGET\tTOLD\tBEHIND\tDEAD\tFAILING");
    for s in sinks {
        let (target, failing) = (s.target.as_deref().unwrap_or("-"), s.failing.as_deref().unwrap_or("-"));
        println!("{}\t{}\t{target}\t{}\t{}\t{}\t{failing}", s.name, s.way, s.told, s.behind, s.dead);
    }
    ExitCode::SUCCESS
}

async fn replay(config: &Config, base: &Path, name: &str) -> ExitCode {
    if !config.sink.contains_key(name) {
        return failed(ExitCode::FAILURE, &format!("no sink `{name}`"));
    }
    match ask(config, base, "POST", &format!("/v1/sinks/{name}/replay")).await {
        Ok((StatusCode::ACCEPTED, _)) => {
            println!("{name}: the dead letters are being tried again");
            ExitCode::SUCCESS
        }
        Ok((status, body)) => failed(ExitCode::FAILURE, &format!("HTTP {status}: {}", String::from_utf8_lossy(&body))),
        Err(code) => code,
    }
}

async fn test(config: &Config, base: &Path, name: &str) -> ExitCode {
    let Some(sink) = config.sink.get(name) else {
        return failed(ExitCode::FAILURE, &format!("no sink `{name}`"));
    };
    let to = match sink.way(base) {
        Ok(to) => to,
        Err(why) => return failed(ExitCode::FAILURE, &format!("{name}: {why}")),
    };
    match to.open(&Client::open(), Clock::start()).test().await {
        Ok(what) => {
            println!("{name}: {what}");
            ExitCode::SUCCESS
        }
        Err(why) => failed(ExitCode::FAILURE, &format!("{name}: {why}")),
    }
}
