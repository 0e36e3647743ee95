//! The URLs of keys and of the administrator.

use strongroom_core::{ErrorKind, Result, SecretValue};
use strongroom_postgres::{ConnectionUrl, Connector, UrlProblem};

use super::error::{Principal, permanent};

/// Parses a URL. A key names its database.
pub(super) fn parse(value: &SecretValue, principal: Principal) -> Result<ConnectionUrl> {
    let problem = |(problem, advice): UrlProblem| {
        permanent(ErrorKind::InvalidInput, format!("{} {problem}", principal.url()), advice)
    };
    let url = ConnectionUrl::parse(value).map_err(problem)?;
    if principal == Principal::Key && url.database.is_none() {
        let no_database = "names no database, so it would change with the role";
        return Err(problem((no_database, "write the database into it")));
    }
    Ok(url)
}

/// Rejects a URL that would send passwords unencrypted.
pub(super) fn require_tls(
    connector: &Connector,
    url: &ConnectionUrl,
    principal: Principal,
) -> Result<()> {
    if !connector.is_exposed(url) {
        return Ok(());
    }
    Err(permanent(
        ErrorKind::InvalidInput,
        format!("{} turns TLS off towards another host", principal.url()),
        "use `sslmode=verify-full`; or set `tls.allow_plaintext` if you accept that anyone on the way \
         can read what is sent",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_database_and_an_administrator_need_not() {
        for text in ["postgresql://a:hunter2@db", "postgresql://a:hunter2@db/", "hunter2"] {
            let Err(error) = parse(&text.into(), Principal::Key) else { panic!("{text}") };
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("the key") && !shown.contains("hunter2"), "{shown}");
        }
        let admin = parse(&"postgres://root:p@db".into(), Principal::Administrator).unwrap();
        assert_eq!(admin.database, None);
    }
}
