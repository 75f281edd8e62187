//! What somebody may have meant.

/// The candidate nearest to `word`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let far = |candidate: &&str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    let nearest = candidates.into_iter().min_by_key(far)?;
    (far(&nearest) <= (word.chars().count() / 3).max(1)).then_some(nearest)
}

/// The time zone that `name` may have meant; a city's name is enough.
pub(super) fn zone(name: &str) -> Option<&'static str> {
    let names = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let plain = name.trim().replace(' ', "_");
    nearest(&plain, names()).or_else(|| {
        let city = |zone: &&str| zone.rsplit('/').next().is_some_and(|city| nearest(&plain, [city]).is_some());
        names().find(city)
    })
}

/// `did you mean "x"?`, or what there is.
pub(super) fn hint(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write {}", one_of(candidates)),
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
