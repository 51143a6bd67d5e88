use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Failure, Result};

/// Asks `condition` every 20 ms until it holds. Tests wait like this and never sleep for a guessed time.
///
/// # Errors
/// When it does not hold after `limit`; the message names `what` was waited for.
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > limit {
            return Err(Failure::new(format!("waited {limit:?} in vain: {what}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut asked = 0;
        wait_until(Duration::from_secs(60), "the third time", || {
            asked += 1;
            asked == 3
        })
        .unwrap();
        assert_eq!(asked, 3);
    }

    #[test]
    fn a_wait_in_vain_names_what_was_waited_for() {
        let failure = wait_until(Duration::ZERO, "the moon", || false).unwrap_err();
        assert!(failure.to_string().contains("the moon"), "{failure}");
    }
}
