//! What a listener asks of its connections now, as those see it that were accepted before.

use std::cell::RefCell;
use std::rc::Rc;

/// Rules that are replaced while connections hold on to them. Cheap to clone; all clones see the same.
#[derive(Debug)]
pub struct InForce<T>(Rc<RefCell<Rc<T>>>);

impl<T> InForce<T> {
    /// These, until others are put in their place.
    pub fn new(rules: T) -> Self {
        Self(Rc::new(RefCell::new(Rc::new(rules))))
    }

    /// Those in force now.
    pub fn now(&self) -> Rc<T> {
        Rc::clone(&self.0.borrow())
    }

    /// Puts these in force, for all clones.
    pub fn put(&self, rules: T) {
        self.0.replace(Rc::new(rules));
    }
}

impl<T> Clone for InForce<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_on_to_them_sees_the_new_ones() {
        let rules = InForce::new(1);
        let (held, begun) = (rules.clone(), rules.now());
        rules.put(2);
        assert_eq!((*begun, *held.now()), (1, 2));
    }
}
