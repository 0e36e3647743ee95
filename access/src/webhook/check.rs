//! Finds what is wrong with webhooks before anything is opened.

use std::collections::BTreeSet;

use strongroom_core::Problems;

#[cfg(feature = "webhooks")]
use super::Secret;
use super::Webhook;
use crate::settings::WEBHOOK_EVENTS;
#[cfg(feature = "webhooks")]
use crate::settings::{WEBHOOK_SECRET, WEBHOOK_URL};

/// The most webhooks of one configuration.
const MAX_WEBHOOKS: usize = 16;
/// The longest name, in bytes.
const MAX_NAME: usize = 64;

/// Checks webhooks, but not their files. Problems repeat neither URL nor secret.
pub(crate) fn check_webhooks(webhooks: &[Webhook], problems: &mut Problems) {
    if webhooks.is_empty() {
        return;
    }
    if cfg!(not(feature = "webhooks")) {
        problems.add(
            "a webhook needs the cargo feature `webhooks` of strongroom-access, or `access-webhooks` of strongroom",
        );
    }
    if webhooks.len() > MAX_WEBHOOKS {
        problems.add(format!("there are over {MAX_WEBHOOKS} webhooks"));
    }
    let mut names = BTreeSet::new();
    for webhook in webhooks {
        if !is_name(&webhook.name) {
            problems.add(format!(
                "the name of a webhook is not 1 to {MAX_NAME} of the characters a-z, A-Z, 0-9, `.`, `_` and `-`"
            ));
        } else if !names.insert(&webhook.name) {
            problems.add(format!("two webhooks have the name `{}`; rename one", webhook.name));
        }
        // Nothing that is no name is shown.
        let shown = if is_name(&webhook.name) { webhook.name.as_str() } else { "?" };
        #[cfg(feature = "webhooks")]
        check_target(webhook, shown, problems);
        check_events(webhook, shown, problems);
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn check_events(webhook: &Webhook, shown: &str, problems: &mut Problems) {
    if webhook.events.is_empty() {
        problems.add(format!("`{WEBHOOK_EVENTS}`: the webhook `{shown}` has no events; name one"));
    }
    if let Err(pattern) = super::events::select(&webhook.events) {
        // A name of an event is short.
        let pattern =
            if crate::text::is_plain(pattern) && pattern.len() <= 64 { pattern } else { "…" };
        problems.add(format!(
            "`{WEBHOOK_EVENTS}`: no event that the webhook `{shown}` can send matches `{pattern}`; use names such as \
             `vault.denied` or `approval.*`"
        ));
    }
}

#[cfg(feature = "webhooks")]
fn check_target(webhook: &Webhook, shown: &str, problems: &mut Problems) {
    use secrecy::ExposeSecret as _;

    let url = webhook.url.expose_secret();
    if let Err(problem) = super::target::Target::parse(url, webhook.allows_private) {
        problems.add(format!("`{WEBHOOK_URL}`: the URL of the webhook `{shown}` {problem}"));
    }
    if let Secret::Text(text) = &webhook.secret
        && super::signature::SigningSecret::parse_all(text.expose_secret()).is_none()
    {
        problems.add(invalid_secret(&WEBHOOK_SECRET, shown));
    }
}

#[cfg(feature = "webhooks")]
pub(super) fn invalid_secret(setting: &strongroom_core::Setting, webhook: &str) -> String {
    format!(
        "`{setting}`: the secret of the webhook `{webhook}` is not valid: use `whsec_` and 24 to 64 random bytes in \
         base64, as from `echo whsec_$(openssl rand -base64 32)`, or two of them, separated by a blank"
    )
}
