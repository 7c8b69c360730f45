//! Why AWS didn't do what it was asked for.

#[cfg(feature = "sdk")]
use std::error::Error;

#[cfg(feature = "sdk")]
use aws_smithy_runtime_api::client::result::SdkError;
#[cfg(feature = "sdk")]
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Codes of what AWS won't do however often it is asked: there is no such action (any more), or no such thing.
#[cfg(feature = "sdk")]
const REFUSALS: [&str; 3] = ["ValidationError", "ValidationException", "ResourceNotFoundException"];

/// Why AWS didn't do what it was asked for. Whoever made it has tried more than once.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AwsError {
    /// It says that there is nothing of the kind. Asking again makes no difference while all is as it is.
    #[error("{what}: refused: {reason}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        reason: String,
    },
    /// It could not be reached in time, is throttling, or something else is wrong that may pass.
    #[error("{what}: {reason}")]
    Failed {
        /// What was asked for.
        what: &'static str,
        /// What went wrong.
        reason: String,
    },
}

impl AwsError {
    /// Whether asking again makes no difference.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

#[cfg(feature = "sdk")]
impl AwsError {
    /// Something else went wrong, with all that caused it.
    pub(crate) fn failed(what: &'static str, error: &(dyn Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        Self::Failed { what, reason }
    }

    /// A call of the SDK's went wrong.
    pub(crate) fn of_call<E, R>(what: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let Some(said) = error.as_service_error().map(ProvideErrorMetadata::meta) else {
            return Self::failed(what, error);
        };
        let code = said.code().unwrap_or("unknown error");
        let reason = format!("{code}: {}", said.message().unwrap_or("nothing is said of it"));
        if REFUSALS.contains(&code) { Self::Refused { what, reason } } else { Self::Failed { what, reason } }
    }
}
