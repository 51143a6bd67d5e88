//! How many results in a row it takes.

use crate::health::{Cause, Condition, Diagnosis};

/// The condition of a target, and how many results in a row speak against it.
#[derive(Debug)]
pub(super) struct Streak {
    condition: Condition,
    against: u16,
}

impl Streak {
    /// Nothing speaks against what is known.
    pub(super) const fn new(known: Condition) -> Self {
        Self { condition: known, against: 0 }
    }

    /// Notes a result; says when the condition changes with it.
    ///
    /// `fall` failures in a row bring it down, `rise` successes up; while nothing is known, the first result decides.
    pub(super) fn record(&mut self, result: Result<(), Cause>, fall: u16, rise: u16) -> Option<Diagnosis> {
        let (found, needed) = match result {
            Ok(()) => (Diagnosis::UP, rise),
            Err(cause) => (Diagnosis::down(cause), fall),
        };
        if found.condition == self.condition {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.condition != Condition::Unchecked && self.against < needed {
            return None;
        }
        *self = Self::new(found.condition);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Result<(), Cause> = Err(Cause::Refused);

    fn conditions(known: Condition, results: &[Result<(), Cause>]) -> Vec<Option<Condition>> {
        let mut streak = Streak::new(known);
        results.iter().map(|r| streak.record(r.clone(), 3, 2).map(|diagnosis| diagnosis.condition)).collect()
    }

    #[test]
    fn the_first_result_decides_at_once() {
        assert_eq!(conditions(Condition::Unchecked, &[Ok(())]), [Some(Condition::Up)]);
        assert_eq!(conditions(Condition::Unchecked, &[BAD]), [Some(Condition::Down)]);
    }

    #[test]
    fn it_falls_after_three_failures_in_a_row_and_rises_after_two_successes() {
        let results = [BAD, BAD, Ok(()), BAD, BAD, BAD, Ok(()), BAD, Ok(()), Ok(())];
        let mut expected = [None; 10];
        expected[5] = Some(Condition::Down);
        expected[9] = Some(Condition::Up);
        assert_eq!(conditions(Condition::Up, &results), expected);
    }
}
