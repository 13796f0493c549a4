//! How late a worker comes to what is due: measured only while somebody asks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::Worker;

/// How often it is measured, in real time. A worker that does not keep up is known after two of them.
const PROBE: Duration = Duration::from_millis(50);
/// After so many without a question nobody is interested any more.
const PATIENCE: u32 = 20;

/// What was measured last.
#[derive(Default)]
pub(super) struct Lag {
    /// How late the last probe was, and the one before.
    late: Cell<[Duration; 2]>,
    runs: Cell<bool>,
    /// Probes since the last question.
    unasked: Cell<u32>,
}

impl Lag {
    /// The lesser of the last two: a thread that stood still once has caught up, one that is late again and again does not
    /// keep up.
    fn late(&self) -> Duration {
        let [last, before] = self.late.get();
        last.min(before)
    }

    fn note(&self, late: Duration) {
        let [last, _] = self.late.get();
        self.late.set([late, last]);
    }
}

impl Worker {
    /// How late its tasks run, in real time; zero before that is known.
    pub fn late(self: &Rc<Self>) -> Duration {
        self.lag.unasked.set(0);
        if !self.lag.runs.replace(true) {
            let worker = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let _ending = worker.end_on_panic();
                worker.measure().await;
            });
        }
        self.lag.late()
    }

    /// Not by the wheel, whose ticks are too coarse.
    async fn measure(&self) {
        while self.lag.unasked.get() < PATIENCE {
            self.lag.unasked.set(self.lag.unasked.get() + 1);
            let begun = self.clock.now();
            tokio::time::sleep(PROBE).await;
            let took = self.clock.real(self.clock.now().since(begun));
            self.lag.note(took.saturating_sub(PROBE));
        }
        self.lag.late.set(Default::default());
        self.lag.runs.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_late_when_it_is_so_twice_in_a_row() {
        let lag = Lag::default();
        let late = [1, 150, 10, 120, 130, 1].map(|millis| {
            lag.note(Duration::from_millis(millis));
            lag.late().as_millis()
        });
        assert_eq!(late, [0, 1, 10, 10, 120, 1]);
    }
}
