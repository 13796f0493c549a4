//! Which endpoints a search has offered, so that it offers none twice.

/// As many as are remembered without allocating; a search that gets beyond is rare and slow anyhow.
const FEW: usize = 32;

/// A set of slots that begins on the stack.
#[derive(Debug)]
pub(in crate::balance) struct Offered {
    few: [u32; FEW],
    count: usize,
    /// One bit for each slot; empty while `few` holds all.
    many: Vec<u64>,
    slots: usize,
}

impl Offered {
    /// None yet, of this many slots.
    pub(in crate::balance) fn none_of(slots: usize) -> Self {
        Self {
            few: [0; FEW],
            count: 0,
            many: Vec::new(),
            slots,
        }
    }

    /// Adds a slot; `false` when it was there.
    pub(in crate::balance) fn insert(&mut self, slot: usize) -> bool {
        if self.contains(slot) {
            return false;
        }
        if self.many.is_empty() && self.count == FEW {
            self.many = vec![0; self.slots.div_ceil(64)];
            for slot in self.few {
                self.many[slot as usize / 64] |= 1 << (slot % 64);
            }
        }
        if self.many.is_empty() {
            // A slot is below `MAX_PLACES`.
            self.few[self.count] = slot as u32;
        } else {
            self.many[slot / 64] |= 1 << (slot % 64);
        }
        self.count += 1;
        true
    }

    pub(in crate::balance) fn contains(&self, slot: usize) -> bool {
        if self.many.is_empty() {
            self.few[..self.count].contains(&(slot as u32))
        } else {
            self.many[slot / 64] >> (slot % 64) & 1 == 1
        }
    }

    pub(in crate::balance) fn count(&self) -> usize {
        self.count
    }
}
