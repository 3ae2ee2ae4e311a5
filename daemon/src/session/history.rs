//! What happened to a session: the last events, for whoever asks afterwards.
//!
//! An event that repeats the one before, such as an attempt to connect that fails again, is counted and not
//! written down anew, so that a neighbour that is away for days does not drive out why it went.

use std::collections::VecDeque;

use crate::api::types::HistoryEvent;
use crate::monitor::unix_time;

/// Events that are kept.
const KEPT: usize = 100;

/// The last events, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<HistoryEvent>);

impl History {
    /// Something happened: what kind of thing, and in words.
    pub(super) fn note(&mut self, event: &str, text: impl Into<String>) {
        self.note_at(unix_time(), event, text.into());
    }

    fn note_at(&mut self, time: f64, event: &str, text: String) {
        if let Some(last) = self.0.back_mut()
            && (last.event.as_str(), &last.text) == (event, &text)
        {
            last.count += 1;
            last.time = time;
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(HistoryEvent { time, event: event.to_owned(), text, count: 1 });
    }

    pub(super) fn events(&self) -> Vec<HistoryEvent> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_counted_and_the_oldest_goes() {
        let mut history = History::default();
        history.note_at(1.0, "established", "AS 65001".into());
        history.note_at(2.0, "error", "cannot connect".into());
        history.note_at(3.0, "error", "cannot connect".into());
        let seen: Vec<_> =
            history.events().iter().map(|event| format!("{} {}", event.time, event.count)).collect();
        assert_eq!(seen, ["1 1", "3 2"]);
        for index in 0..KEPT {
            history.note_at(4.0, "error", index.to_string());
        }
        let events = history.events();
        assert_eq!((events.len(), events[0].text.as_str()), (KEPT, "0"));
    }
}
