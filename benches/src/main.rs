//! `make bench`, `make bench-compare` and `make bench-smoke`: arguments become a run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use resin_bench::{
    Outcome, collector, compare,
    counts::Allocations,
    lane::Lane,
    limits, machine,
    peers::{Kind, World},
    postgres, report,
    results::{Results, SCHEMA, WorkResult},
    rounds::Fleet,
    site, smoke,
    works::{self, Bench, Work},
};

/// jemalloc gives back what is free within ten seconds.
const SETTLE: Duration = Duration::from_secs(11);
const QUICK_SETTLE: Duration = Duration::from_secs(3);
const SLOT: Duration = Duration::from_millis(500);
const ROUNDS: usize = 7;
const QUICK_SLOT: Duration = Duration::from_millis(300);
const QUICK_ROUNDS: usize = 3;

/// What resin costs beside other proxies doing the same work.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Works to do, by the beginning of their names; all where none is named.
    #[arg(long = "work")]
    works: Vec<String>,
    /// How often each is done [default: 7, or 3 with --quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// Fewer and shorter rounds, and little patience with memory.
    #[arg(long)]
    quick: bool,
    /// Builds of resin, as [NAME=]PATH; may be given several times.
    #[arg(long = "program", default_value = "target/release/resin")]
    programs: Vec<String>,
    /// A build of resin with --features count-allocations.
    #[arg(long)]
    counting: Option<PathBuf>,
    /// Peers by name, separated by commas; all where none is named.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Where everything that was found is written.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// A page whose tables are written anew, such as docs/performance.md; the plots are put beside it.
    #[arg(long)]
    page: Option<PathBuf>,
    /// Name the works and do none.
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Hold two results against each other.
    Compare {
        before: PathBuf,
        after: PathBuf,
        /// Whose figures.
        #[arg(long, default_value = "resin")]
        peer: String,
    },
    /// Write the tables of a page from a result.
    Page { json: PathBuf, page: PathBuf },
    /// Count system calls and allocations, and fail where they are more than was recorded.
    Smoke {
        /// A build with --features count-allocations.
        #[arg(long, default_value = "target/debug/resin")]
        program: PathBuf,
        #[arg(long, default_value = "benches/recorded.json")]
        record: PathBuf,
        /// Record the counts instead.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            done = act(arguments) => done,
            _interrupted = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _terminated = terminated.recv() => Err("terminated".into()),
        }
    });
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("resin-bench: {error}");
    ExitCode::FAILURE
}

async fn act(arguments: Arguments) -> Outcome<()> {
    match arguments.other {
        None => run(&arguments.run).await,
        Some(Other::Compare { before, after, peer }) => {
            print!("{}", compare::told(&compare::read(&before)?, &compare::read(&after)?, &peer)?);
            Ok(())
        }
        Some(Other::Page { json, page }) => report::markdown::write(&compare::read(&json)?, &page),
        Some(Other::Smoke { program, record, write }) => {
            let (world, load) = (world().await?, Lane::new("load")?);
            let bench = Bench { world: &world, load: &load, slot: QUICK_SLOT, settle: QUICK_SETTLE };
            smoke::run(&bench, &program, &record, write).await
        }
    }
}

async fn world() -> Outcome<World> {
    limits::raise();
    Ok(World {
        site: site::Site::start()?,
        postgres: postgres::Postgres::start()?,
        spans: collector::start().await?.0,
        dir: tempfile::Builder::new().prefix("resin-bench-").tempdir()?,
    })
}

async fn run(arguments: &Run) -> Outcome<()> {
    let works = chosen(arguments)?;
    if arguments.list {
        works.iter().for_each(|work| println!("{:<20} {}", work.name, work.title));
        return Ok(());
    }
    let (world, load) = (world().await?, Lane::new("load")?);
    let (slot, settle) = if arguments.quick { (QUICK_SLOT, QUICK_SETTLE) } else { (SLOT, SETTLE) };
    let bench = Bench { world: &world, load: &load, slot, settle };
    let wanted = wanted(arguments)?;
    let ours = wanted.iter().filter(|(_, kind)| kind.is_ours()).map(|(name, _)| name.clone()).collect();
    let fleet = Fleet::start(&world, wanted).await;
    let mut results = Results {
        schema: SCHEMA,
        machine: machine::here(),
        versions: fleet.versions(),
        ours,
        works: Vec::new(),
    };
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { QUICK_ROUNDS } else { ROUNDS }).max(1);
    let counting = match &arguments.counting {
        Some(program) if works.iter().any(|work| work.counted) => {
            Some(counting(&bench, program, &works).await)
        }
        _ => None,
    };
    for work in &works {
        let mut result = fleet.run(&bench, work, rounds).await;
        if work.counted {
            fleet.count_calls(&bench, work, &mut result).await;
            if let Some(counting) = &counting {
                count_allocations(counting, work, &mut result).await;
            }
        }
        if let Err(reason) = world.postgres.forget_records() {
            eprintln!("records are not dropped: {reason}");
        }
        print!("{}", report::table::work(&result));
        results.works.push(result);
        // Whatever happens later, this was found.
        write(&results, &arguments.json)?;
    }
    arguments.page.as_ref().map_or(Ok(()), |page| report::markdown::write(&results, page))
}

fn chosen(arguments: &Run) -> Outcome<Vec<Work>> {
    let named = |work: &Work| arguments.works.iter().any(|wanted| work.name.starts_with(wanted.as_str()));
    let mut works = works::all();
    works.retain(|work| arguments.works.is_empty() || named(work));
    if arguments.quick {
        works.iter_mut().for_each(Work::shorten);
    }
    if works.is_empty() {
        return Err(format!("no work begins with {}; --list names them", arguments.works.join(", ")).into());
    }
    Ok(works)
}

/// The measure first, then resin, then the others.
fn wanted(arguments: &Run) -> Outcome<Vec<(String, Kind)>> {
    let mut wanted = vec![("haproxy".to_owned(), Kind::Haproxy { log: false })];
    for program in &arguments.programs {
        let (name, path) = program.split_once('=').unwrap_or(("resin", program));
        if wanted.iter().any(|(other, _)| other == name) {
            return Err(
                format!("two peers are called {name}: --program NAME={path} gives one another name").into()
            );
        }
        wanted.push((name.to_owned(), Kind::Resin { program: path.into() }));
    }
    let others = [
        ("haproxy-log", Kind::Haproxy { log: true }),
        ("nginx", Kind::Nginx),
        ("squid", Kind::Squid),
        ("envoy", Kind::Envoy),
    ];
    wanted.extend(others.map(|(name, kind)| (name.to_owned(), kind)));
    wanted.retain(|(name, kind)| {
        kind.is_ours() || arguments.peers.is_empty() || arguments.peers.contains(name)
    });
    Ok(wanted)
}

/// How allocations are counted, or why they are not.
async fn counting<'a>(
    bench: &'a Bench<'a>,
    program: &'a Path,
    works: &[Work],
) -> Result<Allocations<'a>, String> {
    let tasks = works.iter().filter(|work| work.counted).map(|work| work.task).collect();
    Allocations::new(bench, program, tasks).await.map_err(|reason| reason.to_string())
}

async fn count_allocations(counting: &Result<Allocations<'_>, String>, work: &Work, result: &mut WorkResult) {
    let counted = match counting {
        Ok(counting) => counting.per_unit(work.task).await.map_err(|reason| reason.to_string()),
        Err(reason) => Err(reason.clone()),
    };
    match counted {
        Ok(allocations) => drop(result.allocations.insert("resin".to_owned(), allocations)),
        Err(reason) => drop(result.missing.insert("resin, allocations".to_owned(), reason)),
    }
}

fn write(results: &Results, file: &Path) -> Outcome<()> {
    let text = serde_json::to_string_pretty(results)?;
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()).into())
}
