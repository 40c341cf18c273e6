//! Settings as a user writes them.

use std::collections::HashMap;

use super::*;

fn parse_with(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let map: HashMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let ambient = Ambient { root: false, cores: 2, current_dir: PathBuf::from("/here") };
    Config::parse(
        |name| map.get(name).cloned().or_else(|| (name == "HOME").then(|| "/home/somebody".to_owned())),
        &ambient,
    )
}

#[test]
fn nothing_set_is_a_working_configuration() {
    let config = parse_with(&[]).unwrap();
    assert_eq!(config.data_listen.to_string(), "127.0.0.1:2260");
    assert_eq!(config.control_listen.to_string(), "127.0.0.1:2261");
    assert_eq!(config.ops_listen.to_string(), "127.0.0.1:2262");
    assert_eq!(config.data_dir, Path::new("/home/somebody/.local/state/resin"));
    assert_eq!((config.data_threads, config.default_platform_max_retries), (2, 2));
    assert!(matches!(config.database, Database::Private));
}

#[test]
fn every_mistake_is_told_at_once_and_by_name() {
    let mistakes = parse_with(&[
        ("RESIN_DATA_LISTEN", "localhost:1"),
        ("RESIN_DATA_THREADS", "0"),
        ("RESIN_CONNECT_TIMEOUT", "5"),
        ("RESIN_IDLE_TIMEOUT", "0s"),
        ("RESIN_TRACE_PROPAGATE", "maybe"),
        ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "17"),
        ("RESIN_NODES", "direct:// ftp://x http://u:hunter2@h"),
        ("RESIN_CA_FILE", "/no/such/file"),
        ("RESIN_DATABASE_URL", "postgres://u:hunter2@h:x/d"),
        ("RESIN_LOG_FORMAT", "xml"),
    ])
    .unwrap_err()
    .to_string();
    for name in [
        "RESIN_DATA_LISTEN",
        "RESIN_DATA_THREADS",
        "RESIN_CONNECT_TIMEOUT",
        "RESIN_IDLE_TIMEOUT",
        "RESIN_TRACE_PROPAGATE",
        "RESIN_DEFAULT_PLATFORM_MAX_RETRIES",
        "RESIN_NODES: node 2",
        "RESIN_NODES: node 3",
        "RESIN_CA_FILE",
        "RESIN_DATABASE_URL",
        "RESIN_LOG_FORMAT",
    ] {
        assert!(mistakes.contains(name), "{name} is missing in\n{mistakes}");
    }
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
}

#[test]
fn a_port_that_others_can_reach_needs_a_token_or_a_decision() {
    assert!(parse_with(&[("RESIN_DATA_LISTEN", "0.0.0.0:1")]).is_err());
    assert!(parse_with(&[("RESIN_CONTROL_LISTEN", "0.0.0.0:1")]).is_err());
    assert!(parse_with(&[("RESIN_DATA_LISTEN", "0.0.0.0:1"), ("RESIN_PROXY_TOKEN", "")]).is_ok());
    assert!(parse_with(&[("RESIN_DATA_LISTEN", "0.0.0.0:1"), ("RESIN_PROXY_TOKEN", "t")]).is_ok());
    assert!(parse_with(&[("RESIN_OPS_LISTEN", "0.0.0.0:1")]).is_ok());
}

#[test]
fn durations_are_written_with_their_unit() {
    for (text, millis) in [("500ms", 500), ("15s", 15_000), ("10m", 600_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
        assert_eq!(duration(text), Some(Duration::from_millis(millis)));
        assert_eq!(duration(&show(Duration::from_millis(millis))), Some(Duration::from_millis(millis)));
    }
    for text in ["", "5", "s", "-1s", "1.5s", "1 s", "1S", "99999999999999999999s", "1w"] {
        assert_eq!(duration(text), None, "{text:?}");
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_an_error_of_the_data_directory() {
    let long = format!("/{}", "d".repeat(100));
    let mistakes = parse_with(&[("RESIN_DATA_DIR", &long)]).unwrap_err().to_string();
    assert!(mistakes.contains("RESIN_DATA_DIR") && mistakes.contains("107"), "{mistakes}");
    assert!(parse_with(&[("RESIN_DATA_DIR", &long), ("RESIN_DATABASE_URL", "postgres://h/d")]).is_ok());
}

#[test]
fn what_is_in_effect_is_shown_without_secrets() {
    let config = parse_with(&[
        ("RESIN_PROXY_TOKEN", "hunter2"),
        ("RESIN_DATABASE_URL", "postgres://u:hunter2@h/d"),
        ("RESIN_NODES", "http://u:hunter2@h:1"),
    ])
    .unwrap();
    let shown = format!("{:?} {config:?}", config.effective());
    assert!(shown.contains("postgres://h:5432/d"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
