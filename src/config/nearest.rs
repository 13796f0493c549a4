//! The valid name nearest to one that was mistyped.

/// The candidate with the smallest edit distance to `name`, if it is near enough to be meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let wanted: Vec<char> = plain(name).chars().take(64).collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let other: Vec<char> = plain(candidate).chars().take(64).collect();
        // A third of the letters may be wrong; one always, for the shortest names.
        let allowed = (wanted.len().max(other.len()) / 3).max(1);
        let starts =
            wanted.len() >= 4 && (other.starts_with(&wanted) || wanted.starts_with(&other));
        let distance = distance(&wanted, &other);
        let near = distance <= allowed && distance < wanted.len().max(other.len());
        let rank = if near { distance } else { usize::MAX };
        if (near || starts) && best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The optimal string alignment distance: letters left out, put in, changed, or two neighbours
/// swapped, which is the commonest slip of all.
fn distance(left: &[char], right: &[char]) -> usize {
    let width = right.len() + 1;
    let mut rows = vec![0; (left.len() + 1) * width];
    for (column, cell) in rows.iter_mut().take(width).enumerate() {
        *cell = column;
    }
    for row in 1..=left.len() {
        rows[row * width] = row;
        for column in 1..width {
            let changed = usize::from(left[row - 1] != right[column - 1]);
            let mut least = (rows[(row - 1) * width + column] + 1)
                .min(rows[row * width + column - 1] + 1)
                .min(rows[(row - 1) * width + column - 1] + changed);
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                least = least.min(rows[(row - 2) * width + column - 2] + 1);
            }
            rows[row * width + column] = least;
        }
    }
    rows.last().copied().unwrap_or(0)
}

/// `a`, `b` or `c`, for messages; cut when the list would be longer than a reader would read.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names
        .iter()
        .take(24)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > 24 {
        format!("{shown} and {} more", names.len() - 24)
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_swapped_a_missing_and_a_wrong_letter() {
        let names = ["balance", "protocol", "endpoints", "timeouts"];
        assert_eq!(nearest("blanace", names), Some("balance"));
        assert_eq!(nearest("protcol", names), Some("protocol"));
        assert_eq!(nearest("end-points", names), Some("endpoints"));
        assert_eq!(nearest("timeout", names), Some("timeouts"));
    }

    #[test]
    fn offers_nothing_where_nothing_is_near() {
        assert_eq!(nearest("health", ["balance", "protocol"]), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("", ["to"]), None);
    }

    #[test]
    fn takes_the_nearest_of_several() {
        assert_eq!(nearest("h3", ["h1x", "h2"]), Some("h2"));
    }
}
