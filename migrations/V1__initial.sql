-- Platforms, nodes, and one row per finished request.

create table platforms (
    id            uuid primary key,
    name          text not null unique,
    regex_filters text[] not null default '{}',
    max_retries   integer not null check (max_retries between 0 and 16),
    -- Counts the changes; the etag is made from it.
    revision      bigint not null default 1,
    create_time   timestamptz not null default now(),
    update_time   timestamptz not null default now()
);

create table nodes (
    -- 32 hex digits: the first 128 bits of SHA-256 over the canonical URI.
    hash        text primary key check (hash ~ '^[0-9a-f]{32}$'),
    -- Canonical, credentials included.
    uri         text not null,
    tags        text[] not null check (cardinality(tags) > 0),
    egress_ip   inet,
    region      text,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now()
);

create table request_logs (
    id                uuid not null,
    started_at        timestamptz not null,
    duration          interval not null,
    proxy_type        text not null,
    client_ip         inet not null,
    platform_id       uuid,
    platform_name     text not null,
    account           text not null,
    target_host       text not null,
    target_port       integer not null,
    target_url        text not null,
    node_hash         text not null,
    node_tag          text not null,
    egress_ip         inet,
    net_ok            boolean not null,
    http_method       text not null,
    http_status       integer not null,
    resin_error       text not null,
    upstream_stage    text not null,
    upstream_phase    text not null,
    upstream_err_kind text not null,
    upstream_errno    text not null,
    upstream_err_msg  text not null,
    request_written   boolean not null,
    ingress_bytes     bigint not null,
    egress_bytes      bigint not null,
    retry_attempts    integer not null,
    retry_details     jsonb not null,
    trace_id          text not null,
    instance_id       uuid not null,
    -- Where in the stream a row stands. A transaction's rows become visible at once, but transactions do not commit in
    -- the order of their numbers: readers stop below the oldest one that is still open.
    xid               xid8 not null default pg_current_xact_id(),
    seq               bigint not null generated always as identity,
    primary key (id),
    check (retry_attempts = jsonb_array_length(retry_details))
);

create index request_logs_newest on request_logs (started_at desc, id desc);
create index request_logs_stream on request_logs (xid, seq);
