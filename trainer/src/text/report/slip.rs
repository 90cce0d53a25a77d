//! Words misspelt: FINDINDGS, IMPERSSION, NDICATION.

/// Whether `word` is `right` with one slip (a letter missing, added or changed, two neighbours exchanged), or with two where both
/// begin alike: COMPRESSION is no IMPRESSION.
pub(super) fn is_slip_of(word: &str, right: &str) -> bool {
    if word.len().abs_diff(right.len()) > 2 || word.len() < 5 {
        return word == right;
    }
    let alike = word.as_bytes()[0] == right.as_bytes()[0];
    edits(word.as_bytes(), right.as_bytes()) <= if alike { 2 } else { 1 }
}

/// Optimal string alignment distance.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = changed.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(above[j - 2] + 1);
            }
        }
        above = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_known_and_other_words_are_not() {
        for slip in ["FINDNGS", "FINDINDGS", "FINDGINGS", "FINIDNGS", "INDINGS", "FIDNIGNS"] {
            assert!(is_slip_of(slip, "FINDINGS"), "{slip}");
        }
        for slip in
            ["IMRPESSION", "IMPERSSION", "MPRESSION", "IMOPRESSION", "IMPRESSIIN", "IMPESSON"]
        {
            assert!(is_slip_of(slip, "IMPRESSION"), "{slip}");
        }
        for other in ["COMPRESSION", "DEPRESSION", "EXPRESSION", "IMP", ""] {
            assert!(!is_slip_of(other, "IMPRESSION"), "{other}");
        }
        assert!(is_slip_of("NDICATION", "INDICATION") && !is_slip_of("DEDICATION", "INDICATION"));
    }
}
