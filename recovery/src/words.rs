//! The 1024 words of SLIP-0039. The first four letters of a word identify it.

use std::sync::LazyLock;

use zeroize::Zeroizing;

/// In alphabetical order. The source and its licence are in README.md.
static WORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("slip-0039/wordlist.txt").split_ascii_whitespace().collect());

/// How many letters identify a word.
const PREFIX: usize = 4;
/// The letters of the longest word.
const LONGEST: usize = 8;

/// The word of an index below 1024.
pub(crate) fn word(index: u16) -> &'static str {
    WORDS.get(usize::from(index)).copied().unwrap_or_default()
}

/// The index of a word, in any case. The word may be cut off after its fourth letter.
pub(crate) fn index(typed: &str) -> Option<u16> {
    let mut letters = Zeroizing::new([0; LONGEST]);
    let letters = letters.get_mut(..typed.len())?;
    letters.copy_from_slice(typed.as_bytes());
    letters.make_ascii_lowercase();
    let prefix = letters.get(..PREFIX)?;
    let found = WORDS.binary_search_by(|word| word.as_bytes().iter().take(PREFIX).cmp(prefix));
    let index = found.ok()?;
    let word = WORDS.get(index)?;
    if word.as_bytes().starts_with(letters) { u16::try_from(index).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_found_whole_cut_off_and_in_any_case() {
        assert_eq!(WORDS.len(), 1024);
        for (number, word) in (0..).zip(WORDS.iter()) {
            assert!((PREFIX..=LONGEST).contains(&word.len()), "{word}");
            for length in PREFIX..=word.len() {
                assert_eq!(index(&word[..length]), Some(number), "{word}");
                assert_eq!(index(&word[..length].to_uppercase()), Some(number), "{word}");
            }
            assert_eq!(super::word(number), *word);
            assert_eq!(index(&word[..3]), None);
            assert_eq!(index(&format!("{word}x")), None);
        }
        for unknown in ["", "acad\u{e9}", "acadamic", "zzzz", "zero zero", "\u{1f511}"] {
            assert_eq!(index(unknown), None);
        }
        assert_eq!(super::word(1024), "");
    }
}
