//! Reads OpenTelemetry's environment variables.

use std::{collections::HashMap, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;

use crate::TraceError;

/// The variables of a process.
#[derive(Debug)]
pub(crate) struct Environment(HashMap<String, String>);

/// A variable that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

impl Environment {
    pub(crate) fn new(variables: HashMap<String, String>) -> Self {
        Self(variables)
    }

    /// The first of these that is set. One that is empty isn't.
    pub(crate) fn first<'a>(&'a self, names: &[&'a str]) -> Option<Variable<'a>> {
        names.iter().find_map(|&name| {
            let value = self.0.get(name)?.trim();
            (!value.is_empty()).then_some(Variable { name, value })
        })
    }

    /// A number; `default` when none of these is set.
    pub(crate) fn number<T: FromStr + PartialOrd + Copy>(
        &self,
        names: &[&str],
        default: T,
        least: T,
        allowed: &'static str,
    ) -> Result<T, TraceError> {
        let Some(variable) = self.first(names) else { return Ok(default) };
        let number = variable.value.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| variable.invalid(allowed))
    }

    /// A number of milliseconds.
    pub(crate) fn millis(&self, names: &[&str], default: Duration) -> Result<Duration, TraceError> {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Ok(Duration::from_millis(self.number(names, default, 0, "a number of milliseconds")?))
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, TraceError> {
        match self.first(&[name]) {
            None => Ok(false),
            Some(variable) if variable.value.eq_ignore_ascii_case("true") => Ok(true),
            Some(variable) if variable.value.eq_ignore_ascii_case("false") => Ok(false),
            Some(variable) => Err(variable.invalid("true or false")),
        }
    }
}

impl Variable<'_> {
    pub(crate) fn invalid(&self, allowed: &'static str) -> TraceError {
        TraceError::Invalid { name: self.name.to_owned(), value: self.value.to_owned(), allowed }
    }

    /// A list `key=value,key=value`, with values that may be percent-encoded. None if it isn't one.
    pub(crate) fn pairs(&self) -> Option<Vec<(String, String)>> {
        let parts = self.value.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (key, value) = part.split_once('=')?;
                let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
                let key = key.trim();
                (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
            })
            .collect()
    }
}
