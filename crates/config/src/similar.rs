//! Which known word somebody may have meant.

/// The word nearest to `text`, if it is near enough.
pub(crate) fn to<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    let text = text.to_ascii_lowercase().replace('-', "_");
    if text.len() > 64 {
        return None;
    }
    let near = words.iter().map(|word| (distance(&text, word), *word));
    near.filter(|(distance, word)| *distance <= word.len().div_ceil(3)).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Letters to insert, remove or replace, or neighbours to swap (the restricted Damerau-Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = cell(&row, j) + usize::from(x != y);
            let mut least = replaced.min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                least = least.min(cell(&before, j - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let words = ["neighbours", "gateway", "mtu", "mac", "queues", "idle_timeout"];
        for (text, meant) in [
            ("neighbors", "neighbours"),
            ("gateways", "gateway"),
            ("gatewya", "gateway"),
            ("MTU", "mtu"),
            ("idle-timeout", "idle_timeout"),
        ] {
            assert_eq!(to(text, &words), Some(meant), "{text}");
        }
        assert_eq!(to("banana", &words), None);
    }

    #[test]
    fn a_swap_is_one_step() {
        assert_eq!(distance("abcd", "abdc"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
