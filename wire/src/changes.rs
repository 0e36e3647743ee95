//! What a server tells of changes, as [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::SecretPath;

/// A listener that hears nothing for so long has lost its connection: the server sends a comment twice as often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest event that a listener takes, in bytes.
const MAX_EVENT: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeEvent {
    /// The listener hears of each change from now on; the first event.
    Listening,
    /// These secrets have changed.
    Secrets(Vec<SecretPath>),
    /// Any secret may have changed.
    Any,
}

#[derive(Serialize, Deserialize)]
struct Paths {
    paths: Vec<SecretPath>,
}

impl ChangeEvent {
    /// The event as it is sent.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Listening => "event: listening\ndata: {}\n\n".to_owned(),
            Self::Any => "event: any\ndata: {}\n\n".to_owned(),
            Self::Secrets(paths) => {
                let paths = Paths { paths: paths.clone() };
                // Paths have a JSON form.
                let data = serde_json::to_string(&paths).unwrap_or_default();
                format!("event: secrets\ndata: {data}\n\n")
            }
        }
    }

    /// An unknown or malformed event stands for any change.
    fn decode(event: &str) -> Option<Self> {
        let (mut name, mut data) = ("", "");
        for line in event.lines() {
            if let Some(text) = line.strip_prefix("event:") {
                name = text.trim();
            } else if let Some(text) = line.strip_prefix("data:") {
                data = text.trim();
            }
        }
        match name {
            "" => None,
            "listening" => Some(Self::Listening),
            "secrets" => {
                let paths = serde_json::from_str(data).map(|paths: Paths| paths.paths);
                Some(paths.map_or(Self::Any, Self::Secrets))
            }
            _ => Some(Self::Any),
        }
    }
}

/// Reads events from the pieces of a response.
#[derive(Debug, Default)]
pub struct ChangeEvents {
    received: Vec<u8>,
}

impl ChangeEvents {
    /// Takes a piece. Returns the events that it completes.
    ///
    /// # Errors
    /// `Err` if an event is over 1 MiB: the peer is not a server of this kind.
    #[expect(clippy::result_unit_err, reason = "the caller knows who the peer is")]
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<ChangeEvent>, ()> {
        self.received.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut begin = 0;
        let end_of_event = |rest: &[u8]| rest.windows(2).position(|two| two == b"\n\n");
        while let Some(rest) = self.received.get(begin..)
            && let Some(length) = end_of_event(rest)
        {
            let event = rest.get(..length).unwrap_or_default();
            events.extend(ChangeEvent::decode(&String::from_utf8_lossy(event)));
            begin += length + 2;
        }
        self.received.drain(..begin);
        if self.received.len() > MAX_EVENT { Err(()) } else { Ok(events) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_in_any_pieces() {
        let path = |text| SecretPath::parse(text).unwrap();
        let sent = [
            ChangeEvent::Listening,
            ChangeEvent::Secrets(vec![path("a/b"), path("c")]),
            ChangeEvent::Any,
            ChangeEvent::Secrets(vec![path("d")]),
        ];
        let mut text = String::new();
        for event in &sent {
            text += &event.encode();
            text += ":\n\n";
        }
        for length in 1..text.len() {
            let mut events = ChangeEvents::default();
            let pieces = text.as_bytes().chunks(length);
            let read: Vec<_> = pieces.flat_map(|piece| events.push(piece).unwrap()).collect();
            assert_eq!(read, sent, "in pieces of {length}");
        }
    }

    #[test]
    fn what_is_not_understood_is_any_change() {
        let mut events = ChangeEvents::default();
        let text = b"event: moved\ndata: {}\n\nevent: secrets\ndata: {\"path\": 1}\n\ndata: 1\n\n";
        assert_eq!(events.push(text).unwrap(), [ChangeEvent::Any, ChangeEvent::Any]);
        assert_eq!(events.push(&vec![b'a'; MAX_EVENT + 1]), Err(()));
    }
}
