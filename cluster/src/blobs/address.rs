//! Where uploaded files are to be kept, as it is written in settings.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where uploaded files are to be kept: `/a/folder`, `file:///a/folder` or `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobsAddress {
    /// A folder, the same one for all runners.
    Folder(PathBuf),
    /// A bucket, and what the names of all objects in it begin with; may be empty.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// Without slashes at its ends.
        prefix: String,
    },
}

/// What is wrong with an address.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no place for files: {reason}; give a folder, file:///FOLDER or s3://BUCKET/PREFIX")]
pub struct BlobsAddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for BlobsAddress {
    type Err = BlobsAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| BlobsAddressError { text: text.to_owned(), reason };
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        match scheme {
            "" if rest.is_empty() => Err(error("it is empty")),
            "" => Ok(Self::Folder(rest.into())),
            "file" if rest.starts_with('/') => Ok(Self::Folder(rest.into())),
            "file" => Err(error("the folder must be given in full, file:///FOLDER")),
            "s3" if !cfg!(feature = "aws") => {
                Err(error("this program was built without S3 (cargo build --features aws)"))
            }
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(error("the bucket is missing"));
                }
                Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
            }
            _ => Err(error("its scheme is unknown")),
        }
    }
}

impl fmt::Display for BlobsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |text: &str| text.parse::<BlobsAddress>().map(|address| address.to_string());
        assert_eq!(read("/a/b").unwrap(), "/a/b");
        assert_eq!(read("b").unwrap(), "b");
        assert_eq!(read("file:///a/b").unwrap(), "/a/b");
        for bad in ["", "file://host/a", "http://a", "s3://", "s3:///a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let s3 = read("s3://bucket/a/b/");
        if cfg!(feature = "aws") {
            assert_eq!(s3.unwrap(), "s3://bucket/a/b");
        } else {
            assert!(s3.unwrap_err().to_string().contains("--features aws"));
        }
    }
}
