//! What hang-ups teach about a peer: for how long one of its idle connections can be trusted.
//!
//! Some peers close after a while without saying so, some after each answer. Every request that meets the very moment
//! is lost, since it may have been read; so connections are not kept as long as they were seen to live.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::pool::Key;

/// A connection's life up to its last use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(super) born: Instant,
    /// How long it had idled.
    pub(super) idled: Duration,
}

/// How a connection was found to have died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Before anything was written.
    Seen,
    /// With a request on it.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Habit {
    /// Of connections that were born after the death before theirs: a restart, which ends all at once, counts as one.
    deaths: u32,
    limit: Duration,
    last: Instant,
}

/// So many deaths in a row are a habit.
const HABIT: u32 = 4;
/// One request that is lost after so long was lost to an idle limit, and the next one is due in as long again.
const IDLE_LIMIT: Duration = Duration::from_millis(250);
/// Peers are restarted and reconfigured.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// Peers whose manners are kept in mind.
const KNOWN: usize = 4096;

/// By key; empty as long as all is well.
#[derive(Debug, Default)]
pub(super) struct Habits(HashMap<Key, Habit>);

impl Habits {
    /// How long an idle connection can be trusted, where that is known.
    pub(super) fn limit(&self, key: &Key) -> Option<Duration> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(key).filter(|habit| habit.deaths >= HABIT).map(|habit| habit.limit)
    }

    /// A connection was used again and went well: what looked like a beginning habit is none.
    pub(super) fn survived(&mut self, key: &Key, idled: Duration) {
        if !self.0.is_empty()
            && self.0.get(key).is_some_and(|habit| habit.deaths < HABIT && idled >= habit.limit)
        {
            self.0.remove(key);
        }
    }

    pub(super) fn died(&mut self, key: &Key, life: Life, death: Death, now: Instant) {
        if self.0.len() >= KNOWN && !self.0.contains_key(key) {
            return;
        }
        let limit = life.idled * 3 / 4;
        let habit = self.0.entry(key.clone()).or_insert(Habit { deaths: 0, limit, last: life.born });
        if death == Death::Lost && life.idled >= IDLE_LIMIT {
            habit.deaths = HABIT;
        } else if life.born >= habit.last {
            habit.deaths = habit.deaths.saturating_add(1);
        } else {
            return;
        }
        habit.limit = habit.limit.min(limit);
        habit.last = now;
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, habit| now.duration_since(habit.last) < FORGOTTEN);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{Authority, NodeConfig},
        upstream::Destination,
    };

    fn key() -> Key {
        let authority = Authority::parse("shop.test:80", None).unwrap();
        Key { node: NodeConfig::Direct.hash(), destination: Arc::new(Destination { authority, tls: false }) }
    }

    fn idled(born: Instant, millis: u64) -> Life {
        Life { born, idled: Duration::from_millis(millis) }
    }

    #[test]
    fn connections_that_die_one_after_the_other_are_not_trusted_that_long_any_more() {
        let (mut habits, key, start) = (Habits::default(), key(), Instant::now());
        for generation in 0..4 {
            assert_eq!(habits.limit(&key), None);
            let born = start + Duration::from_secs(generation);
            habits.died(&key, idled(born, 8 + generation), Death::Seen, born + Duration::from_millis(20));
        }
        assert_eq!(habits.limit(&key), Some(Duration::from_millis(6)));
        habits.forget(start + FORGOTTEN);
        assert!(habits.limit(&key).is_some());
        habits.forget(start + FORGOTTEN * 2);
        assert_eq!(habits.limit(&key), None);
    }

    #[test]
    fn a_restart_that_ends_many_connections_at_once_is_no_habit() {
        let (mut habits, key, born) = (Habits::default(), key(), Instant::now());
        for _ in 0..100 {
            habits.died(&key, idled(born, 5), Death::Lost, born + Duration::from_secs(1));
        }
        assert_eq!(habits.limit(&key), None);
    }

    #[test]
    fn a_connection_that_lives_longer_ends_the_suspicion_and_one_that_was_used_at_once_does_not() {
        for (survivor, limited) in [(5, true), (6, false)] {
            let (mut habits, key, start) = (Habits::default(), key(), Instant::now());
            for generation in 0..4 {
                let born = start + Duration::from_secs(generation);
                habits.survived(&key, Duration::from_millis(survivor));
                habits.died(&key, idled(born, 8), Death::Lost, born);
            }
            assert_eq!(habits.limit(&key).is_some(), limited, "{survivor} ms");
        }
    }

    #[test]
    fn one_request_that_is_lost_to_an_idle_limit_is_enough() {
        let (mut habits, key, born) = (Habits::default(), key(), Instant::now());
        habits.died(&key, idled(born, 4000), Death::Lost, born);
        assert_eq!(habits.limit(&key), Some(Duration::from_secs(3)));
    }
}
