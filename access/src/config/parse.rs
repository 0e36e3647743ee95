//! The configuration from named settings.

mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use strongroom_core::{Problems, Result, Setting, Settings};

use super::{AccessConfig, AuditFailure, AuditMode, KeySource};
use crate::log::location::{DatabaseLocation, LogLocation};
use crate::open;
use crate::settings::{
    AUDIT, AUDIT_DELAY, AUDIT_FAILURE, CA_CERT, CHECKPOINT_FILE, CHECKPOINT_INTERVAL, GROUP, KEY,
    KEY_FILE, MAX_AGE, PATH, POLICY_PATH, POLICY_TIME_LIMIT, SETTINGS, TEMPLATES, TENANT, URL,
};
use crate::webhook::check_webhooks;
use crate::{Policy, SpiffeTemplate, TenantName};

/// How long records of reads wait for their batch, unless it is set.
const DELAY: Duration = Duration::from_millis(100);
/// How often a checkpoint is written, unless it is set.
const INTERVAL: Duration = Duration::from_secs(3_600);

impl AccessConfig {
    /// Builds a configuration from those of [`SETTINGS`] that are set in the environment.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn run() -> strongroom_core::Result<()> {
    /// use strongroom_access::{Access, AccessConfig};
    ///
    /// let access = Access::open(AccessConfig::from_env()?).await?; // SECRETS_ACCESS_PATH, …
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env(SETTINGS))
    }

    /// Builds a configuration from [`SETTINGS`]. Errors, also later ones about this configuration, name settings as
    /// they are named there.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let mut problems = Problems::new();
        settings.validate(SETTINGS, &mut problems);
        let location = location(settings, &mut problems);
        let defaults = Self::in_memory();
        let config = Self {
            log: location.zip(key_source(settings, &mut problems)),
            ca_cert: settings.expose_value(&CA_CERT).map(PathBuf::from),
            templates: templates(settings, &mut problems),
            single_tenant: tenant(settings, &mut problems),
            audit_mode: audit_mode(settings, &mut problems).unwrap_or_default(),
            audit_failure: choice(
                settings,
                AUDIT_FAILURE,
                [("stop", AuditFailure::StopReads), ("continue", AuditFailure::ContinueReads)],
                &mut problems,
            )
            .unwrap_or_default(),
            checkpoints: checkpoints(settings, &mut problems),
            group: group(settings, &mut problems),
            max_age: settings.duration(&MAX_AGE, &mut problems).unwrap_or(defaults.max_age),
            policy: settings.expose_value(&POLICY_PATH).map(Policy::from_file),
            policy_time_limit: settings
                .duration(&POLICY_TIME_LIMIT, &mut problems)
                .unwrap_or(defaults.policy_time_limit),
            webhooks: webhook::parse(settings, &mut problems).into_iter().collect(),
            names: settings.names(SETTINGS),
            ..defaults
        };
        config.check_times(&mut problems);
        // A program without the feature, such as one that only reads the audit, may leave the webhook out.
        if cfg!(feature = "webhooks") {
            check_webhooks(&config.webhooks, &mut problems);
        }
        problems.into_result().map_err(|error| config.names.rename(error))?;
        Ok(config)
    }
}

fn group(settings: &Settings, problems: &mut Problems) -> Option<u32> {
    let id = u32::try_from(settings.number(&GROUP, problems)?).ok();
    if id.is_none() {
        problems.add(format!("`{GROUP}` is too large for the id of a group"));
    }
    id
}

fn location(settings: &Settings, problems: &mut Problems) -> Option<LogLocation> {
    let ca_cert = settings.expose_value(&CA_CERT).map(PathBuf::from);
    if ca_cert.is_some() && !settings.contains(&URL) {
        problems.add(format!("`{CA_CERT}` needs `{URL}`"));
    }
    match (settings.expose_value(&PATH), settings.expose_value(&URL)) {
        (Some(path), None) => Some(LogLocation::File(path.into())),
        (None, Some(url)) => {
            let database = DatabaseLocation { url: url.into(), ca_cert };
            // Checks the value itself, which needs no server.
            database.check_url(problems);
            Some(LogLocation::Database(database))
        }
        (Some(_), Some(_)) => {
            problems.add(format!("`{PATH}` and `{URL}` are set together; keep one of them"));
            None
        }
        (None, None) => {
            problems.add(format!(
                "`{PATH}` is not set: name the file of the access rules, or set `{URL}` to their database"
            ));
            None
        }
    }
}

fn key_source(settings: &Settings, problems: &mut Problems) -> Option<KeySource> {
    match (settings.expose_value(&KEY_FILE), settings.expose_value(&KEY)) {
        (Some(file), None) => Some(KeySource::File(file.into())),
        (None, Some(key)) => {
            // Checks the value itself, which needs no file.
            problems.collect(open::parse_key(&key.into()))?;
            Some(KeySource::Key(key.into()))
        }
        (Some(_), Some(_)) => {
            problems.add(format!("`{KEY_FILE}` and `{KEY}` are set together; keep one of them"));
            None
        }
        (None, None) => {
            problems.add(format!(
                "the access rules have no key: set `{KEY_FILE}` or `{KEY}`; with `{KEY_FILE}` a new key is created \
                 for new rules"
            ));
            None
        }
    }
}

fn templates(settings: &Settings, problems: &mut Problems) -> Vec<SpiffeTemplate> {
    let Some(text) = settings.expose_value(&TEMPLATES) else { return Vec::new() };
    let separates = |character: char| character == ',' || character.is_whitespace();
    let templates: Vec<_> = text.split(separates).filter(|text| !text.is_empty()).collect();
    if templates.is_empty() {
        problems.add(format!("`{TEMPLATES}` has no template; unset it, or name one"));
    }
    let mut parse = |(index, text): (usize, &str)| match SpiffeTemplate::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            problems.add(format!(
                "template {} of `{TEMPLATES}`: {}; {}",
                index + 1,
                error.cause(),
                error.advice()
            ));
            None
        }
    };
    templates.into_iter().enumerate().filter_map(&mut parse).collect()
}

fn tenant(settings: &Settings, problems: &mut Problems) -> Option<TenantName> {
    match TenantName::parse(settings.expose_value(&TENANT)?) {
        Ok(tenant) => Some(tenant),
        Err(error) => {
            problems.add(format!("`{TENANT}` is {}; {}", error.cause(), error.advice()));
            None
        }
    }
}

fn audit_mode(settings: &Settings, problems: &mut Problems) -> Option<AuditMode> {
    let delay = settings.duration(&AUDIT_DELAY, problems);
    let batched = AuditMode::Batched(delay.unwrap_or(DELAY));
    let modes = [
        ("durable", AuditMode::Durable),
        ("batched", batched),
        ("writes", AuditMode::WritesAndDenials),
    ];
    let mode = choice(settings, AUDIT, modes, problems);
    let is_unused = mode != Some(batched) && (mode.is_some() || !settings.contains(&AUDIT));
    if delay.is_some() && is_unused {
        problems.add(format!("`{AUDIT_DELAY}` needs `{AUDIT}` to be `batched`"));
    }
    mode
}

fn checkpoints(settings: &Settings, problems: &mut Problems) -> Option<(PathBuf, Duration)> {
    let interval = settings.duration(&CHECKPOINT_INTERVAL, problems);
    let file = settings.expose_value(&CHECKPOINT_FILE);
    if interval.is_some() && file.is_none() {
        problems.add(format!("`{CHECKPOINT_INTERVAL}` needs `{CHECKPOINT_FILE}`"));
    }
    file.map(|file| (file.into(), interval.unwrap_or(INTERVAL)))
}

/// A setting that is one of several words.
fn choice<T: Copy, const N: usize>(
    settings: &Settings,
    setting: Setting,
    choices: [(&str, T); N],
    problems: &mut Problems,
) -> Option<T> {
    let text = settings.expose_value(&setting)?;
    let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if chosen.is_none() {
        let words = choices.map(|(word, _)| format!("`{word}`"));
        problems.add(format!("`{setting}` is none of {}", words.join(", ")));
    }
    chosen
}

#[cfg(test)]
mod tests;
