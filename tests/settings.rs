//! Settings: environment or flag, every mistake at once, exit status 2, and no secret repeated.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use support::{
    postgres::Database,
    resin::{DEFAULTS, Ended, Process, Resin},
};

/// What `resin serve` says to these settings alone, which are wrong.
async fn refused(settings: &[(&str, &str)]) -> Ended {
    let ended = Process::spawn(&["serve"], settings).ended().await;
    assert_eq!(ended.status.code(), Some(2), "{settings:?}: {ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    ended
}

#[tokio::test]
async fn each_wrong_setting_is_named_with_what_is_allowed() {
    let wrong = [
        ("RESIN_DATA_LISTEN", "2260"),
        ("RESIN_DATA_LISTEN", "nowhere"),
        ("RESIN_CONTROL_LISTEN", "127.0.0.1"),
        ("RESIN_OPS_LISTEN", "127.0.0.1:99999"),
        ("RESIN_DATABASE_URL", "not a url"),
        ("RESIN_DATA_THREADS", "0"),
        ("RESIN_DATA_THREADS", "many"),
        ("RESIN_POOL_MAX_IDLE", "-1"),
        ("RESIN_POOL_IDLE_TIMEOUT", "30"),
        ("RESIN_POOL_MAX_AGE", "soon"),
        ("RESIN_LOG_QUEUE", "0"),
        ("RESIN_CA_FILE", "/nowhere/ca.pem"),
        ("RESIN_NODES", "direct:// gopher://10.0.0.1:70"),
        ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "17"),
        ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "two"),
        ("RESIN_CONNECT_TIMEOUT", "5"),
        ("RESIN_CONNECT_TIMEOUT", "-5s"),
        ("RESIN_RETRY_DEADLINE", "15 parsecs"),
        ("RESIN_RESPONSE_TIMEOUT", "1.s"),
        ("RESIN_IDLE_TIMEOUT", "s"),
        ("RESIN_DRAIN_TIMEOUT", "99999999999999999999s"),
        ("RESIN_TRACE_PROPAGATE", "perhaps"),
        ("RESIN_TARGETS", "private"),
        ("RESIN_LOG_RETENTION", "week"),
        ("RESIN_PROXY_TOKEN_FILE", "/nowhere/token"),
    ];
    for (name, value) in wrong {
        let others: Vec<_> = DEFAULTS.into_iter().filter(|(other, _)| !name.starts_with(other)).collect();
        let nowhere = ("RESIN_DATABASE_URL", "postgres://resin@127.0.0.1:1/resin");
        let ended = refused(&[&[nowhere], &others[..], &[(name, value)]].concat()).await;
        assert!(ended.stderr.contains(name.trim_end_matches("_FILE")), "{name}={value}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn all_mistakes_come_at_once() {
    let wrong = [
        ("RESIN_DATA_LISTEN", "nowhere"),
        ("RESIN_DATABASE_URL", "postgres://resin:hunter2@"),
        ("RESIN_CONNECT_TIMEOUT", "5"),
        ("RESIN_NODES", "http://tom:hunter3@10.0.0.1:99999"),
        ("RESIN_TRACE_PROPAGATE", "perhaps"),
        ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "99"),
    ];
    let ended = refused(&wrong).await;
    for (name, _) in wrong.iter().filter(|(name, _)| *name != "RESIN_DATABASE_URL") {
        assert!(ended.stderr.contains(name), "{name} is missing: {}", ended.stderr);
    }
    for secret in ["hunter2", "hunter3"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn an_open_bind_with_an_unset_token_is_refused_and_an_empty_token_is_a_decision() {
    let cases = [("RESIN_DATA_LISTEN", "RESIN_PROXY_TOKEN"), ("RESIN_CONTROL_LISTEN", "RESIN_ADMIN_TOKEN")];
    for (listen, token) in cases {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let ended = refused(&[(listen, address)]).await;
            assert!(ended.stderr.contains(token), "{listen}={address}: {}", ended.stderr);
        }
    }
    let resin =
        Resin::start(&[("RESIN_DATA_LISTEN", "0.0.0.0:0"), ("RESIN_CONTROL_LISTEN", "0.0.0.0:0")]).await;
    assert_eq!(resin.data.ip().to_string(), "0.0.0.0");
}

#[tokio::test]
async fn a_token_and_its_file_together_are_a_mistake() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "open-sesame").unwrap();
    let settings =
        [("RESIN_ADMIN_TOKEN", "close-sesame"), ("RESIN_ADMIN_TOKEN_FILE", file.path().to_str().unwrap())];
    let ended = refused(&settings).await;
    assert!(ended.stderr.contains("RESIN_ADMIN_TOKEN"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("-sesame"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_data_dir_too_deep_for_its_socket_is_refused() {
    let deep = format!("/tmp/{}", "d".repeat(110));
    let ended = refused(&[&DEFAULTS[..], &[("RESIN_DATA_DIR", deep.as_str())]].concat()).await;
    assert!(ended.stderr.contains("RESIN_DATA_DIR") && ended.stderr.contains("107"), "{}", ended.stderr);
}

#[tokio::test]
async fn every_setting_is_a_flag_too_and_the_flag_wins() {
    let database = Database::new().await;
    let flags = [
        "serve",
        "--data-listen",
        "127.0.0.1:0",
        "--control-listen=127.0.0.1:0",
        "--ops-listen=127.0.0.1:0",
        "--database-url",
        &database.url,
        "--default-platform-max-retries=7",
        "--connect-timeout=1250ms",
        "--trace-propagate=true",
        "--nodes=direct://#by-flag",
    ];
    let environment = [("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "3"), ("RESIN_CONNECT_TIMEOUT", "9s")];
    let resin = Resin::ready(Process::spawn(&flags, &environment)).await;

    assert_eq!(resin.grpc().platform("Default").await.unwrap().max_retries, Some(7));
    assert_eq!(resin.grpc().all_nodes().await[0].tags, ["by-flag"]);
    let info = resin.grpc().system.get_system_info(resin::proto::GetSystemInfoRequest {}).await.unwrap();
    let settings = info.into_inner().settings;
    assert_eq!(settings["RESIN_CONNECT_TIMEOUT"], "1250ms");
    assert_eq!(settings["RESIN_TRACE_PROPAGATE"], "true");
}

#[tokio::test]
async fn an_unknown_flag_is_a_mistake_and_help_names_every_setting() {
    let ended = Process::spawn(&["serve", "--colour"], &[]).ended().await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");

    let help = Process::spawn(&["serve", "--help"], &[]).ended().await;
    assert_eq!(help.status.code(), Some(0));
    let text = help.stdout.join("\n");
    for flag in
        ["data-listen", "proxy-token", "admin-token-file", "database-url", "data-dir", "retry-deadline"]
    {
        assert!(text.contains(&format!("--{flag}")), "--{flag} is not in: {text}");
    }
}

#[tokio::test]
async fn a_default_of_no_retries_is_allowed() {
    for value in ["0", "-1"] {
        let resin = Resin::start(&[("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", value)]).await;
        let retries = resin.grpc().platform("Default").await.unwrap().max_retries;
        assert!(retries.is_some_and(|retries| retries <= 0), "{value}: {retries:?}");
    }
}
