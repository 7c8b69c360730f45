//! The one place that says which Pythons and Streamlits this release runs on.

use std::ops::{Range, RangeInclusive};

/// Major and minor number.
type Version = (u32, u32);

const PYTHON: RangeInclusive<Version> = (3, 10)..=(3, 14);
const STREAMLIT: Range<Version> = (1, 57)..(2, 0);

/// The supported Pythons, in words.
pub const PYTHON_RANGE: &str = "3.10 to 3.14";
/// The supported Streamlits, in words.
pub const STREAMLIT_RANGE: &str = "1.57 or newer, below 2";
/// The same for pip: what is installed when the app does not ask for a Streamlit itself.
pub const STREAMLIT_REQUIREMENT: &str = "streamlit>=1.57,<2";

pub(super) fn python_is_supported(version: &str) -> bool {
    parse(version).is_some_and(|version| PYTHON.contains(&version))
}

pub(super) fn streamlit_is_supported(version: &str) -> bool {
    parse(version).is_some_and(|version| STREAMLIT.contains(&version))
}

/// The names under which a supported Python may be found: the user's default one, then the newest.
pub(super) fn python_names() -> Vec<String> {
    let (major, oldest) = *PYTHON.start();
    let minors = (oldest..=PYTHON.end().1).rev();
    std::iter::once("python3".to_owned()).chain(minors.map(|minor| format!("python{major}.{minor}"))).collect()
}

/// `3.11` of `3.11.7`.
pub(super) fn minor_of(version: &str) -> String {
    match parse(version) {
        Some((major, minor)) => format!("{major}.{minor}"),
        None => version.to_owned(),
    }
}

/// Reads the first two numbers, which is all that the ranges are about: `1.58.0rc1` counts as 1.58.
fn parse(version: &str) -> Option<Version> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().unwrap_or("0");
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_python_range_count() {
        for version in ["3.10.0", "3.11.7", "3.14.2", "3.14.0rc1"] {
            assert!(python_is_supported(version), "{version}");
        }
        for version in ["2.7.18", "3.9.18", "3.15.0", "4.0.0", "", "three"] {
            assert!(!python_is_supported(version), "{version}");
        }
    }

    #[test]
    fn streamlit_starts_at_1_57_and_ends_before_2() {
        for version in ["1.57.0", "1.67.0", "1.58.0rc1", "1.60"] {
            assert!(streamlit_is_supported(version), "{version}");
        }
        for version in ["1.56.9", "2.0.0", "0.89", "1.x"] {
            assert!(!streamlit_is_supported(version), "{version}");
        }
    }

    #[test]
    fn words_and_numbers_agree() {
        let words = |(major, minor): Version| format!("{major}.{minor}");
        assert_eq!(PYTHON_RANGE, format!("{} to {}", words(*PYTHON.start()), words(*PYTHON.end())));
        let lowest = words(STREAMLIT.start);
        assert!(STREAMLIT_RANGE.starts_with(&lowest));
        assert_eq!(STREAMLIT_REQUIREMENT, format!("streamlit>={lowest},<2"));
    }

    #[test]
    fn the_default_python_is_looked_for_first() {
        let names = python_names();
        assert_eq!(names[..2], ["python3", "python3.14"]);
        assert_eq!(names.last().map(String::as_str), Some("python3.10"));
    }
}
