//! The command: environment and flags become settings, then one `match` over the subcommands.

use std::{env, io::Write as _, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command};
use resin::{
    app,
    config::{Ambient, Config, SETTINGS},
    demo,
    drain::StopSignals,
    store::{PrivateServer, Store},
    telemetry::logs,
};

/// Gives memory back to the system some seconds after it was freed. The C library's keeps most of what ten thousand
/// clients once had.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads for everything that is not the data plane.
const CONTROL_THREADS: usize = 2;
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("threads: {error}")),
    };
    let code = runtime.block_on(async {
        match matches.subcommand() {
            Some(("migrate", flags)) => with_config(flags, migrate).await,
            Some(("demo", flags)) => demo::run(flags.get_flag("once")).await,
            Some((_, flags)) => with_config(flags, serve).await,
            None => with_config(&matches, serve).await,
        }
    });
    runtime.shutdown_background();
    code
}

fn command() -> Command {
    let serve =
        with_settings(Command::new("serve").about("Serve the data, control and ops ports (the default)"));
    let migrate =
        with_settings(Command::new("migrate").about("Bring the database's schema up to date, then leave"));
    let once =
        Arg::new("once").long("once").action(ArgAction::SetTrue).help("Leave when everything was shown");
    let demo = Command::new("demo").about("A small world of good and bad nodes, told as a story").arg(once);
    with_settings(Command::new("resin"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("An HTTP data plane over a pool of proxy nodes: retries only what was proven unsent")
        .args_conflicts_with_subcommands(true)
        .subcommands([serve, migrate, demo])
}

/// Every setting as a flag. What the flags hold is parsed with the environment, so that all mistakes are told at once.
fn with_settings(command: Command) -> Command {
    SETTINGS.iter().fold(command, |command, setting| {
        let help = format!("{} [{}; default: {}]", setting.help, setting.env, setting.default);
        command.arg(
            Arg::new(setting.env).long(setting.flag).value_name("VALUE").allow_hyphen_values(true).help(help),
        )
    })
}

async fn with_config<F: Future<Output = ExitCode>>(
    flags: &ArgMatches,
    run: impl FnOnce(Config) -> F,
) -> ExitCode {
    let lookup = |name: &str| {
        let flag = flags.try_get_one::<String>(name).ok().flatten().cloned();
        flag.or_else(|| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    };
    let ambient = Ambient {
        root: rustix::process::geteuid().is_root(),
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        current_dir: env::current_dir().unwrap_or_default(),
    };
    match Config::parse(lookup, &ambient) {
        Ok(config) => {
            logs::init(&config.log, config.log_format);
            run(config).await
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(WRONG_SETTINGS)
        }
    }
}

/// Each connection is a descriptor or two, and the usual limit is for programs that have few.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(from = current, to = maximum, "raised the limit of file descriptors"),
        Err(error) => tracing::warn!(limit = current, %error, "cannot raise the limit of file descriptors"),
    }
}

async fn serve(config: Config) -> ExitCode {
    raise_descriptor_limit();
    let mut signals = match StopSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals: {error}")),
    };
    let bound = match app::bind(config, |name| env::var(name).ok()).await {
        Ok(bound) => bound,
        Err(error) => return failed(&error.to_string()),
    };
    let addresses = bound.addresses();
    say(&format!("resin data {}", addresses.data));
    say(&format!("resin control {}", addresses.control));
    say(&format!("resin ops {}", addresses.ops));
    let opened = tokio::select! {
        opened = bound.open() => opened,
        () = signals.next() => return ExitCode::SUCCESS,
    };
    let app = match opened {
        Ok(app) => app,
        Err(error) => return failed(&error.to_string()),
    };
    say("resin ready");
    signals.next().await;
    tracing::info!("draining: a second signal stops at once");
    tokio::select! {
        () = app.stop() => ExitCode::SUCCESS,
        () = signals.next() => ExitCode::FAILURE,
    }
}

async fn migrate(config: Config) -> ExitCode {
    use resin::config::Database;
    let private = match &config.database {
        Database::Url { .. } => None,
        Database::Private => match PrivateServer::start(&config.data_dir).await {
            Ok(server) => Some(server),
            Err(error) => return failed(&error.to_string()),
        },
    };
    let store = match (&config.database, &private) {
        (Database::Url { url, ca_file }, _) => Store::open(url, ca_file.as_deref()),
        (Database::Private, Some(server)) => Store::open(server.url(), None),
        (Database::Private, None) => return failed("there is no database"),
    };
    let migrated = match store {
        Ok(store) => store.migrate().await,
        Err(error) => Err(error),
    };
    if let Some(server) = private {
        server.stop().await;
    }
    match migrated {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

/// Announcements go to standard output; a reader that is gone is no reason to end.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn failed(why: &str) -> ExitCode {
    eprintln!("resin: {why}");
    ExitCode::FAILURE
}
