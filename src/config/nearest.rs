//! The word that somebody meant: the nearest of those there are.

/// The candidate nearest to `word`, if one is near enough to have been meant: a few letters off, or longer by its end.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| (!word.is_empty() && candidate.starts_with(word)) || is_near(word, candidate);
    candidates.into_iter().filter(near).min_by_key(|candidate| distance(word, candidate))
}

fn is_near(word: &str, candidate: &str) -> bool {
    distance(word, candidate) <= (candidate.chars().count() / 3).max(1)
}

/// Letters to insert, drop, change or swap with their neighbour (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, wanted) in other.iter().enumerate() {
            let change = rows[i][j] + usize::from(letter != wanted);
            let mut least = change.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && one[i - 1] == *wanted && *letter == other[j - 1] {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant() {
        let check = |word, expected: Option<&str>| {
            assert_eq!(nearest(word, ["smtp", "http", "database", "recipients_max", "log"]), expected, "{word}");
        };
        check("smpt", Some("smtp"));
        check("htp", Some("http"));
        check("databse", Some("database"));
        check("recipient", Some("recipients_max"));
        check("recipient_max", Some("recipients_max"));
        check("logs", Some("log"));
        check("banana", None);
        check("", None);
    }
}
