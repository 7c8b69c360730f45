//! Interpreters made of shell, for tests: they answer the probe, make environments and run `pip install` as they are told.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A Python that does not exist.
///
/// It behaves as its fields say, and writes a line to `calls` beside itself for everything it is asked to do. The
/// environments it makes hold a copy of it, whose calls go to the same place.
#[derive(Clone)]
pub(super) struct FakePython {
    pub(super) version: &'static str,
    /// Modules it can import, as JSON.
    pub(super) modules: &'static str,
    pub(super) streamlit: Option<&'static str>,
    /// What `pip install` does, in shell; `$wanted` is all of its arguments.
    pub(super) pip: &'static str,
}

/// Installs Streamlit into the environment, and packages into the target folder.
pub(super) const PIP_THAT_WORKS: &str = r#"
    echo "Collecting streamlit"
    case "$wanted" in *--target*)
        shift 2
        while [ "$1" != --target ]; do shift; done
        for name in uvloop cloudpickle; do
            case "$wanted" in *"$name"*) mkdir -p "$2/$name" "$2/$name-1.dist-info";; esac
        done;;
    *) mkdir -p "$home/lib/streamlit"; echo 1.67.0 > "$home/lib/streamlit/version";;
    esac"#;

impl Default for FakePython {
    fn default() -> Self {
        Self { version: "3.11.7", modules: r#"["venv", "ensurepip", "pip"]"#, streamlit: None, pip: PIP_THAT_WORKS }
    }
}

impl FakePython {
    /// One that a user has with a Streamlit installed.
    pub(super) fn with_streamlit() -> Self {
        Self { streamlit: Some("1.67.0"), ..Self::default() }
    }

    /// Puts it at `path`.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        let Self { version, modules, streamlit, pip } = self;
        let calls = path.with_file_name("calls");
        let body = format!(
            r#"
home=$(dirname "$(dirname "$0")")
calls='{calls}'
wanted="$*"
case "$3" in
"")
    echo "probe $0" >> "$calls"
    streamlit='{streamlit}'
    [ -f "$home/lib/streamlit/version" ] && streamlit=$(cat "$home/lib/streamlit/version")
    [ -n "$streamlit" ] && more=', "streamlit": "'$streamlit'", "streamlit_file": "'$home/lib/streamlit/version'"'
    echo '{{"version": "{version}", "tag": "fake-tag", "modules": {modules}, "executable": "'$0'"'"$more"'}}'
    ;;
venv)
    echo "venv" >> "$calls"
    mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
    ;;
pip)
    shift 2
    echo "pip $*" >> "$calls"
    set -- -c GUARD "$@"
    {pip}
    ;;
esac
"#,
            calls = calls.display(),
            streamlit = streamlit.unwrap_or_default(),
        );
        script(path, &body)
    }
}

/// What the fakes beside `python` were asked to do, in order.
pub(super) fn calls(python: &Path) -> Vec<String> {
    let calls = fs::read_to_string(python.with_file_name("calls")).unwrap_or_default();
    calls.lines().map(str::to_owned).collect()
}

/// Makes an executable shell script at `path`. A process of its own writes it: were it open for writing here while another
/// test starts a process, that process would inherit it for a moment, and running it would fail as "text file busy".
pub(super) fn script(path: &Path, body: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = Command::new("sh")
        .args(["-c", r#"cat > "$0" && chmod +x "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = writer.stdin.take().unwrap();
    input.write_all(b"#!/bin/sh\n").unwrap();
    input.write_all(body.as_bytes()).unwrap();
    drop(input);
    assert!(writer.wait().unwrap().success());
    path.to_owned()
}
