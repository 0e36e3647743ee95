use std::io::{self, Read};

use proptest::prelude::*;
use strongroom_core::{ErrorKind, SecretValue};

use super::*;

const CHARACTERS: &str = "aB3dE5gH7jK2mN4pQ6rS8tV1wX9yZ0cF";

/// `len` characters that are no placeholder.
fn characters(len: usize) -> String {
    CHARACTERS.chars().cycle().take(len).collect()
}

fn capitals(len: usize) -> String {
    "Q2W3E4R5T6Y7UIOPASDFGHJKL".chars().cycle().take(len).collect()
}

fn list() -> IgnoreList {
    IgnoreList::with_key(FingerprintKey::from_bytes([7; 32]))
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

fn known(secrets: &[(&str, &str)]) -> Scanner {
    let redactor = Redactor::new();
    redactor.add(secrets.iter().map(|(name, value)| (path(name), SecretValue::from(*value))));
    Scanner::new(list()).known(&redactor)
}

fn shapes() -> Scanner {
    Scanner::new(list()).key_shapes(true)
}

fn shown(report: &ScanReport) -> Vec<(String, u64, u64)> {
    let shown = |finding: &Finding| {
        (finding.kind.to_string(), finding.position.line, finding.position.column)
    };
    report.findings.iter().map(shown).collect()
}

/// Gives a text in pieces of so many bytes.
struct InPieces<'a>(&'a [u8], usize);

impl Read for InPieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(buffer.len());
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn a_known_value_is_found_with_its_path_form_line_and_column() {
    let scanner = known(&[("db/password", "correct horse"), ("api/key", "k-0123456789")]);
    let text = "é = correct horse\n\nurl: https://x/?p=correct%20horse&k=k-0123456789";
    assert_eq!(
        shown(&scanner.scan_bytes("a", text.as_bytes())),
        [
            ("the value of `db/password` (plain)".to_owned(), 1, 5),
            ("the value of `db/password` (percent-encoded)".to_owned(), 3, 19),
            ("the value of `api/key` (plain)".to_owned(), 3, 37),
        ]
    );
}

#[test]
fn values_that_overlap_are_found_once_for_each_secret() {
    let scanner = known(&[
        ("db/url", "postgres://app:correct-horse@db/shop"),
        ("db/password", "correct-horse"),
        ("doc", r#"{"user": "app-user", "password": "swordfish"}"#),
    ]);
    let text = "x postgres://app:correct-horse@db/shop {\"user\": \"app-user\", \"password\": \"swordfish\"}";
    assert_eq!(
        shown(&scanner.scan_bytes("a", text.as_bytes())),
        [
            ("the value of `db/url` (plain)".to_owned(), 1, 3),
            ("the value of `db/password` (plain)".to_owned(), 1, 3),
            ("the value of `doc` (plain)".to_owned(), 1, 40),
        ]
    );
}

/// One key for each rule, made here so that no scanner finds it in this file.
fn keys() -> Vec<(&'static str, String)> {
    let hex = |len: usize| "0a1b2c3d4e5f6789".chars().cycle().take(len).collect::<String>();
    let digits = "1234567890";
    let pem = format!("-----BEGIN {} KEY-----\n{}\n", "RSA PRIVATE", characters(64));
    let escaped_pem = format!("-----BEGIN {} KEY-----\\n{}\\n", "PRIVATE", characters(64));
    let key = |beginning: &str, len| format!("{beginning}{}", characters(len));
    vec![
        ("anthropic-api-key", format!("sk-ant-{}", key("api03-", 95))),
        ("openai-api-key", format!("sk-{}", key("proj-", 120))),
        ("openai-legacy-api-key", format!("sk-{}T3Blbk{}", characters(20), key("FJ", 20))),
        ("aws-access-key-id", format!("AK{}{}", "IA", capitals(16))),
        (
            "age-secret-key",
            format!(
                "AGE-SECRET-{}{}",
                "KEY-1",
                "QPZRY9X8".chars().cycle().take(58).collect::<String>()
            ),
        ),
        ("digitalocean-token", format!("dop_{}{}", "v1_", hex(64))),
        ("docker-access-token", format!("dckr_{}", key("pat_", 27))),
        ("github-token", format!("gh{}", key("p_", 36))),
        ("github-fine-grained-token", format!("github_{}_{}", key("pat_", 22), characters(59))),
        (
            "github-installation-token",
            format!("gh{}ey{}.ey{}.{}", "s_1234567_", key("J", 20), key("J", 200), characters(86)),
        ),
        ("gitlab-token", format!("gl{}", key("pat-", 20))),
        ("google-api-key", format!("AI{}", key("za", 35))),
        ("google-oauth-client-secret", format!("GOC{}", key("SPX-", 28))),
        ("grafana-service-account-token", format!("gl{}_{}", key("sa_", 32), hex(8))),
        ("huggingface-token", format!("h{}", key("f_", 34))),
        ("json-web-token", format!("ey{}.ey{}.{}", key("J", 20), key("J", 40), characters(43))),
        ("npm-token", format!("np{}", key("m_", 36))),
        ("private-key", pem),
        ("private-key", escaped_pem),
        ("pypi-token", format!("pypi-{}", key("AgEIcHlwaS5vcmc", 100))),
        ("sendgrid-api-key", format!("S{}.{}", key("G.", 22), characters(43))),
        ("shopify-token", format!("shp{}{}", "at_", hex(32))),
        ("slack-token", format!("xo{}{digits}-{digits}-{}", "xb-", characters(24))),
        ("slack-app-token", format!("xa{}1-A0{digits}-{digits}-{}", "pp-", hex(64))),
        (
            "slack-webhook",
            format!(
                "https://hooks.slack.com/{}/T0{digits}/B0{digits}/{}",
                "services",
                characters(24)
            ),
        ),
        ("stripe-key", format!("sk_{}", key("live_", 24))),
        ("stripe-webhook-secret", format!("wh{}", key("sec_", 32))),
        ("vault-token", format!("hv{}", key("s.", 24))),
        ("1password-service-account-token", format!("ops_{}", key("eyJ", 300))),
        ("databricks-token", format!("da{}{}", "pi", hex(32))),
        ("doppler-token", format!("dp.{}", key("pt.", 43))),
        ("doppler-service-token", format!("dp.{}.{}", "st.prd_main", characters(43))),
        ("groq-api-key", format!("gs{}", key("k_", 52))),
        ("openrouter-api-key", format!("sk-{}{}", "or-v1-", hex(64))),
        ("perplexity-api-key", format!("pp{}", key("lx-", 48))),
        ("replicate-token", format!("r{}", key("8_", 37))),
        ("xai-api-key", format!("x{}", key("ai-", 80))),
    ]
}

#[test]
fn each_rule_finds_its_key_however_the_file_is_read() {
    let keys = keys();
    for rule in Rule::all() {
        assert!(keys.iter().any(|(id, _)| *id == rule.id()), "{rule:?}");
        assert!(rule.source().starts_with("https://") && !rule.name().is_empty());
    }
    for (id, key) in keys {
        let text = format!("first line\n  key = \"{key}\"\nlast line");
        for size in [1, 7, 50, 1_000] {
            let report = shapes().scan("a", InPieces(text.as_bytes(), size)).unwrap();
            let [finding] = &report.findings[..] else { panic!("{id}: {}", report.findings.len()) };
            let FindingKind::Shape { rule } = &finding.kind else { panic!("{id}") };
            assert_eq!(rule.id(), id);
            assert_eq!((finding.position.line, finding.position.column), (2, 10));
        }
        let at_the_end = shapes().scan_bytes("a", key.as_bytes());
        assert_eq!(at_the_end.findings.len(), 1, "{id}");
    }
}

#[test]
fn placeholders_and_keys_of_another_length_are_not_found() {
    let aws = format!("AK{}IOSFODNN7EXAMPLE", "IA");
    let long_aws = format!("AK{}{}", "IA", capitals(17));
    let encrypted = format!("-----BEGIN {} KEY-----\n{}", "ENCRYPTED PRIVATE", characters(64));
    let frame_only = format!("let header = \"-----BEGIN {} KEY-----\";", "PRIVATE");
    let placeholder = format!("gh{}{}", "p_", "x".repeat(36));
    let short = format!("gh{}{}", "p_", characters(35));
    for text in [aws, long_aws, encrypted, frame_only, placeholder, short] {
        assert!(shapes().scan_bytes("a", text.as_bytes()).findings.is_empty(), "{text}");
    }
}

#[test]
fn a_known_value_with_the_shape_of_a_key_is_one_finding() {
    let key = format!("gh{}{}", "p_", characters(36));
    let text = format!("token={key}\n");
    let report = known(&[("github/token", &key)]).key_shapes(true).scan_bytes("a", text.as_bytes());
    assert_eq!(shown(&report), [("the value of `github/token` (plain)".to_owned(), 1, 7)]);
}

#[test]
fn an_ignored_finding_stays_ignored_when_lines_move_or_the_form_changes() {
    let scanner = known(&[("db/password", "correct horse")]);
    let report = scanner.scan_bytes("a", b"correct horse");
    let fingerprint = report.findings[0].fingerprint;
    let mut list = list();
    list.add(fingerprint, "a test value");
    let redactor = scanner.known.clone().unwrap();
    let ignoring = Scanner::new(list.clone()).known(&redactor);
    let moved = ignoring.scan_bytes("a", b"\n\nmoved: correct%20horse\n");
    assert_eq!((moved.findings.len(), moved.ignored), (0, 1));
    assert_eq!(ignoring.scan_bytes("another file", b"correct horse").findings.len(), 1);
    redactor.set(&path("db/password"), ["another horse".into()]);
    assert_eq!(ignoring.scan_bytes("a", b"another horse").findings.len(), 1);
}

#[test]
fn fingerprints_depend_on_the_key() {
    let scan = |key| {
        let list = IgnoreList::with_key(FingerprintKey::from_bytes([key; 32]));
        let redactor = known(&[("a", "correct horse")]).known.unwrap();
        let report = Scanner::new(list).known(&redactor).scan_bytes("a", b"correct horse");
        report.findings[0].fingerprint
    };
    assert_eq!(scan(1), scan(1));
    assert_ne!(scan(1), scan(2));
    assert_eq!(scan(1).to_string().parse::<Fingerprint>().unwrap(), scan(1));
    let error = "0011".parse::<Fingerprint>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_ignore_list_says_which_line_is_wrong() {
    let key = "00".repeat(32);
    let fingerprint = "ab".repeat(16);
    let good = format!("# a comment\n\nkey {key}\n{fingerprint}  # a note\n{fingerprint}\n");
    assert_eq!(IgnoreList::parse(&good).unwrap().len(), 1);
    for (bad, said) in [
        (format!("key {key}\nhunter2"), "line 2"),
        (format!("key {key}\nkey {key}"), "line 2"),
        ("key 00".to_owned(), "line 1"),
        (fingerprint.clone(), "no line `key`"),
    ] {
        let error = IgnoreList::parse(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let own = FingerprintKey::from_bytes([1; 32]);
    assert!(IgnoreList::parse_with_key(&good, own.clone()).is_err());
    let without = IgnoreList::parse_with_key(&fingerprint, own).unwrap();
    assert!(!without.is_empty() && !without.to_string().contains("key "));
}

#[test]
fn binary_files_are_scanned_and_marked() {
    let scanner = known(&[("a", "correct horse")]);
    let report = scanner.scan_bytes("a", b"\x00\xff\xfe correct horse \x00");
    assert!(report.is_binary);
    assert_eq!(report.findings[0].position.offset, 4);
    assert!(!scanner.scan_bytes("a", b"text").is_binary);
}

#[test]
fn a_report_is_bounded() {
    let scanner = known(&[("a", "correct horse")]);
    let report = scanner.scan_bytes("a", "correct horse ".repeat(1_500).as_bytes());
    assert_eq!((report.findings.len(), report.left_out), (1_000, 500));
    assert_eq!(report.bytes, 1_500 * 14);
}

#[test]
fn texts_that_look_like_keys_hide_no_known_value() {
    let scanner = known(&[("a", "correct horse")]).key_shapes(true);
    let key = format!("gh{}{} ", "p_", characters(36));
    let text = key.repeat(5_000) + "correct horse";
    let report = scanner.scan_bytes("a", text.as_bytes());
    assert_eq!((report.findings.len(), report.left_out), (1_001, 4_000));
    assert!(matches!(report.findings[1_000].kind, FindingKind::Known { .. }));
}

#[test]
fn known_values_with_the_shape_of_a_key_hide_no_other_shape() {
    let (first, second) = ("gh".to_owned() + "p_" + &characters(36), "AKI".to_owned() + "A");
    let text = format!("{first} ").repeat(5_000) + &second + &capitals(16) + "\n";
    let report = known(&[("a", &first)]).key_shapes(true).scan_bytes("a", text.as_bytes());
    assert_eq!((report.findings.len(), report.left_out), (1_001, 4_000));
    assert!(matches!(report.findings[1_000].kind, FindingKind::Shape { .. }));
}

#[test]
fn a_scan_keeps_no_more_of_a_long_file_than_of_a_short_one() {
    for scanner in [known(&[("a", "horse")]), known(&[("a", "horse")]).key_shapes(true)] {
        let mut scan = FileScan::new(&scanner, "a");
        for _ in 0..100 {
            scan.push("horse ".repeat(1_000).as_bytes());
            assert!(scan.found.len() <= 1, "{}", scan.found.len());
        }
        assert_eq!(scan.finish().left_out, 99_000);
    }
}

#[test]
fn nothing_that_is_printed_has_a_value() {
    let scanner = known(&[("a/b", "correct horse")]).key_shapes(true);
    let report = scanner.scan_bytes("f", b"correct horse");
    let stream = scanner.known.as_ref().unwrap().stream();
    let printed = format!("{scanner:?} {report:?} {stream:?} {}", report.findings[0].kind);
    assert!(!printed.contains("correct") && !printed.contains("horse"), "{printed}");
    assert!(!printed.contains("07, 07") && !printed.contains("7, 7"), "{printed}");
}

proptest! {
    #[test]
    fn a_file_has_the_same_findings_however_it_is_read(
        picks in proptest::collection::vec((0..40_usize, "[a-z\\n]{0,12}"), 0..12),
        size in 1..200_usize,
    ) {
        let keys = keys();
        let mut text = String::new();
        for (pick, between) in &picks {
            text += between;
            match keys.get(*pick) {
                Some((_, key)) => text += key,
                None => text += "correct horse",
            }
        }
        let scanner = known(&[("a", "correct horse")]).key_shapes(true);
        let whole = scanner.scan_bytes("a", text.as_bytes());
        let in_pieces = scanner.scan("a", InPieces(text.as_bytes(), size)).unwrap();
        prop_assert_eq!(whole, in_pieces);
    }
}
