use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<ConnectionUrl, UrlProblem> {
    ConnectionUrl::parse(&text.into())
}

fn text(value: &SecretValue) -> &str {
    value.expose_text().unwrap()
}

fn hosts(text: &str) -> Vec<String> {
    let hosts = parse(text).unwrap_or_else(|(error, _)| panic!("{text}: {error}")).hosts;
    hosts.iter().map(|host| format!("{} {}", host.name, host.port)).collect()
}

#[test]
fn replaces_role_and_password_and_keeps_the_rest_byte_for_byte() {
    for (before, after) in [
        ("postgresql://a:hunter2@", "@db/orders"),
        ("postgres://a:x:y@", "@db:6432/orders?sslmode=require&application_name=a%20b&x"),
        (
            "postgresql://a%5F:%2F%40%ff@",
            "@one:1,two,[::1]:3/o%72ders?target_session_attrs=primary",
        ),
        ("postgresql://a:p@", "@/orders?host=/var/run/postgresql&port=5433"),
        ("postgresql://a:p@", "@%2Fvar%2Frun/orders?options=-c%20statement_timeout%3D5s&&a=b=c"),
    ] {
        let url = parse(&format!("{}{after}", before.trim_end_matches('@'))).unwrap();
        let scheme = before.split_once("//").unwrap().0;
        let changed = url.with_credentials("we\"ird Rolé", &"p@/:?#%".into()).unwrap();
        let expected = format!("{scheme}//we%22ird%20Rol%C3%A9:p%40%2F%3A%3F%23%25{after}");
        assert_eq!(text(&changed), expected);
        let again = parse(&expected).unwrap();
        assert_eq!(
            (again.role.as_str(), again.password.as_slice()),
            ("we\"ird Rolé", b"p@/:?#%".as_slice())
        );
        assert_eq!(again.hosts, url.hosts);
        assert_eq!((again.database.as_deref(), again.tls), (Some("orders"), url.tls));
    }
}

#[test]
fn reads_hosts_before_and_among_the_parameters() {
    for (url, expected) in [
        ("postgresql://a:p@db/o", vec!["db 5432"]),
        ("postgresql://a:p@db:/o", vec!["db 5432"]),
        ("postgresql://a:p@one:1,two,[fe80::1]:3/o", vec!["one 1", "two 5432", "fe80::1 3"]),
        ("postgresql://a:p@%2Frun:7/o", vec!["/run 7"]),
        ("postgresql://a:p@?host=one,two&port=7&dbname=o", vec!["one 7", "two 7"]),
        ("postgresql://a:p@/o?port=7,8&host=one,two", vec!["one 7", "two 8"]),
    ] {
        assert_eq!(hosts(url), expected, "{url}");
    }
}

#[test]
fn rejects_other_texts() {
    for url in [
        "",
        "hunter2",
        "host=db user=a password=hunter2 dbname=o",
        "jdbc:postgresql://a:hunter2@db/o",
        "http://a:hunter2@db/o",
        "postgresql:/a:hunter2@db/o",
        "postgresql://db/o",
        "postgresql://a@db/o",
        "postgresql://a:@db/o",
        "postgresql://:hunter2@db/o",
        "postgresql://a:hunter2@",
        "postgresql://a:hunter2@/o",
        "postgresql://a:hunter2@db:0/o",
        "postgresql://a:hunter2@db:65536/o",
        "postgresql://a:hunter2@db:x/o",
        "postgresql://a:hunter2@db,/o",
        "postgresql://a:hunter2@[::1/o",
        "postgresql://a:hunter2@[::1]5/o",
        "postgresql://a:hunter2@x@db/o",
        "postgresql://a:hunter2/x@db/o",
        "postgresql://a:hunter2?x@db/o",
        "postgresql://a:hunter2#x@db/o",
        "postgresql://a:hunter2%@db/o",
        "postgresql://a:hunter2%4@db/o",
        "postgresql://a:hunter2%é@db/o",
        "postgresql://a:hunter2%00@db/o",
        "postgresql://a%ff:hunter2@db/o",
        "postgresql://a:hunter2@db/o\n",
        "postgresql://a:hunter2 x@db/o",
        "postgresql://a:p@db/o?password=hunter2",
        "postgresql://a:p@db/o?%75ser=hunter2",
        "postgresql://a:p@db/o?host=other",
        "postgresql://a:p@db/o?port=1",
        "postgresql://a:p@/o?port=1",
        "postgresql://a:p@/o?host=one&host=two",
        "postgresql://a:p@/o?host=one,two,three&port=1,2",
        "postgresql://a:p@db/o?dbname=other",
        "postgresql://a:p@db/o?hostaddr=10.0.0.1",
        "postgresql://a:p@/o?service=hunter2",
        "postgresql://a:p@db/o?sslmode=hunter2",
    ] {
        assert!(parse(url).is_err(), "{url}");
    }
    assert!(ConnectionUrl::parse(&vec![0xff].into()).is_err());
    assert_eq!(parse("postgres://root:p@db").unwrap().database, None);
    assert_eq!(parse("postgres://root:p@db/").unwrap().database, None);
}

#[test]
fn only_addresses_of_this_machine_are_local() {
    for (host, is_local) in [
        ("localhost", true),
        ("127.0.0.1", true),
        ("127.8.9.1", true),
        ("[::1]", true),
        ("%2Frun%2Fpostgresql", true),
        ("db", false),
        ("localhost.example.com", false),
        ("10.0.0.1", false),
        ("[fe80::1]", false),
        ("0.0.0.0", false),
    ] {
        let url = parse(&format!("postgresql://a:p@{host}/o")).unwrap();
        assert!(url.hosts.iter().all(|it| it.is_local() == is_local), "{host}");
    }
}

#[test]
fn sslmode_decides_whether_tls_is_used() {
    for (mode, tls) in [
        ("", TlsMode::Prefer),
        ("?sslmode=disable", TlsMode::Disable),
        ("?sslmode=allow", TlsMode::Prefer),
        ("?sslmode=prefer", TlsMode::Prefer),
        ("?sslmode=require", TlsMode::Require),
        ("?sslmode=verify-ca", TlsMode::Require),
        ("?a=b&sslmode=verify-full&sslrootcert=system", TlsMode::Require),
        ("?ssl=true", TlsMode::Require),
    ] {
        assert_eq!(parse(&format!("postgresql://a:p@db/o{mode}")).unwrap().tls, tls, "{mode}");
    }
}

proptest! {
    #[test]
    fn parses_any_role_and_password_that_it_wrote(role in "[^\0]{1,20}", password in "[^\0]{1,20}") {
        let url = parse("postgresql://a:p@db/o?x=%20").unwrap();
        let changed = url.with_credentials(&role, &password.as_str().into()).unwrap();
        prop_assert!(text(&changed).ends_with("@db/o?x=%20"));
        let again = parse(text(&changed)).unwrap();
        prop_assert_eq!(&again.role, &role);
        prop_assert_eq!(again.password.as_slice(), password.as_bytes());
    }

    #[test]
    fn never_panics(rest in ".{0,60}", begin in "(postgresql://)?([a-z%:@/?,\\[\\]]{0,12})") {
        let _ = parse(&format!("{begin}{rest}"));
    }
}
