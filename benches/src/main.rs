//! What resin costs beside other proxies doing the same work: `make bench`.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use resin_bench::{
    Outcome, collector,
    lane::Lane,
    machine,
    peers::{Kind, World},
    postgres, report,
    results::{Results, SCHEMA},
    rounds::Fleet,
    site,
    works::{self, Bench},
};

/// What resin costs beside other proxies doing the same work.
#[derive(Debug, Parser)]
struct Arguments {
    /// Works to do, by the beginning of their names; all where none is named.
    #[arg(long = "work")]
    works: Vec<String>,
    /// How often each is done.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Builds of resin, as [NAME=]PATH; may be given several times.
    #[arg(long = "program", default_value = "target/release/resin")]
    programs: Vec<String>,
    /// Peers by name, separated by commas; all where none is named.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Where everything that was found is written.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Name the works and do none.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = run(arguments) => done,
            _interrupted = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("resin-bench: {error}");
    ExitCode::FAILURE
}

async fn run(arguments: Arguments) -> Outcome<()> {
    let mut works = works::all();
    if arguments.list {
        for work in works {
            println!("{:<20} {}", work.name, work.title);
        }
        return Ok(());
    }
    if !arguments.works.is_empty() {
        works.retain(|work| arguments.works.iter().any(|wanted| work.name.starts_with(wanted.as_str())));
    }
    if works.is_empty() {
        return Err(format!("no work begins with {}; --list names them", arguments.works.join(", ")).into());
    }
    let (rounds, slot) = if arguments.quick { (3, 300) } else { (arguments.rounds, 800) };
    let (spans, _count) = collector::start().await?;
    let world = World {
        site: site::Site::start()?,
        postgres: postgres::Postgres::start()?,
        spans,
        dir: tempfile::Builder::new().prefix("resin-bench-").tempdir()?,
    };
    let load = Lane::new("load")?;
    let fleet = Fleet::start(&world, wanted(&arguments)).await;
    let mut found = Vec::new();
    for work in &works {
        let bench = Bench { world: &world, load: &load, slot: Duration::from_millis(slot) };
        let result = fleet.run(&bench, work, rounds).await;
        print!("{}", report::table::work(&result));
        found.push(result);
    }
    let results =
        Results { schema: SCHEMA, machine: machine::here(), versions: fleet.versions(), works: found };
    fs::write(&arguments.json, serde_json::to_string_pretty(&results)?)
        .map_err(|error| format!("{}: {error}", arguments.json.display()))?;
    Ok(())
}

/// The measure first, then resin, then the others.
fn wanted(arguments: &Arguments) -> Vec<(String, Kind)> {
    let mut wanted = vec![("haproxy".to_owned(), Kind::Haproxy { log: false })];
    for program in &arguments.programs {
        let (name, path) = program.split_once('=').unwrap_or(("resin", program));
        wanted.push((name.to_owned(), Kind::Resin { program: path.into() }));
    }
    let others =
        [("haproxy-log", Kind::Haproxy { log: true }), ("nginx", Kind::Nginx), ("squid", Kind::Squid)];
    wanted.extend(others.map(|(name, kind)| (name.to_owned(), kind)));
    if !arguments.peers.is_empty() {
        wanted.retain(|(name, kind)| matches!(kind, Kind::Resin { .. }) || arguments.peers.contains(name));
    }
    wanted
}
