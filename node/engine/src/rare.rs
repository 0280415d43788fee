//! What most of a kind do not have, and what those that have it keep aside.

use std::ops::{Deref, DerefMut};

/// What can be looked at without being there.
pub(crate) trait Blank: Default + 'static {
    /// What there is where there is nothing: as [`Default`] says.
    fn blank() -> &'static Self;
}

/// Something that takes a pointer until it is changed: a supernode has a million nodes that have none of most things.
#[derive(Debug)]
pub(crate) struct Rare<T>(Option<Box<T>>);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Rare<T> {
    /// What was made, to be changed without making it.
    pub(crate) fn made(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// The same, to be looked at.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::blank())
    }
}

/// Makes it.
impl<T: Blank> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

/// Says what is blank of a type that has a [`Default`].
macro_rules! blank {
    ($kind:ty) => {
        impl $crate::rare::Blank for $kind {
            fn blank() -> &'static Self {
                static BLANK: std::sync::LazyLock<$kind> = std::sync::LazyLock::new(<$kind>::default);
                &BLANK
            }
        }
    };
}
pub(crate) use blank;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Thing(u32);
    blank!(Thing);

    #[test]
    fn looking_makes_nothing() {
        let mut rare: Rare<Thing> = Rare::default();
        assert_eq!((rare.0.is_none(), rare.made().is_none()), (true, true));
        assert_eq!(
            (
                rare.0.is_some(),
                rare.get().is_some(),
                rare.0.as_ref().map_or(0, |it| it.0)
            ),
            (false, false, 0)
        );
        assert_eq!(Deref::deref(&rare).0, 0);
        assert!(rare.made().is_none());
        DerefMut::deref_mut(&mut rare).0 = 7;
        assert_eq!((Deref::deref(&rare).0, rare.made().map(|it| it.0)), (7, Some(7)));
    }
}
