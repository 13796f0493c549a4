//! What lets one attempt through a breaker, and how the attempt came out.

use std::sync::Arc;
use std::time::Duration;

use super::Rules;
use super::switch::Switch;

/// How an attempt came out, as far as a breaker asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response head after so long.
    Answered(Duration),
    /// A failure after so long, by its label.
    Failed(Duration, &'static str),
    /// Another attempt answered first, after so long: it is slow, or it says nothing.
    Overtaken(Duration),
    /// What was answered broke off: a failure after all.
    Broke(&'static str),
}

/// Lets one attempt through. Dropping it gives back what it holds and decides nothing.
#[derive(Debug, Default)]
pub struct Pass {
    pub(super) epoch: u32,
    pub(super) probe: Option<Box<Probe>>,
    /// By what number its answer put an end to failures in a row, see [`super::row::Row`]; 0: it did not.
    pub(super) ended_row: u32,
}

impl Pass {
    /// Of one that goes through without a say.
    pub fn without_say() -> Self {
        Self::of(u32::MAX)
    }

    /// Whether it is that of a probe.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Of an attempt that is no probe.
    pub(super) fn of(epoch: u32) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }
}

/// A place among the probes, which is given back when this is dropped before it decides.
#[derive(Debug)]
pub(super) struct Probe {
    switch: Arc<Switch>,
    epoch: u32,
    rules: Rules,
    is_decided: bool,
}

impl Probe {
    /// Of a place that was taken just now.
    pub(super) fn new(switch: &Arc<Switch>, epoch: u32, rules: &Rules) -> Self {
        Self {
            switch: Arc::clone(switch),
            epoch,
            rules: *rules,
            is_decided: false,
        }
    }

    /// It has its say: in which epoch it was let through. Who records that gives its place back.
    pub(super) fn decide(mut self) -> u32 {
        self.is_decided = true;
        self.epoch
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.is_decided {
            self.switch.give_back(&self.rules, self.epoch);
        }
    }
}
