//! Requests that no honest client sends: each is answered with a refusal, counted by its reason, and goes no further.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;

use crate::harness::{Backend, Front, Raw, Scripted, Step, expect_no_panic, within};

/// A whole request behind the hostile one. If it is ever answered, the two sides disagreed on where a request ends.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n";

/// What is sent, what is answered, and the reason that is counted.
type Case = (&'static str, String, u16, &'static str);

/// Sends each case on a connection of its own and expects its refusal and nothing else.
async fn expect_refusals(listener: &str, cases: Vec<Case>) {
    let backend = Backend::start("never");
    let front = Front::before(&backend.endpoint(), listener).await;
    let mut faults = Vec::new();
    for (name, request, status, reason) in cases {
        let before = front.refused(reason);
        if let Err(fault) = refusal(front.address, &request, status, reason).await {
            faults.push(format!("{name}: {fault}"));
            continue;
        }
        front.expect_refused(reason, before + 1).await;
        if backend.counters().requests() > 0 {
            faults.push(format!("{name}: it was forwarded"));
            break;
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    expect_no_panic();
}

/// Sends one request with another behind it; says what is wrong with how it was refused.
async fn refusal(
    address: SocketAddr,
    request: &str,
    status: u16,
    reason: &str,
) -> Result<(), String> {
    let mut client = Raw::connect(address).await;
    // The proxy may have seen enough before all was sent.
    let _ = client.try_send(format!("{request}{SMUGGLED}")).await;
    let answer = client.try_response_to("POST").await;
    let answer = answer.map_err(|error| error.to_string())?;
    let proxy_status = answer.field("proxy-status").unwrap_or_default();
    if answer.status() != status || !proxy_status.contains(&format!("details=\"{reason}\"")) {
        return Err(format!("{} and {proxy_status}", answer.status()));
    }
    if answer.keeps_alive() {
        return Err("the connection is kept".into());
    }
    match client.rest().await {
        Ok(rest) if rest.is_empty() => Ok(()),
        Ok(rest) => Err(format!("more came: {}", rest.escape_ascii())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A POST with these lines in its head and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}")
}

#[tokio::test]
async fn lengths_on_which_two_readers_may_disagree() {
    let length = |name, value: &str, reason| -> Case {
        (
            name,
            post(&format!("Content-Length:{value}"), "hello"),
            400,
            reason,
        )
    };
    let both = |name, lines| -> Case { (name, post(lines, "0\r\n\r\n"), 400, "both_lengths") };
    let repeated = |name, lines| -> Case { (name, post(lines, "hello"), 400, "repeated_length") };
    expect_refusals(
        "",
        vec![
            both("CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
            both("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
            both("TE.0", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
            both("0.CL", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
            both(
                "in other case",
                "cOnTeNt-LeNgTh: 5\r\ntRANSFER-eNCODING: cHUNKED",
            ),
            repeated(
                "repeated and equal",
                "Content-Length: 5\r\nContent-Length: 5",
            ),
            repeated(
                "repeated and different",
                "Content-Length: 5\r\nContent-Length: 6",
            ),
            repeated(
                "repeated apart",
                "Content-Length: 5\r\nX: y\r\ncontent-length: 0",
            ),
            length("list", " 5, 5", "repeated_length"),
            length("list of different ones", " 5,6", "repeated_length"),
            length("plus (RUSTSEC-2021-0078)", " +5", "malformed_length"),
            length("minus", " -5", "malformed_length"),
            length("hex", " 0x5", "malformed_length"),
            length("hex digits", " a", "malformed_length"),
            length("empty (CVE-2023-40225)", "", "malformed_length"),
            length("only space", " \t ", "malformed_length"),
            length("inner space", " 5 5", "malformed_length"),
            length("inner tab", " 5\t5", "malformed_length"),
            length("list with an empty item", " 5,", "malformed_length"),
            length("fraction", " 5.0", "malformed_length"),
            length("exponent", " 5e0", "malformed_length"),
            length("underscore", " 1_0", "malformed_length"),
            length("quoted", " \"5\"", "malformed_length"),
            length("parameter", " 5;a=b", "malformed_length"),
            length("2^64", " 18446744073709551616", "malformed_length"),
            length(
                "zeros without end",
                &format!(" {}5", "0".repeat(30)),
                "malformed_length",
            ),
            length("Arabic digits", " \u{665}", "malformed_length"),
            length("vertical tab", " \x0b5", "bad_field_value"),
            length("form feed behind", " 5\x0c", "bad_field_value"),
            length("NUL behind", " 5\0", "nul"),
            length("bare CR in it", " 5\r6", "bare_carriage_return"),
        ],
    )
    .await;
}

#[tokio::test]
async fn transfer_codings_on_which_two_readers_may_disagree() {
    let coding = |name, value: &str, reason| -> Case {
        let lines = format!("Transfer-Encoding:{value}");
        (name, post(&lines, "0\r\n\r\n"), 400, reason)
    };
    let unknown = |name, value| coding(name, value, "unknown_transfer_coding");
    let misplaced = |name, value| coding(name, value, "misplaced_transfer_coding");
    let repeated = |name, value| coding(name, value, "repeated_transfer_coding");
    expect_refusals(
        "",
        vec![
            unknown("gzip", " gzip"),
            unknown("identity", " identity"),
            unknown("empty", ""),
            unknown("comma", " ,"),
            unknown("a prefix", " xchunked"),
            unknown("a suffix", " chunkedx"),
            unknown("cut short", " chunke"),
            unknown("quoted", " \"chunked\""),
            unknown("parameter", " chunked;a=b"),
            unknown("inner space", " chunk ed"),
            unknown("inner tab", " chun\tked"),
            unknown("colon", " : chunked"),
            unknown("long s", " chunked\u{17f}"),
            misplaced("chunked first", " chunked, identity"),
            misplaced("chunked last", " identity, chunked"),
            misplaced("gzip first", " gzip, chunked"),
            misplaced("trailing comma", " chunked,"),
            misplaced("leading comma", " ,chunked"),
            misplaced("tab in the list", " chunked\t,\tidentity"),
            repeated("twice", " chunked, chunked"),
            repeated("fields (RUSTSEC-2021-0020)", " chunked\r\nTransfer-Encoding: chunked"),
            repeated("TE.TE", " chunked\r\nTransfer-encoding: cow"),
            unknown("TE.TE turned", " cow\r\nTransfer-encoding: chunked"),
            repeated("TE.identity", " chunked\r\nTransfer-Encoding: identity"),
            coding("space before the colon", " chunked\r\nTransfer-Encoding : x", "space_before_colon"),
            coding("vertical tab", " \x0bchunked", "bad_field_value"),
            coding("NUL", " chunked\0", "nul"),
            coding("folded", "\r\n chunked", "obs_fold"),
            coding("folded with a tab", " x\r\n\tchunked", "obs_fold"),
            coding("bare CR", " x\rTransfer-Encoding: chunked", "bare_carriage_return"),
            coding("bare LF", " x\nTransfer-Encoding: chunked", "bare_line_feed"),
            (
                "HTTP/1.0 (CVE-2026-2835)",
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
                400,
                "transfer_coding_in_http10",
            ),
            (
                "HTTP/1.0, kept alive",
                "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
                400,
                "transfer_coding_in_http10",
            ),
            (
                "on CONNECT",
                "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
                400,
                "length_in_connect",
            ),
            (
                "length on CONNECT",
                "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n".into(),
                400,
                "length_in_connect",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn lines_and_names_that_are_not_what_they_seem() {
    let line = |name, line: &str, reason| -> Case {
        (
            name,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"),
            400,
            reason,
        )
    };
    expect_refusals(
        "",
        vec![
            line("obs-fold", "A: b\r\n c", "obs_fold"),
            line("obs-fold, tab", "A: b\r\n\tc", "obs_fold"),
            line("fold behind the host", " A: b", "obs_fold"),
            line("bare CR", "A: b\rC: d", "bare_carriage_return"),
            line("CR CR LF", "A: b\r", "bare_carriage_return"),
            line("bare LF", "A: b\nC: d", "bare_line_feed"),
            line("NUL (CVE-2019-9900)", "A: b\0c", "nul"),
            line("NUL in a name", "A\0: b", "nul"),
            line("DEL", "A: b\x7fc", "bad_field_value"),
            line("escape", "A: \x1b[31m", "bad_field_value"),
            line("space before the colon", "A : b", "space_before_colon"),
            line("tab before the colon", "A\t: b", "space_before_colon"),
            line("empty name (CVE-2023-25725)", ": b", "bad_field_name"),
            line("no colon", "A", "bad_field_name"),
            line("space in a name", "A B: c", "bad_field_name"),
            line("brackets in a name", "A(: c", "bad_field_name"),
            line("UTF-8 in a name", "\u{e4}: c", "bad_field_name"),
            (
                "LF alone ends all lines",
                "GET / HTTP/1.1\nHost: a\n\n".into(),
                400,
                "bare_line_feed",
            ),
            (
                "LF ends the head",
                "GET / HTTP/1.1\r\nHost: a\r\n\n".into(),
                400,
                "bare_line_feed",
            ),
            (
                "LF before the request",
                "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                400,
                "bare_line_feed",
            ),
            (
                "CR in the request line",
                "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                400,
                "bare_carriage_return",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn underscores_in_names_where_they_are_refused() {
    let line = |name: &'static str| -> Case {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n");
        (name, request, 400, "underscore_in_field_name")
    };
    let cases = ["X_User", "Content_Length", "X_Forwarded_For"].map(line);
    expect_refusals(", underscores: refuse", cases.into()).await;
}

#[tokio::test]
async fn request_lines_that_are_none() {
    let line = |name, line: &str, status, reason| -> Case {
        (name, format!("{line}\r\nHost: a\r\n\r\n"), status, reason)
    };
    expect_refusals(
        "",
        vec![
            line("HTTP/0.9", "GET /", 400, "bad_target"),
            line("HTTP/1.2", "GET / HTTP/1.2", 505, "bad_version"),
            line("HTTP/2.0", "GET / HTTP/2.0", 505, "bad_version"),
            line("HTTP/3.0", "GET / HTTP/3.0", 505, "bad_version"),
            line("HTTP/1.10", "GET / HTTP/1.10", 400, "malformed_version"),
            line("lower case", "GET / http/1.1", 400, "malformed_version"),
            line("space behind", "GET / HTTP/1.1 ", 400, "malformed_version"),
            line("two spaces", "GET  / HTTP/1.1", 400, "bad_target"),
            line(
                "two spaces before the version",
                "GET /  HTTP/1.1",
                400,
                "malformed_version",
            ),
            line(
                "a space in the target",
                "GET /a b HTTP/1.1",
                400,
                "malformed_version",
            ),
            line("tabs", "GET\t/\tHTTP/1.1", 400, "bad_method"),
            line("no method", " / HTTP/1.1", 400, "bad_method"),
            line("colon in the method", "G:T / HTTP/1.1", 400, "bad_method"),
            line("no slash", "GET a HTTP/1.1", 400, "bad_target"),
            line("a fragment", "GET /a#b HTTP/1.1", 400, "bad_target"),
            line(
                "a control in the target",
                "GET /\x01 HTTP/1.1",
                400,
                "bad_target",
            ),
            line("a NUL in the target", "GET /\0 HTTP/1.1", 400, "nul"),
            line("an asterisk", "GET * HTTP/1.1", 400, "bad_target"),
            line(
                "another scheme",
                "GET gopher://a/ HTTP/1.1",
                400,
                "bad_target",
            ),
            line(
                "user in the authority",
                "GET http://u@a/ HTTP/1.1",
                400,
                "bad_target",
            ),
            line("no authority", "GET http:///a HTTP/1.1", 400, "bad_target"),
            line("authority form", "GET a:80 HTTP/1.1", 400, "bad_target"),
            line(
                "CONNECT without a port",
                "CONNECT a HTTP/1.1",
                400,
                "bad_target",
            ),
            line(
                "CONNECT",
                "CONNECT a:80 HTTP/1.1",
                501,
                "method_not_supported",
            ),
            (
                "TLS to a plain listener",
                "\x16\x03\x01\x02\x00\x01\x00".into(),
                400,
                "nul",
            ),
            (
                "three empty lines",
                "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                400,
                "bad_method",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn hosts_that_are_missing_repeated_or_malformed() {
    let host = |name, lines: &str, reason| -> Case {
        (name, format!("GET / HTTP/1.1\r\n{lines}\r\n"), 400, reason)
    };
    let malformed = |name, value: &str| host(name, &format!("Host: {value}\r\n"), "malformed_host");
    expect_refusals(
        "",
        vec![
            host("missing", "", "missing_host"),
            host("repeated", "Host: a\r\nHost: a\r\n", "repeated_host"),
            host(
                "repeated and different",
                "Host: a\r\nhOST: b\r\n",
                "repeated_host",
            ),
            (
                "repeated in HTTP/1.0",
                "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".into(),
                400,
                "repeated_host",
            ),
            (
                "missing beside an authority",
                "GET http://a/ HTTP/1.1\r\n\r\n".into(),
                400,
                "missing_host",
            ),
            malformed("empty", ""),
            malformed("list", "a, b"),
            malformed("space", "a b"),
            malformed("tab", "a\tb"),
            malformed("user", "u@a"),
            malformed("path", "a/b"),
            malformed("query", "a?b"),
            malformed("fragment", "a#b"),
            malformed("URL", "http://a"),
            malformed("port too large", "a:65536"),
            malformed("port with a sign", "a:+80"),
            malformed("two ports", "a:80:80"),
            malformed("open bracket", "[::1"),
            malformed("no address in brackets", "[a]"),
            malformed("backslash", "a\\b"),
            malformed("quotes", "\"a\""),
        ],
    )
    .await;
}

/// A chunked POST with this body.
fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

#[tokio::test]
async fn chunks_on_which_two_readers_may_disagree() {
    let body = |name, body: &str, reason| -> Case { (name, chunked(body), 400, reason) };
    let size = |name, size: &str, reason| -> Case {
        body(name, &format!("{size}\r\nhello\r\n0\r\n\r\n"), reason)
    };
    let bad_size = |name, written: &str| -> Case { size(name, written, "bad_chunk_size") };
    let bare = |name, written: &str| -> Case { body(name, written, "bare_line_end_in_chunks") };
    let end = |name, written: &str| -> Case { body(name, written, "bad_chunk_end") };
    let trailer =
        |name, line: &str| -> Case { body(name, &format!("0\r\n{line}\r\n\r\n"), "bad_trailer") };
    let forbidden = |name, line: &str| -> Case {
        body(name, &format!("0\r\n{line}\r\n\r\n"), "forbidden_trailer")
    };
    expect_refusals(
        "",
        vec![
            bad_size("no size", ""),
            bad_size("plus", "+5"),
            bad_size("minus", "-5"),
            bad_size("0x", "0x5"),
            bad_size("space before", " 5"),
            bad_size("tab before", "\t5"),
            bad_size("space behind", "5 "),
            bad_size("inner space", "0 5"),
            bad_size("underscore", "0_5"),
            bad_size("comma", "5,5"),
            bad_size("no hex digit", "g"),
            size(
                "17 digits (RUSTSEC-2021-0079)",
                "10000000000000005",
                "chunk_size_too_long",
            ),
            size("zeros without end", &"0".repeat(40), "chunk_size_too_long"),
            bad_size("a NUL", "5\0"),
            size("a bare CR", "5\rX", "bare_line_end_in_chunks"),
            size("CR CR LF", "5\r", "bare_line_end_in_chunks"),
            size(
                "a control in an extension",
                "5;a=\x01",
                "bad_chunk_extension",
            ),
            size(
                "a bare CR in an extension",
                "5;a\rb",
                "bare_line_end_in_chunks",
            ),
            size(
                "a bare LF in an extension",
                "5;a\nb",
                "bare_line_end_in_chunks",
            ),
            size(
                "a bare LF in a quoted extension",
                "5;a=\"\n\"",
                "bare_line_end_in_chunks",
            ),
            bad_size("an extension without a semicolon", "5 a=b"),
            body(
                "an extension without end",
                &format!("5;{}", "a".repeat(5000)),
                "chunk_extensions_too_long",
            ),
            body(
                "many extensions",
                &"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(120),
                "chunk_extensions_too_long",
            ),
            bare("LF alone", "5\nhello\n0\n\n"),
            bare("LF behind the size", "5\nhello\r\n0\r\n\r\n"),
            end("LF behind the data", "5\r\nhello\n0\r\n\r\n"),
            end("nothing behind the data", "5\r\nhello0\r\n\r\n"),
            end("two bytes behind the data", "5\r\nhelloXX0\r\n\r\n"),
            end("a chunk that is too long", "5\r\nhello!\r\n0\r\n\r\n"),
            end("a chunk that is too short", "5\r\nhell\r\n0\r\n\r\n"),
            bare("LF ends the message", "5\r\nhello\r\n0\r\n\n"),
            bare("CR ends the message", "5\r\nhello\r\n0\r\n\rX"),
            bare("LF in trailers", "0\r\nA: b\n\r\n"),
            trailer("a folded trailer", "A: b\r\n c"),
            trailer("a NUL in a trailer", "A: \0"),
            trailer("space before a trailer's colon", "A : b"),
            trailer("an empty trailer name", ": b"),
            trailer("many trailers", "A: b\r\n".repeat(70).trim_end()),
            body(
                "trailers without end",
                &format!("0\r\n{}", "A: b\r\n".repeat(4000)),
                "trailers_too_long",
            ),
            forbidden("trailer Content-Length", "Content-Length: 5"),
            forbidden("trailer Transfer-Encoding", "Transfer-Encoding: chunked"),
            forbidden("trailer Host", "Host: b"),
        ],
    )
    .await;
}

/// A fault that comes after the head went on: the endpoint must not take what it got for a whole message.
#[tokio::test]
async fn a_late_fault_never_ends_the_message_at_the_endpoint() {
    for (fault, reason) in [
        ("5\r\nhellooo\r\n0\r\n\r\n".to_owned(), "bad_chunk_end"),
        ("x\r\n".to_owned(), "bad_chunk_size"),
        (
            format!("0\r\nA: {}", "b".repeat(40_000)),
            "trailers_too_long",
        ),
        (
            "0\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "forbidden_trailer",
        ),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let front = Front::before(&address, "").await;
        let mut client = Raw::connect(front.address).await;
        client.send(chunked("5\r\nhello\r\n")).await;
        let (mut endpoint, _) = within(listener.accept()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello\r\n") {
            within(endpoint.read_buf(&mut seen)).await.unwrap();
        }
        let _ = client.try_send(format!("{fault}{SMUGGLED}")).await;
        assert_eq!(client.response().await.status(), 400);
        client.expect_closed().await;
        front.expect_refused(reason, 1).await;
        let _ = within(endpoint.read_to_end(&mut seen)).await;
        let seen = String::from_utf8_lossy(&seen);
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
        assert!(!seen.contains("/smuggled"), "{seen}");
    }
    expect_no_panic();
}

/// What is odd but means one thing to everybody is served, and the bytes of a body are never a request.
#[tokio::test]
async fn odd_requests_that_mean_one_thing_are_served_as_that() {
    let length = SMUGGLED.len();
    let ok = Step::ok();
    for (name, request, body) in [
        ("GET with a body", format!("GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"), length),
        ("upper case", format!("POST /1 HTTP/1.1\r\nHOST: a\r\nTRANSFER-ENCODING:\tCHUNKED \r\n\r\n2f;a=\"\\\"b\"\r\n{SMUGGLED:47}\r\n0\r\n\r\n"), 47 + 4 + 2 + 5),
        ("leading zeros", format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 000{length}\r\n\r\n{SMUGGLED}"), length),
        ("an empty line before", "\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 0),
        ("Host nominated", "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, host, x-forwarded-for, forwarded\r\n\r\n".to_owned(), 0),
        ("length nominated", format!("POST /1 HTTP/1.1\r\nHost: a\r\nConnection: content-length, transfer-encoding\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"), length),
        ("another authority", "GET http://a/1 HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(), 0),
        ("another authority in capitals", "GET HTTP://a/1 HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(), 0),
    ] {
        let endpoint = Scripted::play(vec![vec![
            Step::ReadHead, Step::ReadBytes(body), ok.clone(), Step::ReadHead, ok.clone(), Step::Stall,
        ]])
        .await;
        let front = Front::before(&endpoint.address().to_string(), "").await;
        let mut client = Raw::connect(front.address).await;
        client.send(format!("{request}GET /2 HTTP/1.1\r\nHost: c\r\n\r\n")).await;
        for _ in 0..2 {
            assert_eq!(client.response().await.text(), "ok", "{name}");
        }
        let heads = endpoint.heads();
        assert_eq!(heads.len(), 2, "{name}: {heads:?}");
        assert!(heads[0].first_line.contains(" /1 "), "{name}: {heads:?}");
        assert!(heads[1].first_line.contains(" /2 "), "{name}: {heads:?}");
        assert_eq!(heads[0].field("host"), Some("a"), "{name}");
        assert_eq!(heads[0].field("x-forwarded-for"), Some("127.0.0.1"), "{name}");
        assert_eq!(heads[1].field("host"), Some("c"), "{name}");
    }
    expect_no_panic();
}
