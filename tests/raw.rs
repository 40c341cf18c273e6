//! HTTP by the byte: what clients, origins and nodes send that a careless proxy misreads, in tables.
//!
//! A row says what is sent, what must come of it, and where that is written. Behind each request stands a canary on the
//! same connection: it is answered where the row's request was understood, and never runs where it was not.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

#[allow(clippy::unwrap_used, dead_code, unreachable_pub)] // another test binary uses a part of it too
mod raw {
    pub mod answer_run;
    pub mod answers;
    pub mod behind;
    pub mod challenges;
    pub mod chunks;
    pub mod connect;
    pub mod cuts;
    pub mod early_answers;
    pub mod fields;
    pub mod frames;
    pub mod framing;
    pub mod host;
    pub mod http2;
    pub mod http2_forms;
    pub mod http2_run;
    pub mod judge;
    pub mod node_answers;
    pub mod node_run;
    pub mod origin;
    pub mod request_line;
    pub mod row;
    pub mod run;
    pub mod script;
    pub mod socks;
    pub mod strict;
    pub mod tls_ends;
    pub mod upgrades;
}

use raw::{
    answer_run, answers, behind, challenges, chunks, connect, cuts, early_answers, fields, framing, host,
    http2, http2_forms, http2_run, node_answers, node_run, request_line, row::Row, run, socks, tls_ends,
    upgrades,
};
use support::{
    nodes::{Manner, Nodes, resin_direct, resin_over},
    resin::Resin,
    tls::Authority,
};

async fn on_both_routes(rows: Vec<Row>) {
    let nodes = Nodes::http(&[Manner::Good]).await;
    let (direct, through_node): (Resin, Resin) = tokio::join!(resin_direct(&[]), resin_over(&nodes, 0, &[]));
    run::run(rows, &direct, &through_node).await;
}

#[tokio::test]
async fn the_host_is_one_and_is_a_host() {
    on_both_routes(host::rows()).await;
}

#[tokio::test]
async fn the_request_line_is_read_by_its_grammar() {
    let rows = [request_line::rows(), request_line::pipelines(), request_line::bare_line_feeds()];
    on_both_routes(rows.concat()).await;
}

#[tokio::test]
async fn a_body_ends_in_one_place_or_is_refused() {
    on_both_routes(framing::rows()).await;
}

#[tokio::test]
async fn chunks_are_read_by_their_grammar() {
    on_both_routes(chunks::rows()).await;
}

#[tokio::test]
async fn fields_are_read_by_their_grammar_and_stay_on_their_hop() {
    on_both_routes(fields::rows()).await;
}

#[tokio::test]
async fn nothing_behind_a_connect_is_taken_for_a_request() {
    on_both_routes(connect::rows()).await;
}

#[tokio::test]
async fn what_is_no_answer_is_502() {
    answers_on_both_routes(answers::rows()).await;
}

#[tokio::test]
async fn what_stands_behind_an_answer_is_nobodys() {
    answers_on_both_routes(behind::rows()).await;
}

#[tokio::test]
async fn a_cut_answer_is_seen_to_be_cut_in_every_version() {
    answers_on_both_routes(cuts::rows()).await;
}

async fn answers_on_both_routes(rows: Vec<answer_run::AnswerRow>) {
    let nodes = Nodes::http(&[Manner::Good]).await;
    let settings = [("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "0")];
    let (direct, through_node) = tokio::join!(resin_direct(&settings), resin_over(&nodes, 0, &[]));
    answer_run::run(rows, &[&direct, &through_node]).await;
}

#[tokio::test]
async fn a_node_opens_a_tunnel_or_it_does_not() {
    let resin = Resin::start(&[("RESIN_CONNECT_TIMEOUT", "2s")]).await;
    node_run::run(node_answers::rows(), &resin).await;
}

#[tokio::test]
async fn nothing_of_http2_becomes_something_else_further_on() {
    let resin = resin_direct(&[]).await;
    http2_run::run([http2::rows(), http2_forms::rows()].concat(), &resin).await;
}

#[tokio::test]
async fn a_flood_of_frames_is_bounded_and_others_are_served() {
    let resin = resin_direct(&[]).await;
    http2_run::floods(&resin).await;
}

#[tokio::test]
async fn what_is_sent_behind_an_upgrade_is_the_new_protocols_or_nobodys() {
    let nodes = Nodes::http(&[Manner::Good]).await;
    let (direct, through_node) = tokio::join!(resin_direct(&[]), resin_over(&nodes, 0, &[]));
    upgrades::run(&[&direct, &through_node]).await;
}

#[tokio::test]
async fn what_is_sent_behind_a_challenge_runs_only_where_nothing_is_in_doubt() {
    let resin = resin_direct(&[("RESIN_PROXY_TOKEN", "tok")]).await;
    challenges::run(&resin).await;
}

#[tokio::test]
async fn a_socks_node_opens_a_tunnel_or_it_does_not() {
    socks::run(async |node: &str| {
        let settings = [
            ("RESIN_NODES", node),
            ("RESIN_CONNECT_TIMEOUT", "500ms"),
            ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", "0"),
        ];
        Resin::start(&settings).await
    })
    .await;
}

#[tokio::test]
async fn the_end_of_tcp_is_not_the_end_of_tls() {
    let authority = Authority::new();
    let resin = resin_direct(&[("RESIN_CA_FILE", authority.file())]).await;
    tls_ends::run(&resin, &authority.acceptor("127.0.0.1")).await;
}

#[tokio::test]
async fn the_rest_of_a_body_that_was_answered_early_is_no_request() {
    early_answers::run(&resin_direct(&[]).await).await;
}
