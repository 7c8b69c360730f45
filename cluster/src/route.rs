//! What a request's path says about who can answer it.

use streamfleet_proto::{MediaId, SessionId};

/// Who can answer a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Who has this session: uploads.
    Session(SessionId),
    /// Who made this file.
    Media(MediaId),
    /// Somebody whose script has run: it is what registers components. By name, as scripts differ from page to page.
    Component(String),
    /// Always the same one: the agent API keeps sessions by ids in its bodies.
    Agent,
    /// Who has the version of Streamlit that the page is from: a file of the front end.
    Asset,
    /// Anybody.
    Any,
}

impl Route {
    /// The route of a path, percent-encoded and without its query, for an app at a base path without slashes at either end.
    pub fn of(raw_path: &[u8], base_url_path: &str) -> Self {
        let path = std::str::from_utf8(raw_path).unwrap_or_default();
        let path = path.trim_start_matches('/');
        let path = match path.strip_prefix(base_url_path) {
            Some(rest) if !base_url_path.is_empty() => rest.trim_start_matches('/'),
            _ => path,
        };
        let mut segments = path.split('/');
        match (segments.next(), segments.next(), segments.next()) {
            (Some("_stcore"), Some("upload_file"), Some(session)) => session.parse().map_or(Self::Any, Self::Session),
            (Some("_stcore"), Some("bidi-components"), Some(name)) | (Some("component"), Some(name), _) => {
                Self::Component(name.to_owned())
            }
            (Some("_stcore"), Some("agent"), _) => Self::Agent,
            (Some("static"), Some(_), _) => Self::Asset,
            (Some("media"), Some(file), None) => {
                file.rsplit_once('.').map_or(file, |(id, _)| id).parse().map_or(Self::Any, Self::Media)
            }
            _ => Self::Any,
        }
    }

    /// Whether somebody else of the same revision may have what one doesn't have.
    pub fn may_be_elsewhere(&self) -> bool {
        matches!(self, Self::Media(_) | Self::Component(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_who_can_answer() {
        let session = SessionId::random();
        let upload = format!("/_stcore/upload_file/{session}/some-file");
        let of = |path| Route::of(path, "");
        let media = Route::Media("abc".parse().unwrap());
        assert_eq!(of(upload.as_bytes()), Route::Session(session));
        assert_eq!(of(b"/_stcore/upload_file/nonsense/x"), Route::Any);
        assert_eq!(of(b"/media/abc.png"), media);
        assert_eq!(of(b"/media/abc"), media);
        assert_eq!(of(b"/media/nonsense"), Route::Any);
        assert_eq!(of(b"/component/my.thing/index.html"), Route::Component("my.thing".to_owned()));
        assert_eq!(of(b"/_stcore/bidi-components/a/b.js"), Route::Component("a".to_owned()));
        assert_eq!(of(b"/_stcore/agent/mcp"), Route::Agent);
        assert_eq!(of(b"/static/js/index.abc.js"), Route::Asset);
        assert_eq!(of(b"/app/static/a.js"), Route::Any);
        assert_eq!(of(b"/_stcore/health"), Route::Any);
        assert_eq!(of(b"/"), Route::Any);
        assert_eq!(of(b"/\xff"), Route::Any);
    }

    #[test]
    fn a_base_path_stands_in_front() {
        let media = Route::Media("e".parse().unwrap());
        assert_eq!(Route::of(b"/a/b/media/e.png", "a/b"), media);
        assert_eq!(Route::of(b"/media/e.png", "a/b"), media);
        assert_eq!(Route::of(b"/app/static/a.js", "app"), Route::Asset);
        assert_eq!(Route::of(b"/app/app/static/a.js", "app"), Route::Any);
    }
}
