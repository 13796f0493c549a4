//! Whose requests they are: a few users who ask often and many who seldom do (pure).

use hyper::header::HeaderValue;

use crate::entropy::Random;

/// The field that the name of the user is sent in.
pub(super) const FIELD: &str = "X-User";
/// How many users there are.
pub(super) const COUNT: usize = 1000;

/// The users of so many requests, drawn by Zipf's law with the exponent 1: the `k`th most frequent user asks `1/k` times
/// as often as the first, who asks for 13 % of it all.
///
/// Users of another round have other names, so that rounds together show several draws of who goes where: one alone
/// is ruled by where the first user ends up.
pub(super) fn draw(requests: usize, round: u32, random: &mut Random) -> Vec<HeaderValue> {
    let mut up_to = Vec::with_capacity(COUNT);
    let mut sum = 0.0;
    for rank in 1..=COUNT {
        sum += 1.0 / rank as f64;
        up_to.push(sum);
    }
    let mut one = || {
        let drawn = random.unit() * sum;
        let user = up_to.partition_point(|up_to| *up_to <= drawn);
        HeaderValue::try_from(format!("user-{round}-{user}"))
    };
    // Letters, digits and hyphens are a valid value.
    (0..requests).filter_map(|_| one().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_user_asks_for_an_eighth_of_it_all_and_twice_as_often_as_the_second() {
        let drawn = draw(100_000, 3, &mut Random::seeded(1));
        let of = |user: &str| drawn.iter().filter(|name| *name == user).count();
        let (first, second) = (of("user-3-0"), of("user-3-1"));
        assert!((13_000..13_700).contains(&first), "{first}");
        assert!((6_400..6_950).contains(&second), "{second}");
        let last = of("user-3-999");
        assert!((1..40).contains(&last), "{last}");
        assert_eq!(of("user-3-1000"), 0);
    }
}
