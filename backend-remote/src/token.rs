//! The token of requests, which may be in a file that an orchestrator replaces.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::ExposeSecret as _;
use strongroom_core::{Error, ErrorKind, Result, SettingNames};
use strongroom_transport::{CredentialReader, bearer};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::config::BearerToken;
use crate::settings::{CLIENT_CERT, TOKEN, TOKEN_FILE};

/// The shortest time between two reads of the file, unless the server does not accept the token.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Where the token comes from, as the value of an `Authorization` header. It has no `Debug`.
pub(crate) enum TokenSource {
    /// The client certificate says who asks.
    None,
    Text(HeaderValue),
    File(Box<TokenFile>),
}

pub(crate) struct TokenFile {
    path: PathBuf,
    reader: CredentialReader,
    /// How warnings name settings.
    names: SettingNames,
    state: Mutex<State>,
    /// Held while the file is read: one call reads it for all.
    reading: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    /// The last good token.
    token: Option<HeaderValue>,
    read_at: Option<Instant>,
    /// Whether a warning was logged since the last good read.
    has_warned: bool,
}

impl TokenSource {
    pub(crate) fn new(token: Option<BearerToken>, names: SettingNames) -> Self {
        match token {
            None => Self::None,
            Some(BearerToken::Text(token)) => {
                bearer(token.expose_secret().as_bytes()).map_or(Self::None, Self::Text)
            }
            Some(BearerToken::File(path)) => Self::File(Box::new(TokenFile {
                path,
                reader: CredentialReader::new("the token", TOKEN_FILE),
                names,
                state: Mutex::default(),
                reading: AsyncMutex::default(),
            })),
        }
    }

    /// The token for the next request.
    pub(crate) async fn current(&self) -> Result<Option<HeaderValue>> {
        match self {
            Self::None => Ok(None),
            Self::Text(token) => Ok(Some(token.clone())),
            Self::File(file) => file.current().await.map(Some),
        }
    }

    /// Another token than the one that the server does not accept, if the file has one by now.
    pub(crate) async fn after_rejection(
        &self,
        rejected: Option<&HeaderValue>,
    ) -> Option<HeaderValue> {
        let Self::File(file) = self else { return None };
        let reading = file.reading.lock().await;
        if file.state().token.as_ref() == rejected {
            file.refresh().await;
        }
        drop(reading);
        file.state().token.clone().filter(|token| Some(token) != rejected)
    }

    /// What to do if the server does not accept the caller.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::None => {
                format!("check `{CLIENT_CERT}`, and what the server knows of its identity")
            }
            Self::Text(_) => format!("set `{TOKEN}` to a token that the server accepts"),
            Self::File(_) => {
                format!("put a token that the server accepts into the file of `{TOKEN_FILE}`")
            }
        }
    }
}

impl TokenFile {
    /// The token, after a look at the file if the last one is some time ago. While one call reads the file, the others
    /// use the current token.
    async fn current(&self) -> Result<HeaderValue> {
        let (token, read_at) = {
            let state = self.state();
            (state.token.clone(), state.read_at)
        };
        let Some(token) = token else { return self.first().await };
        if read_at.is_none_or(|time| time.elapsed() >= READ_INTERVAL)
            && let Ok(_reading) = self.reading.try_lock()
        {
            self.refresh().await;
            return Ok(self.state().token.clone().unwrap_or(token));
        }
        Ok(token)
    }

    /// The token, if there was none so far.
    async fn first(&self) -> Result<HeaderValue> {
        let _reading = self.reading.lock().await;
        let read_by_another = self.state().token.clone();
        match read_by_another {
            Some(token) => Ok(token),
            None => self.read().await,
        }
    }

    /// Reads the file again. If it cannot be used, the last good token stays in use.
    async fn refresh(&self) {
        let before = self.state().token.clone();
        match self.read().await {
            Ok(token) => {
                if before.is_some_and(|before| before != token) {
                    tracing::info!("the new token of the file is in use");
                }
            }
            Err(error) => {
                let has_warned = {
                    let mut state = self.state();
                    state.read_at = Some(Instant::now());
                    std::mem::replace(&mut state.has_warned, true)
                };
                if !has_warned {
                    let error = self.names.rename(error);
                    tracing::warn!(%error, "the last good token stays in use");
                }
            }
        }
    }

    async fn read(&self) -> Result<HeaderValue> {
        let word = self.reader.read_word(&self.path).await?;
        let token = bearer(word.expose_secret().as_bytes()).ok_or_else(|| {
            let advice = format!("check the file that `{TOKEN_FILE}` names");
            Error::new(ErrorKind::Unauthenticated, advice).because("it holds no token")
        })?;
        let mut state = self.state();
        *state =
            State { token: Some(token.clone()), read_at: Some(Instant::now()), has_warned: false };
        Ok(token)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::SETTINGS;

    fn source(token: BearerToken) -> TokenSource {
        TokenSource::new(Some(token), SettingNames::of_fields(SETTINGS))
    }

    async fn current(source: &TokenSource) -> String {
        source.current().await.unwrap().unwrap().to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_file_is_read_again_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = source(BearerToken::File(path.clone()));
        let missing = source.current().await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Unauthenticated);
        assert!(missing.is_temporary(), "{missing}");
        fs::write(&path, "one\n").unwrap();
        assert_eq!(current(&source).await, "Bearer one");
        fs::write(&path, "two").unwrap();
        assert_eq!(current(&source).await, "Bearer one");
        tokio::time::pause();
        tokio::time::advance(READ_INTERVAL).await;
        tokio::time::resume();
        assert_eq!(current(&source).await, "Bearer two");
        // The last good token stays.
        fs::write(&path, "two words").unwrap();
        tokio::time::pause();
        tokio::time::advance(READ_INTERVAL).await;
        tokio::time::resume();
        assert_eq!(current(&source).await, "Bearer two");
    }

    #[tokio::test]
    async fn a_token_that_is_not_accepted_is_read_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one").unwrap();
        let source = source(BearerToken::File(path.clone()));
        let one = source.current().await.unwrap();
        assert!(source.after_rejection(one.as_ref()).await.is_none());
        fs::write(&path, "two").unwrap();
        let two = source.after_rejection(one.as_ref()).await.unwrap();
        assert_eq!(two, "Bearer two");
        // Another call has read it.
        assert_eq!(source.after_rejection(one.as_ref()).await.unwrap(), "Bearer two");
        assert!(source.after_rejection(Some(&two)).await.is_none());
    }

    #[tokio::test]
    async fn a_token_in_the_configuration_stays() {
        let source = source(BearerToken::Text("one".into()));
        let one = source.current().await.unwrap();
        assert!(one.as_ref().is_some_and(HeaderValue::is_sensitive));
        assert!(source.after_rejection(one.as_ref()).await.is_none());
    }
}
