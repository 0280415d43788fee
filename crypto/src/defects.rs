//! Defects planted on purpose, to see that the tests catch them.
//!
//! Each invariant that farlan promises is kept at one place, and at that place stands a switch that breaks it:
//! [`planted`] with the defect's name. In normal builds it is the constant `false`, and the compiler removes what hangs on
//! it. With the feature `defects`, which is for `scripts/defects` alone and never a default, the environment variable
//! `FARLAN_DEFECT` names the one defect of a run. `tests/defects.toml` lists them all.

/// Whether the defect `name` is planted in this process.
#[cfg(not(feature = "defects"))]
#[inline(always)]
pub const fn planted(_name: &str) -> bool {
    false
}

/// Whether the defect `name` is planted in this process.
#[cfg(feature = "defects")]
pub fn planted(name: &str) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("FARLAN_DEFECT").ok()).as_deref() == Some(name)
}
