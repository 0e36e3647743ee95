use super::*;

#[test]
fn versions_keep_their_text() {
    for id in ["3", "0", "03", "18446744073709551615", "18446744073709551616", "a-b"] {
        assert_eq!(Version::new(id).to_string(), id);
        assert_eq!(Version::new(id).text(), id);
    }
    let id = "a\n".repeat(300);
    assert_eq!(Version::new(&id).text(), id);
    assert!(Version::new(&id).to_string().ends_with("a\\n…"));
    assert_eq!(Version::new("3"), Version::from(3));
    assert_ne!(Version::new("03"), Version::from(3));
}

#[test]
fn a_reissued_secret_shares_the_value_and_says_how_old_it_is() {
    let path = SecretPath::parse("a").unwrap();
    let secret = Secret::new(path, 1.into(), Metadata::default(), "hunter2".into());
    assert!(!secret.is_stale() && secret.lease().is_none());
    assert!(secret.age() < Duration::from_secs(60));

    let before = Instant::now().checked_sub(Duration::from_millis(50)).unwrap();
    let stale = secret.with_lease(Duration::from_secs(5)).reissue(before, true);
    assert!(stale.is_stale() && stale.age() >= Duration::from_millis(50));
    assert_eq!((stale.read_at(), stale.lease()), (before, Some(Duration::from_secs(5))));
    assert_eq!(stale.expose_text().unwrap(), "hunter2");
    let shown = format!("{stale:?}");
    assert!(shown.contains("is_stale: true") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_secret_expires_exactly_at_its_expiry() {
    let now = SystemTime::now();
    let mut metadata = Metadata::default();
    assert!(metadata.ensure_not_expired(now).is_ok());
    metadata.expires_at = Some(now + Duration::from_millis(1));
    assert!(metadata.ensure_not_expired(now).is_ok());
    metadata.expires_at = Some(now);
    assert_eq!(metadata.ensure_not_expired(now).unwrap_err().kind(), ErrorKind::Expired);
}
