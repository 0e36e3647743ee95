//! The webhook of the settings.

use strongroom_core::{Problems, Settings};

use crate::Webhook;
use crate::settings::{
    WEBHOOK_ALLOW_PRIVATE, WEBHOOK_EVENTS, WEBHOOK_SECRET, WEBHOOK_SECRET_FILE, WEBHOOK_URL,
};

/// The webhook `default`.
pub(super) fn parse(settings: &Settings, problems: &mut Problems) -> Option<Webhook> {
    let allows_private = settings.flag(&WEBHOOK_ALLOW_PRIVATE, problems);
    let secret = settings.expose_value(&WEBHOOK_SECRET);
    let secret_file = settings.expose_value(&WEBHOOK_SECRET_FILE);
    let Some(url) = settings.expose_value(&WEBHOOK_URL) else {
        for setting in [WEBHOOK_SECRET, WEBHOOK_SECRET_FILE, WEBHOOK_EVENTS, WEBHOOK_ALLOW_PRIVATE]
        {
            if settings.contains(&setting) {
                problems.add(format!("`{setting}` needs `{WEBHOOK_URL}`"));
            }
        }
        return None;
    };
    let webhook = match (secret, secret_file) {
        (Some(secret), None) => Webhook::new("default", url, secret),
        (None, Some(file)) => Webhook::with_secret_file("default", url, file),
        (Some(_), Some(_)) => {
            problems.add(format!(
                "`{WEBHOOK_SECRET_FILE}` and `{WEBHOOK_SECRET}` are set together; keep one of them"
            ));
            return None;
        }
        (None, None) => {
            problems.add(format!(
                "`{WEBHOOK_URL}` needs `{WEBHOOK_SECRET_FILE}` or `{WEBHOOK_SECRET}`"
            ));
            return None;
        }
    };
    let webhook = webhook.allow_private_targets(allows_private.unwrap_or_default());
    let Some(events) = settings.expose_value(&WEBHOOK_EVENTS) else { return Some(webhook) };
    let separates = |character: char| character == ',' || character.is_whitespace();
    Some(webhook.events(events.split(separates).filter(|event| !event.is_empty())))
}

#[cfg(test)]
mod tests {
    use strongroom_core::Setting;

    use super::*;
    use crate::AccessConfig;
    use crate::settings::{KEY, PATH};

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn parse_with(pairs: &[(Setting, &str)]) -> Result<AccessConfig, Vec<String>> {
        let mut settings = Settings::new();
        settings.set(PATH.variable(), "/data/access.db");
        settings.set(KEY.variable(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        for (setting, value) in pairs {
            settings.set(setting.variable(), value);
        }
        let config = AccessConfig::from_settings(&settings);
        config.map_err(|error| error.problems().to_vec())
    }

    #[test]
    fn the_webhook_of_the_settings_has_the_name_default() {
        let config = parse_with(&[
            (WEBHOOK_URL, "https://10.0.0.1/path"),
            (WEBHOOK_SECRET, SECRET),
            (WEBHOOK_EVENTS, "vault.denied, approval.*"),
            (WEBHOOK_ALLOW_PRIVATE, "true"),
        ]);
        let config = config.unwrap();
        let [webhook] = config.webhooks.as_slice() else { panic!("{config:?}") };
        assert_eq!(webhook.name, "default");
        let shown = format!("{webhook:?}");
        assert!(shown.contains(r#"["vault.denied", "approval.*"]"#), "{shown}");
        assert!(shown.contains("allow_private_targets: true"), "{shown}");
        assert!(!shown.contains("/path") && !shown.contains("C2FV"), "{shown}");
        let file = [(WEBHOOK_URL, "https://a.example"), (WEBHOOK_SECRET_FILE, "/data/webhook")];
        let shown = format!("{:?}", parse_with(&file).unwrap().webhooks);
        assert!(shown.contains("/data/webhook"), "{shown}");
        assert!(parse_with(&[]).unwrap().webhooks.is_empty());
    }

    #[test]
    fn settings_of_a_webhook_belong_together() {
        for (pairs, problem) in [
            (&[(WEBHOOK_SECRET, SECRET)][..], "`SECRETS_ACCESS_WEBHOOK_SECRET` needs"),
            (&[(WEBHOOK_SECRET_FILE, "/s")], "`SECRETS_ACCESS_WEBHOOK_SECRET_FILE` needs"),
            (&[(WEBHOOK_EVENTS, "*")], "`SECRETS_ACCESS_WEBHOOK_EVENTS` needs"),
            (&[(WEBHOOK_ALLOW_PRIVATE, "false")], "`SECRETS_ACCESS_WEBHOOK_ALLOW_PRIVATE` needs"),
            (&[(WEBHOOK_URL, "https://a.example")], "`SECRETS_ACCESS_WEBHOOK_URL` needs"),
            (
                &[
                    (WEBHOOK_URL, "https://a.example"),
                    (WEBHOOK_SECRET, SECRET),
                    (WEBHOOK_SECRET_FILE, "/s"),
                ],
                "`SECRETS_ACCESS_WEBHOOK_SECRET_FILE` and `SECRETS_ACCESS_WEBHOOK_SECRET` are set together",
            ),
        ] {
            let problems = parse_with(pairs).unwrap_err();
            let [one] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(one.starts_with(problem), "{one}");
        }
    }

    #[cfg(feature = "webhooks")]
    #[test]
    fn what_is_wrong_is_named_as_it_was_set() {
        for (setting, value) in [
            (WEBHOOK_URL, "http://hooks.example.com/hunter2"),
            (WEBHOOK_URL, "https://169.254.169.254/hunter2"),
            (WEBHOOK_SECRET, "hunter2"),
            (WEBHOOK_EVENTS, "vault.deny"),
            (WEBHOOK_EVENTS, ","),
        ] {
            let base = [(WEBHOOK_URL, "https://a.example"), (WEBHOOK_SECRET, SECRET)];
            let problems = parse_with(&[&base, &[(setting, value)][..]].concat()).unwrap_err();
            let [one] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(one.starts_with(&format!("`{setting}`")), "{one}");
            assert!(!one.contains("hunter2"), "{one}");
        }
    }

    #[cfg(not(feature = "webhooks"))]
    #[tokio::test]
    async fn a_webhook_needs_the_feature_when_the_rules_are_opened() {
        let config = parse_with(&[(WEBHOOK_URL, "https://a.example"), (WEBHOOK_SECRET, SECRET)]);
        let error = crate::Access::open(config.unwrap()).await.unwrap_err();
        assert!(error.problems()[0].contains("`access-webhooks`"), "{error}");
    }
}
