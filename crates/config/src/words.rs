//! Words in messages.

/// "`a`, `b` or `c`"
pub(crate) fn or_list<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    known
        .map(|known| (strsim::damerau_levenshtein(&word, known), known))
        .filter(|(distance, known)| {
            *distance <= known.len() / 3 || known.starts_with(&word) && word.len() > 2
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// `text` in backquotes, short and without control characters, for a message.
pub(crate) fn quoted(text: &str) -> String {
    const LONG: usize = 60;
    let mut shown = String::new();
    for c in text.chars().take(LONG) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(LONG).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A text as it can stand in a list of YAML: in quotes where it has a colon.
pub(crate) fn in_yaml(text: &str) -> String {
    let shown = quoted(text);
    let shown = shown.trim_matches('`');
    if shown.contains(':') { format!("\"{shown}\"") } else { shown.to_owned() }
}
