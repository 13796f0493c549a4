//! Chance: the only caller of the system's randomness, and the seedable generator that everything else is handed.

pub mod latency;

/// A small, fast, seedable generator (wyrand). Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The same seed gives the same sequence on every machine.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Seeded from the operating system.
    pub fn from_system() -> Self {
        Self::seeded(system_seed())
    }

    /// Uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            self.0.usize(0..bound)
        }
    }

    /// Uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}

/// Eight bytes from the operating system.
pub fn system_seed() -> u64 {
    let mut bytes = [0u8; 8];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes),
        // getrandom(2) never reads short for so few bytes once the pool is ready; the hasher's keys are as good here.
        _ => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8),
    }
}

/// 32 bytes that nobody can guess, from the operating system.
///
/// # Panics
/// When the system has no randomness to give, where nothing that must stay secret could be kept.
pub fn system_secret() -> [u8; 32] {
    let mut secret = [0; 32];
    let filled = rustix::rand::getrandom(&mut secret[..], rustix::rand::GetRandomFlags::empty());
    assert_eq!(
        filled,
        Ok(secret.len()),
        "getrandom(2) gives up to 256 bytes whole"
    );
    secret
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let (mut a, mut b) = (Random::seeded(7), Random::seeded(7));
        let first: Vec<u64> = (0..8).map(|_| a.next_u64()).collect();
        let second: Vec<u64> = (0..8).map(|_| b.next_u64()).collect();
        assert_eq!(first, second);
        assert_ne!(first[0], first[1]);
    }
}
