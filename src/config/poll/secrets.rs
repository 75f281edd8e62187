//! What must not be read by anybody.

use std::fmt;

use super::template::encoded;

/// Shorter values are no secrets, and would be found in ordinary words.
const SHORTEST: usize = 4;

/// Values that are taken out of every text before somebody sees it.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// One more secret, also as it stands in an address or in JSON.
    pub fn add(&mut self, value: &str) {
        let escaped = serde_json::Value::from(value).to_string();
        for form in [value.trim().to_owned(), encoded(value), escaped.trim_matches('"').to_owned()] {
            if form.len() >= SHORTEST && !self.0.contains(&form) {
                self.0.push(form);
            }
        }
        // Of two, one of which is part of the other, the longer one is taken out first.
        self.0.sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    /// The text without any secret.
    ///
    /// ```
    /// # use windrow::config::poll::Secrets;
    /// let mut secrets = Secrets::default();
    /// secrets.add("s3cret/+");
    /// assert_eq!(secrets.hide("no /quote?token=s3cret%2F%2B here"), "no /quote?token=*** here");
    /// ```
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}
