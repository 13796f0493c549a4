//! Which passwords were found right or wrong lately, and how many are being looked at: State, one for the process.
//!
//! To hash a password takes a tenth of a second on purpose, and browsers send it with every request. What was judged is
//! remembered by a code that is made of the user, the password and the line of the file with a secret of this process: a
//! line that changes, or a user who is gone, is judged anew at once. No password is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::password::Hash;
use crate::clock::Instant;
use crate::entropy;

/// Right ones that are remembered; about 100 bytes each.
const RIGHT: usize = 8192;
/// How long. After it one request of the user takes as long as the first did.
const RIGHT_FOR: Duration = Duration::from_secs(3600);
/// Wrong ones that are remembered: clients that were not told of a new password ask again and again.
const WRONG: usize = 1024;
const WRONG_FOR: Duration = Duration::from_secs(10);
/// Requests that may wait until a thread is free to hash. More would wait for longer than anybody does.
const WAITING: usize = 128;

/// What stands for a user, a password and the line of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code([u8; 32]);

/// What is known of passwords.
#[derive(Debug)]
pub struct Checks {
    key: hmac::Key,
    right: Mutex<Shelf>,
    wrong: Mutex<Shelf>,
    /// Who may hash at once.
    hashing: Arc<Semaphore>,
    /// Who may hash or wait for it.
    room: Arc<Semaphore>,
}

/// Codes until when they count, in the order in which they came.
#[derive(Debug, Default)]
struct Shelf {
    until: HashMap<Code, Instant>,
    order: VecDeque<Code>,
}

impl Shelf {
    fn holds(&self, code: &Code, now: Instant) -> bool {
        self.until.get(code).is_some_and(|until| now < *until)
    }

    fn put(&mut self, code: Code, until: Instant, most: usize) {
        if self.until.insert(code, until).is_some() {
            return;
        }
        self.order.push_back(code);
        if self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.until.remove(&oldest);
        }
    }
}

/// The right to hash a password, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _hashing: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

impl Default for Checks {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(entropy::system_secret(), cores)
    }
}

impl Checks {
    /// `secret` is chance. A quarter of the cores may hash, at least one: who guesses passwords must not have them all.
    pub fn new(secret: [u8; 32], cores: usize) -> Self {
        let hashing = (cores / 4).max(1);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            right: Mutex::default(),
            wrong: Mutex::default(),
            hashing: Arc::new(Semaphore::new(hashing)),
            room: Arc::new(Semaphore::new(hashing + WAITING)),
        }
    }

    /// The code of a password that is to be looked at.
    pub fn code(&self, user: &[u8], password: &[u8], hash: &Hash) -> Code {
        let mut code = hmac::Context::with_key(&self.key);
        for part in [user, hash.to_string().as_bytes(), password] {
            code.update(&(part.len() as u64).to_be_bytes());
            code.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(code.sign().as_ref());
        Code(bytes)
    }

    /// What was found the last time, if that still counts.
    pub fn known(&self, code: &Code, now: Instant) -> Option<bool> {
        if lock(&self.right).holds(code, now) {
            return Some(true);
        }
        lock(&self.wrong).holds(code, now).then_some(false)
    }

    /// Remembers what was found.
    pub fn found(&self, code: Code, is_right: bool, now: Instant) {
        if is_right {
            lock(&self.right).put(code, now + RIGHT_FOR, RIGHT);
        } else {
            lock(&self.wrong).put(code, now + WRONG_FOR, WRONG);
        }
    }

    /// Waits for a turn; `None`: too many wait already.
    pub async fn turn(&self) -> Option<Turn> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let hashing = Arc::clone(&self.hashing).acquire_owned().await.ok()?;
        Some(Turn {
            _hashing: hashing,
            _room: room,
        })
    }

    /// How many right ones are remembered.
    pub fn remembered(&self) -> usize {
        lock(&self.right).until.len()
    }
}

/// A panic within leaves a shelf that is as good as any.
fn lock(shelf: &Mutex<Shelf>) -> std::sync::MutexGuard<'_, Shelf> {
    shelf
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &str) -> Hash {
        Hash::make(password.as_bytes(), b"saltsalt", 1000).unwrap()
    }

    #[test]
    fn what_was_found_counts_for_its_time() {
        let checks = Checks::new([1; 32], 4);
        let (right, wrong) = (hash("x"), hash("y"));
        let code = checks.code(b"ops", b"x", &right);
        let other = checks.code(b"ops", b"x", &wrong);
        assert_ne!(code, other, "another line of the file is another password");
        assert_ne!(code, checks.code(b"opsx", b"", &right));
        assert_ne!(code, Checks::new([2; 32], 4).code(b"ops", b"x", &right));
        assert_eq!(checks.known(&code, Instant(0)), None);
        checks.found(code, true, Instant(0));
        checks.found(other, false, Instant(0));
        let at = |span: Duration| Instant(0) + span;
        assert_eq!(checks.known(&code, at(RIGHT_FOR / 2)), Some(true));
        assert_eq!(checks.known(&other, at(WRONG_FOR / 2)), Some(false));
        assert_eq!(checks.known(&other, at(WRONG_FOR)), None);
        assert_eq!(checks.known(&code, at(RIGHT_FOR)), None);
        checks.found(code, true, at(RIGHT_FOR));
        assert_eq!(checks.known(&code, at(RIGHT_FOR)), Some(true));
        assert_eq!(checks.remembered(), 1);
    }

    #[test]
    fn wrong_ones_do_not_push_right_ones_out_and_all_have_a_bound() {
        let checks = Checks::new([1; 32], 1);
        let hash = hash("x");
        let code = checks.code(b"ops", b"x", &hash);
        checks.found(code, true, Instant(0));
        for guess in 0..2 * WRONG as u64 {
            let code = checks.code(b"ops", &guess.to_be_bytes(), &hash);
            checks.found(code, false, Instant(0));
        }
        assert_eq!(checks.known(&code, Instant(1)), Some(true));
        assert_eq!(lock(&checks.wrong).until.len(), WRONG);
        assert_eq!(lock(&checks.wrong).order.len(), WRONG);
    }

    #[tokio::test]
    async fn turns_are_bounded_and_so_is_who_waits_for_one() {
        let checks = Checks::new([1; 32], 8);
        let first = checks.turn().await.unwrap();
        let second = checks.turn().await.unwrap();
        let waiting = checks.turn();
        let mut waiting = std::pin::pin!(waiting);
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(cx).is_pending());
        drop(first);
        assert!(waiting.await.is_some());
        let all = checks
            .room
            .try_acquire_many(u32::try_from(WAITING).unwrap() + 1)
            .unwrap();
        assert!(checks.turn().await.is_none());
        drop((second, all));
        assert!(checks.turn().await.is_some());
    }
}
