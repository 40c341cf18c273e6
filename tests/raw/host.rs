//! `Host`, and the authority of the target: exactly one, and exactly a host and a port.

use super::row::{CONNECT, FORWARD, REVERSE, Row, refused, rejected, up, up_and_end};
use crate::support::client::{EXCHANGES, WAYS};

const INVALID_HOST: &str = "INVALID_HOST";

pub fn rows() -> Vec<Row> {
    [bad_values(), counts(), good_values(), absolute_targets(), connect_targets(), reverse_targets()].concat()
}

/// Values that are no `host[:port]`.
fn bad_values() -> Vec<Row> {
    let values = [
        ("empty", ""),
        ("only white space", " \t "),
        ("user information", "user@127.0.0.1"),
        ("user information and a password", "user:pass@127.0.0.1:80"),
        ("an empty user", "@127.0.0.1"),
        ("a list", "127.0.0.1, 127.0.0.2"),
        ("a list without spaces", "a.test,b.test"),
        ("a comma at its end", "a.test,"),
        ("two words", "a.test b.test"),
        ("two words by a tab", "a.test\tb.test"),
        ("a space before the port", "a.test :80"),
        ("a space within the port", "a.test: 80"),
        ("an empty port", "a.test:"),
        ("port 0", "a.test:0"),
        ("port 65536", "a.test:65536"),
        ("a port of eleven digits", "a.test:42949672976"),
        ("a signed port", "a.test:+80"),
        ("a negative port", "a.test:-80"),
        ("a port in hex", "a.test:0x50"),
        ("a port with a letter", "a.test:80a"),
        ("a named port", "a.test:http"),
        ("two ports", "a.test:80:80"),
        ("a port alone", ":80"),
        ("an open bracket", "[::1"),
        ("a closing bracket", "::1]"),
        ("a bracket in a name", "a[.test"),
        ("a closing bracket in a name", "a].test"),
        ("empty brackets", "[]"),
        ("a name in brackets", "[a.test]"),
        ("IPv4 in brackets", "[127.0.0.1]"),
        ("text behind brackets", "[::1]a.test"),
        ("a port without its colon", "[::1]80"),
        ("IPv6 without brackets", "::1"),
        ("a path", "a.test/x"),
        ("a query", "a.test?x"),
        ("a fragment", "a.test#x"),
        ("a URL", "http://a.test"),
        ("a URL with a path", "http://a.test/"),
        ("a backslash", "a\\b.test"),
        ("a quoted name", "\"a.test\""),
        ("a star", "*"),
        ("a bar", "a|b.test"),
        ("an angle bracket", "<a.test>"),
        ("a brace", "{a}.test"),
        ("a circumflex", "a^b.test"),
        ("a semicolon", "a.test;b"),
        ("a byte beyond ASCII", "\u{e4}.test"),
        ("UTF-8", "\u{c3}\u{a4}.test"),
    ];
    let say = |value| format!("GET <T> HTTP/1.1\r\nHost: {value}\r\n\r\n");
    values
        .iter()
        .map(|(what, value)| refused("9112 3.2", &format!("Host is {what}"), say(value), INVALID_HOST))
        .collect()
}

fn counts() -> Vec<Row> {
    vec![
        refused("9112 3.2", "no Host", "GET <T> HTTP/1.1\r\nX-A: b\r\n\r\n", INVALID_HOST),
        refused("9112 3.2", "nothing but a request line", "GET <T> HTTP/1.1\r\n\r\n", INVALID_HOST),
        refused(
            "9112 3.2",
            "two Hosts that differ",
            "GET <T> HTTP/1.1\r\nHost: <A>\r\nHost: b.test\r\n\r\n",
            INVALID_HOST,
        ),
        refused(
            "9112 3.2",
            "two Hosts that are equal",
            "GET <T> HTTP/1.1\r\nHost: <A>\r\nHost: <A>\r\n\r\n",
            INVALID_HOST,
        ),
        refused(
            "9112 3.2",
            "two Hosts, one in capitals",
            "GET <T> HTTP/1.1\r\nHOST: <A>\r\nX-A: b\r\nhost: b.test\r\n\r\n",
            INVALID_HOST,
        ),
        refused(
            "9112 3.2",
            "two Hosts, the second empty",
            "GET <T> HTTP/1.1\r\nHost: <A>\r\nHost:\r\n\r\n",
            INVALID_HOST,
        ),
        refused(
            "9112 3.2",
            "three Hosts",
            "GET <T> HTTP/1.1\r\nHost: <A>\r\nHost: <A>\r\nHost: <A>\r\n\r\n",
            INVALID_HOST,
        ),
        refused(
            "9112 3.2",
            "two Hosts in HTTP/1.0",
            "GET <T> HTTP/1.0\r\nHost: <A>\r\nHost: b.test\r\n\r\n",
            INVALID_HOST,
        ),
        refused(
            "9112 3.2",
            "a Host with user information in HTTP/1.0",
            "GET <T> HTTP/1.0\r\nHost: a@b.test\r\n\r\n",
            INVALID_HOST,
        ),
        refused(
            "9112 3.2",
            "a Host that Connection names",
            "GET <T> HTTP/1.1\r\nConnection: host\r\n\r\n",
            INVALID_HOST,
        ),
        rejected("9112 5.1", "Host with a space before its colon", "GET <T> HTTP/1.1\r\nHost : <A>\r\n\r\n"),
        rejected("9112 5.2", "Host on a folded line", "GET <T> HTTP/1.1\r\nHost:\r\n <A>\r\n\r\n"),
        rejected(
            "9112 5.2",
            "a second Host hidden by a fold",
            "GET <T> HTTP/1.1\r\nHost: <A>\r\n Host: b.test\r\n\r\n",
        ),
        rejected("9110 5.5", "a NUL in Host", "GET <T> HTTP/1.1\r\nHost: a\0.test\r\n\r\n"),
        rejected("9112 2.2", "a bare CR in Host", "GET <T> HTTP/1.1\r\nHost: a.test\rb.test\r\n\r\n"),
        up_and_end("9112 3.2", "no Host in HTTP/1.0", "GET <T> HTTP/1.0\r\n\r\n", "GET /it"),
    ]
}

fn good_values() -> Vec<Row> {
    let values = [
        ("as the target", "<A>"),
        ("without a space", "<A>"),
        ("with white space around", " \t <A> \t"),
        ("another name", "somebody.else.test"),
        ("another name with a port", "somebody.else.test:8080"),
        ("in capitals", "SOMEBODY.ELSE.TEST"),
        ("IPv6", "[::1]"),
        ("IPv6 with a port", "[2001:db8::1]:65535"),
        ("with an underscore", "a_b.test"),
        ("with a dot at its end", "a.test."),
        ("one label", "localhost"),
    ];
    let rows = values.iter().map(|(what, value)| {
        let space = if *what == "without a space" { "" } else { " " };
        let say = format!("GET <T> HTTP/1.1\r\nHost:{space}{value}\r\n\r\n");
        up("9112 3.2.2", &format!("Host {what}; the target decides"), say, "GET /it").on(&WAYS)
    });
    let mut rows: Vec<Row> = rows.collect();
    let last = "GET <T> HTTP/1.1\r\nX-A: b\r\nHost: <A>\r\n\r\n";
    rows.push(up("9110 7.2", "Host behind another field", last, "GET /it\nX-A: b"));
    let kept = "GET <T> HTTP/1.1\r\nHost: <A>\r\nConnection: host\r\n\r\n";
    rows.push(up("9110 7.6.1", "Connection names Host, which stays", kept, "GET /it"));
    rows
}

fn absolute_targets() -> Vec<Row> {
    let bad = [
        ("user information", "http://user@<A>/it"),
        ("a password", "http://user:pass@<A>/it"),
        ("an empty user", "http://@<A>/it"),
        ("an empty port", "http://127.0.0.1:/it"),
        ("port 0", "http://127.0.0.1:0/it"),
        ("port 65536", "http://127.0.0.1:65536/it"),
        ("a port that wraps round", "http://127.0.0.1:4295032832/it"),
        ("a port of many digits", "http://127.0.0.1:000000000000080/it"),
        ("a signed port", "http://127.0.0.1:+80/it"),
        ("a port with a letter", "http://127.0.0.1:80a/it"),
        ("two ports", "http://127.0.0.1:80:<P>/it"),
        ("no host", "http:///it"),
        ("a port and no host", "http://:<P>/it"),
        ("an open bracket", "http://[::1/it"),
        ("text behind brackets", "http://[::1]x/it"),
        ("a list", "http://a.test,b.test/it"),
        ("an encoded host", "http://%31.test/it"),
        ("a number for an address", "http://2130706433/it"),
        ("three numbers", "http://127.0.1/it"),
        ("hex numbers", "http://0x7f.0.0.1/it"),
        ("an address beyond its range", "http://127.0.0.256:<P>/it"),
        ("an empty label", "http://a..test/it"),
        ("a scheme of files", "ftp://<A>/it"),
        ("a scheme of WebSocket", "ws://<A>/it"),
        ("an unknown scheme", "httpx://<A>/it"),
        ("a scheme that begins like http", "http+unix://<A>/it"),
    ];
    let say = |target| format!("GET {target} HTTP/1.1\r\nHost: <A>\r\n\r\n");
    let mut rows: Vec<Row> = bad
        .iter()
        .map(|(what, target)| {
            refused("9112 3.2.2", &format!("a target with {what}"), say(target), "*").on(FORWARD)
        })
        .collect();
    let good = [
        ("no path", "http://<A>", "GET /"),
        ("a query and no path", "http://<A>?q=1", "GET /?q=1"),
        ("its scheme in capitals", "HTTP://<A>/it", "GET /it"),
        ("dots and escapes", "http://<A>/a/../%2e/b%2F?x=/../y", "GET /a/../%2e/b%2F?x=/../y"),
        ("a port of five digits", "http://127.0.0.1:<P>/it", "GET /it"),
        ("an authority in its query", "http://<A>/it?u=http://x@b.test/", "GET /it?u=http://x@b.test/"),
    ];
    rows.extend(good.iter().map(|(what, target, heard)| {
        up("9112 3.2.2", &format!("a target with {what}"), say(target), heard).on(FORWARD)
    }));
    rows
}

fn connect_targets() -> Vec<Row> {
    let bad = [
        ("no port", "127.0.0.1"),
        ("an empty port", "127.0.0.1:"),
        ("port 0", "127.0.0.1:0"),
        ("port 65536", "127.0.0.1:65536"),
        ("a signed port", "127.0.0.1:+<P>"),
        ("a port with a letter", "127.0.0.1:<P>a"),
        ("two ports", "127.0.0.1:<P>:<P>"),
        ("no host", ":<P>"),
        ("user information", "user@<A>"),
        ("a path", "<A>/"),
        ("a query", "<A>?x"),
        ("a URL", "http://<A>/"),
        ("a URL without a path", "http://<A>"),
        ("a star", "*"),
        ("a path alone", "/it"),
        ("a list", "a.test,b.test:80"),
        ("an encoded host", "127.0.0%2e1:<P>"),
        ("an open bracket", "[::1:<P>"),
        ("a fragment", "<A>#x"),
    ];
    bad.iter()
        .map(|(what, target)| {
            let say = format!("CONNECT {target} HTTP/1.1\r\nHost: <A>\r\n\r\n");
            refused("9112 3.2.3", &format!("CONNECT to {what}"), say, "*").on(CONNECT)
        })
        .collect()
}

fn reverse_targets() -> Vec<Row> {
    let bad = [
        ("user information", "user@<A>"),
        ("encoded user information", "user%40<A>"),
        ("an encoded slash", "127.0.0.1%2f:<P>"),
        ("an encoded space", "127.0.0.1%20:<P>"),
        ("an encoded CR LF", "127.0.0.1%0d%0aX-A:%20b"),
        ("an encoded NUL", "127.0.0.1%00:<P>"),
        ("port 0", "127.0.0.1:0"),
        ("port 65536", "127.0.0.1:65536"),
        ("an empty port", "127.0.0.1:"),
        ("an encoded signed port", "127.0.0.1:%2b<P>"),
        ("an encoded port with a space", "127.0.0.1:%20<P>"),
        ("no host", ""),
        ("an encoded query", "127.0.0.1%3fx:<P>"),
        ("an encoded fragment", "127.0.0.1%23x:<P>"),
        ("a host encoded twice", "127.0.0.1%253a<P>"),
        ("a broken escape", "127.0.0.1%4:<P>"),
        ("no UTF-8", "%ff.test:<P>"),
    ];
    let rows = bad.iter().map(|(what, host)| {
        let say = format!("GET /any/Default/http/{host}/it HTTP/1.1\r\nHost: <A>\r\n\r\n");
        let row = refused("9110 7.4", &format!("a reverse target with {what}"), say, "*");
        // It is our own path that is wrong here, and nothing is unclear about where the request ends.
        Row { then: super::row::Then::Told(400), ..row }.on(REVERSE)
    });
    let mut rows: Vec<Row> = rows.collect();
    let encoded = "GET /any/Default/http/127.0.0.1%3a<P>/it%2fx?%41 HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(up("3986 2.4", "a host whose colon is encoded", encoded, "GET /it%2fx?%41").on(REVERSE));
    let colon = "GET <T>:80@b.test/ HTTP/1.1\r\nHost: <A>\r\n\r\n";
    rows.push(up("3986 3.3", "an authority's signs in a path", colon, "GET /it:80@b.test/").on(&EXCHANGES));
    rows
}
