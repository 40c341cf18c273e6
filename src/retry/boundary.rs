//! The retry boundary: whether a failed attempt may be followed by another one.
//!
//! This is the table of the contract, line by line. It decides over facts that the attempt proved, never over the kind
//! of an error.

use tokio::time::Instant;

use crate::model::Verdict;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The upstream answered, whatever the status; or the tunnel stands.
    Answered,
    /// It failed, and it is proven that nothing of the request was written: the request is still in hand.
    Unwritten,
    /// It failed with the request written, partly written, or not provably unwritten.
    Uncertain,
    /// It failed unwritten because we ourselves are out of something that every attempt needs.
    Exhausted,
    /// The target may not be asked for: nothing was dialled.
    Denied,
    /// The client went away.
    ClientLeft,
}

/// What is left to go on with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    /// The platform's `max_retries` is above 0.
    pub(crate) enabled: bool,
    pub(crate) retries: u32,
    pub(crate) untried_nodes: usize,
    pub(crate) deadline: Instant,
}

/// What becomes of the request. `Retried` is the only verdict that goes on.
#[must_use]
pub(crate) fn verdict(end: End, left: Left, now: Instant) -> Verdict {
    match end {
        End::Answered => Verdict::Answered,
        End::ClientLeft => Verdict::Canceled,
        End::Uncertain => Verdict::Uncertain,
        End::Exhausted | End::Denied => Verdict::NotRetryable,
        End::Unwritten if !left.enabled => Verdict::Disabled,
        End::Unwritten if left.retries == 0 => Verdict::NoRetriesLeft,
        End::Unwritten if left.untried_nodes == 0 => Verdict::NoUntriedNode,
        End::Unwritten if now >= left.deadline => Verdict::Deadline,
        End::Unwritten => Verdict::Retried,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Every combination of what the decision looks at.
    fn all() -> impl Iterator<Item = (End, Left, Instant)> {
        let now = Instant::now();
        let ends =
            [End::Answered, End::Unwritten, End::Uncertain, End::Exhausted, End::Denied, End::ClientLeft];
        ends.into_iter().flat_map(move |end| {
            [false, true].into_iter().flat_map(move |enabled| {
                [0, 1, 16].into_iter().flat_map(move |retries| {
                    [0, 1, 1000].into_iter().flat_map(move |untried_nodes| {
                        [now, now + Duration::from_secs(1)].into_iter().map(move |deadline| {
                            (end, Left { enabled, retries, untried_nodes, deadline }, now)
                        })
                    })
                })
            })
        })
    }

    #[test]
    fn a_request_goes_on_exactly_when_it_is_unwritten_and_retries_nodes_and_time_are_left() {
        let mut retried = 0;
        for (end, left, now) in all() {
            let goes_on = end == End::Unwritten
                && left.enabled
                && left.retries > 0
                && left.untried_nodes > 0
                && now < left.deadline;
            assert_eq!(verdict(end, left, now) == Verdict::Retried, goes_on, "{end:?} {left:?}");
            retried += usize::from(goes_on);
        }
        assert_eq!(retried, 4);
    }

    #[test]
    fn every_other_end_is_told_by_its_own_verdict() {
        for (end, left, now) in all() {
            let told = verdict(end, left, now);
            let expected = match end {
                End::Answered => Verdict::Answered,
                End::Uncertain => Verdict::Uncertain,
                End::Exhausted | End::Denied => Verdict::NotRetryable,
                End::ClientLeft => Verdict::Canceled,
                End::Unwritten if !left.enabled => Verdict::Disabled,
                End::Unwritten if left.retries == 0 => Verdict::NoRetriesLeft,
                End::Unwritten if left.untried_nodes == 0 => Verdict::NoUntriedNode,
                End::Unwritten if left.deadline <= now => Verdict::Deadline,
                End::Unwritten => Verdict::Retried,
            };
            assert_eq!(told, expected, "{end:?} {left:?}");
        }
    }
}
