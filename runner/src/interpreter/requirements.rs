//! What the app says it needs: its `requirements.txt`, or else the dependencies in its `pyproject.toml`.
//!
//! pip reads these files by itself. Here they are read for three questions only: has anything changed since the
//! environment was made, does the app ask for a Streamlit of its own, and what can be shown while pip works.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    InterpreterError,
    fingerprint::Fingerprint,
    pyproject::{self, Declared},
    supported::STREAMLIT_REQUIREMENT,
};

/// More names than this are counted rather than listed.
const NAMES_SHOWN: usize = 5;

/// An app's requirements.
#[derive(Debug, Clone)]
pub(super) struct Requirements {
    app_dir: PathBuf,
    /// The file that says them; `None` for an app that says nothing.
    source: Option<PathBuf>,
    files: Vec<PathBuf>,
    specifiers: Vec<String>,
    names: Vec<String>,
    fingerprint: Fingerprint,
}

impl Requirements {
    /// Reads the requirements of the app in `app_dir`.
    pub(super) fn of_app(app_dir: &Path) -> Result<Self, InterpreterError> {
        let mut requirements = Self {
            app_dir: std::path::absolute(app_dir).unwrap_or_else(|_| app_dir.to_owned()),
            source: None,
            files: Vec::new(),
            specifiers: Vec::new(),
            names: Vec::new(),
            fingerprint: Fingerprint::default(),
        };
        let text = requirements.app_dir.join("requirements.txt");
        let pyproject = requirements.app_dir.join("pyproject.toml");
        if let Some(content) = read(&text)? {
            requirements.source = Some(text.clone());
            requirements.add_file(text, &content);
        } else if let Some(content) = read(&pyproject)? {
            requirements.add_pyproject(&pyproject, &content)?;
        }
        if !requirements.names.iter().any(|name| name == "streamlit") {
            requirements.add_specifier(STREAMLIT_REQUIREMENT.to_owned());
        }
        Ok(requirements)
    }

    /// Changes whenever an environment made from these requirements might come out differently.
    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The arguments that make `pip install` install all of it, when run in [`Self::app_dir`].
    pub(super) fn pip_arguments(&self) -> Vec<OsString> {
        let files = self.files.iter().flat_map(|file| [OsString::from("-r"), file.into()]);
        // After `--`, nothing that an app declares can be taken for an option.
        files.chain(["--".into()]).chain(self.specifiers.iter().map(OsString::from)).collect()
    }

    /// Relative paths in the requirements start here.
    pub(super) fn app_dir(&self) -> &Path {
        &self.app_dir
    }

    /// The file to correct when something is wrong with the requirements.
    pub(super) fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    /// What is installed, in an error.
    pub(super) fn described(&self) -> String {
        match &self.source {
            Some(file) => file.display().to_string(),
            None => self.specifiers.join(", "),
        }
    }

    /// What is installed, at a glance.
    pub(super) fn summary(&self) -> String {
        let shown = self.names.len().min(NAMES_SHOWN);
        let names = self.names[..shown].join(", ");
        let rest = match self.names.len() - shown {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let source = self.source.as_deref().and_then(Path::file_name);
        let source = source.map_or_else(String::new, |file| format!(" ({})", file.display()));
        format!("{names}{rest}{source}")
    }

    fn add_pyproject(&mut self, path: &Path, content: &[u8]) -> Result<(), InterpreterError> {
        let refuse = |path: &Path, cause: String| InterpreterError::Requirements { path: path.to_owned(), cause };
        match pyproject::read(&decode(content)).map_err(|cause| refuse(path, cause))? {
            Declared::Nothing => return Ok(()),
            Declared::Specifiers(specifiers) => {
                for specifier in specifiers {
                    self.add_specifier(specifier);
                }
            }
            Declared::Files(files) => {
                for file in files {
                    let file = self.app_dir.join(file);
                    let Some(content) = read(&file)? else {
                        return Err(refuse(&file, format!("{} names it, but it is not there", path.display())));
                    };
                    self.add_file(file, &content);
                }
            }
        }
        self.source = Some(path.to_owned());
        Ok(())
    }

    fn add_specifier(&mut self, specifier: String) {
        self.add_to_fingerprint("specifier", specifier.as_bytes());
        self.add_line(&specifier);
        self.specifiers.push(specifier);
    }

    fn add_file(&mut self, file: PathBuf, content: &[u8]) {
        self.take_in(&file, content, true, &mut Vec::new());
        self.files.push(file);
    }

    /// Takes in a requirements file and what it includes. What cannot be read is left for pip to complain about.
    fn take_in(&mut self, file: &Path, content: &[u8], may_name: bool, seen: &mut Vec<PathBuf>) {
        seen.push(file.to_owned());
        self.add_to_fingerprint("file", content);
        for line in logical_lines(&decode(content)) {
            if let Some((option, included)) = inclusion(&line) {
                let included = file.parent().unwrap_or(Path::new("")).join(included);
                // One file may be named in many ways, and files may include each other.
                let included = fs::canonicalize(&included).unwrap_or(included);
                if !seen.contains(&included)
                    && let Ok(content) = fs::read(&included)
                {
                    // Constraints say which version, not that the package is wanted.
                    self.take_in(&included, &content, may_name && option == 'r', seen);
                }
            } else if may_name {
                self.add_line(&line);
            }
        }
    }

    fn add_line(&mut self, line: &str) {
        if names_local_files(line) {
            // The same words mean other files for another app.
            let app_dir = self.app_dir.clone();
            self.add_to_fingerprint("local", app_dir.as_os_str().as_encoded_bytes());
        }
        if let Some(name) = name_of(line)
            && !self.names.contains(&name)
        {
            self.names.push(name);
        }
    }

    fn add_to_fingerprint(&mut self, kind: &str, bytes: &[u8]) {
        self.fingerprint.add(kind.as_bytes());
        self.fingerprint.add(bytes);
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, InterpreterError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(InterpreterError::Requirements { path: path.to_owned(), cause: error.to_string() }),
    }
}

/// Text as pip takes it: UTF-8, or UTF-16 with a byte order mark, which is what PowerShell's `>` writes.
fn decode(content: &[u8]) -> String {
    let utf16 = |from_bytes: fn([u8; 2]) -> u16| {
        let units = content[2..].chunks_exact(2).map(|pair| from_bytes([pair[0], pair[1]]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match content {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(content).into_owned(),
    }
}

/// The lines of a requirements file without comments, and with continued ones joined.
fn logical_lines(text: &str) -> Vec<String> {
    text.replace("\\\r\n", " ")
        .replace("\\\n", " ")
        .lines()
        .map(|line| {
            let end = line
                .match_indices('#')
                .map(|(at, _)| at)
                .find(|&at| at == 0 || line[..at].ends_with(char::is_whitespace));
            line[..end.unwrap_or(line.len())].trim().to_owned()
        })
        .filter(|line| !line.is_empty())
        .collect()
}

/// The file that a `-r` (`'r'`) or `-c` (`'c'`) line includes.
fn inclusion(line: &str) -> Option<(char, &str)> {
    let options = [("--requirement", 'r'), ("--constraint", 'c'), ("-r", 'r'), ("-c", 'c')];
    options.into_iter().find_map(|(option, letter)| {
        let file = line.strip_prefix(option)?.trim_start_matches(['=', ' ', '\t']);
        let file = file.trim_matches(['"', '\'']);
        (!file.is_empty() && !file.contains("://")).then_some((letter, file))
    })
}

/// The normalized name of what a requirement line asks for, where it says one.
fn name_of(line: &str) -> Option<String> {
    let line = without_editable(line);
    if let Some((_, egg)) = line.split_once("egg=") {
        return normalized(egg);
    }
    let address = line.split(';').next().unwrap_or(line).trim();
    if !line.contains('@')
        && let Some(wheel) = address.strip_suffix(".whl")
    {
        let file = wheel.rsplit('/').next()?;
        return normalized(file.split('-').next()?);
    }
    if line.starts_with('-') || line.starts_with('.') || line.starts_with('/') {
        return None;
    }
    let name = normalized(line)?;
    let what_follows = line.trim_start_matches(is_name_character).trim_start();
    // A path or an address, not a name.
    (!what_follows.starts_with(['/', ':', '+', '\\'])).then_some(name)
}

/// As package indexes compare names: lower case, and any run of `-`, `_` and `.` is one `-`.
fn normalized(text: &str) -> Option<String> {
    let end = text.find(|c| !is_name_character(c)).unwrap_or(text.len());
    let parts: Vec<_> = text[..end].split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("-").to_lowercase())
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn without_editable(line: &str) -> &str {
    ["--editable", "-e"]
        .into_iter()
        .find_map(|option| line.strip_prefix(option))
        .map_or(line, |rest| rest.trim_start_matches(['=', ' ', '\t']))
}

fn names_local_files(line: &str) -> bool {
    let place = without_editable(line);
    let is_archive = [".whl", ".tar.gz", ".zip"].iter().any(|end| place.ends_with(end));
    let is_path = place.starts_with('.') || place.contains('/') || is_archive;
    place.contains("file:") || (is_path && !place.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn read_app(files: &[(&str, &str)]) -> Requirements {
        Requirements::of_app(app(files).path()).unwrap()
    }

    fn fingerprint(files: &[(&str, &str)]) -> String {
        read_app(files).fingerprint().hex(32)
    }

    #[test]
    fn names_are_found_as_pip_would_understand_them() {
        for (line, name) in [
            ("pandas", Some("pandas")),
            ("Streamlit[charts] == 1.60 ; python_version > '3.9'", Some("streamlit")),
            ("streamlit @ https://example.org/streamlit.zip", Some("streamlit")),
            ("ruamel.yaml_clib>=0.2", Some("ruamel-yaml-clib")),
            ("git+https://example.org/x.git#egg=Streamlit&subdirectory=lib", Some("streamlit")),
            ("-e git+https://example.org/x.git#egg=tool", Some("tool")),
            ("https://example.org/dist/streamlit-1.60.0-py3-none-any.whl", Some("streamlit")),
            ("./wheels/streamlit-1.60.0-py3-none-any.whl", Some("streamlit")),
            ("-e .", None),
            ("./package", None),
            ("package/folder", None),
            ("git+https://example.org/x.git", None),
            ("--index-url https://example.org/simple", None),
        ] {
            assert_eq!(name_of(line).as_deref(), name, "{line}");
        }
    }

    #[test]
    fn comments_and_continuations_are_understood() {
        let text = "# all\npandas>=2 # tables\n\nnumpy \\\n  ==2.0\ngit+https://e.org/x#egg=x\n";
        assert_eq!(logical_lines(text), ["pandas>=2", "numpy    ==2.0", "git+https://e.org/x#egg=x"]);
    }

    #[test]
    fn a_streamlit_of_the_apps_own_is_respected() {
        let requirements = read_app(&[("requirements.txt", "streamlit==1.60.0\n")]);
        assert!(requirements.specifiers.is_empty());
        let requirements = read_app(&[("requirements.txt", "pandas\n")]);
        assert_eq!(requirements.specifiers, [STREAMLIT_REQUIREMENT]);
        let requirements = read_app(&[("requirements.txt", "streamlit-aggrid\n")]);
        assert_eq!(requirements.specifiers, [STREAMLIT_REQUIREMENT]);
    }

    #[test]
    fn included_files_count_and_constraints_ask_for_nothing() {
        let included = read_app(&[
            ("requirements.txt", "-r more/base.txt\n"),
            ("more/base.txt", "--requirement=deeper.txt\n-r ../requirements.txt\n"),
            ("more/deeper.txt", "streamlit~=1.60"),
        ]);
        assert!(included.specifiers.is_empty());
        let constrained = read_app(&[("requirements.txt", "pandas\n-c pins.txt\n"), ("pins.txt", "streamlit==1.60.0")]);
        assert_eq!(constrained.specifiers, [STREAMLIT_REQUIREMENT]);
    }

    #[test]
    fn windows_encodings_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut content = vec![0xff, 0xfe];
        content.extend("streamlit==1.60.0\r\n".encode_utf16().flat_map(u16::to_le_bytes));
        fs::write(folder.path().join("requirements.txt"), content).unwrap();
        let requirements = Requirements::of_app(folder.path()).unwrap();
        assert_eq!(requirements.names, ["streamlit"]);
    }

    #[test]
    fn the_fingerprint_follows_the_content_of_every_file() {
        let plain = fingerprint(&[("requirements.txt", "pandas\n")]);
        assert_eq!(plain, fingerprint(&[("requirements.txt", "pandas\n")]));
        assert_ne!(plain, fingerprint(&[("requirements.txt", "pandas>=2\n")]));
        assert_ne!(plain, fingerprint(&[]));
        let with = |base| fingerprint(&[("requirements.txt", "-r base.txt"), ("base.txt", base)]);
        assert_ne!(with("pandas"), with("numpy"));
        let constrained = |pins| fingerprint(&[("requirements.txt", "-c pins.txt"), ("pins.txt", pins)]);
        assert_ne!(constrained("pandas<2"), constrained("pandas<3"));
    }

    #[test]
    fn local_paths_belong_to_one_app() {
        let local = [("requirements.txt", "-e ./library\n")];
        assert_ne!(fingerprint(&local), fingerprint(&local));
        let remote = [("requirements.txt", "a @ https://example.org/a.zip\n-r base/all.txt\n")];
        assert_eq!(fingerprint(&remote), fingerprint(&remote));
    }

    #[test]
    fn pyproject_is_read_when_there_is_no_requirements_file() {
        let pyproject = ("pyproject.toml", "[project]\nname = 'x'\ndependencies = ['polars>=1', '--evil']");
        let requirements = read_app(&[pyproject]);
        assert_eq!(requirements.pip_arguments(), ["--", "polars>=1", "--evil", STREAMLIT_REQUIREMENT]);
        assert!(requirements.described().ends_with("pyproject.toml"));
        let both = read_app(&[pyproject, ("requirements.txt", "pandas")]);
        assert_eq!(both.names, ["pandas", "streamlit"]);
    }

    #[test]
    fn tool_settings_in_pyproject_change_nothing() {
        let with = |tool: &str| {
            let text = format!("[project]\ndependencies = ['polars']\n[tool.ruff]\n{tool}");
            fingerprint(&[("pyproject.toml", &text)])
        };
        assert_eq!(with("line-length = 80"), with("line-length = 120"));
    }

    #[test]
    fn a_pyproject_may_name_requirements_files() {
        let dynamic = "[project]\nname = 'x'\ndynamic = ['dependencies']\n\
                       [tool.setuptools.dynamic]\ndependencies = { file = ['needs.txt'] }";
        let requirements = read_app(&[("pyproject.toml", dynamic), ("needs.txt", "pandas")]);
        assert_eq!(requirements.names, ["pandas", "streamlit"]);
        let error = Requirements::of_app(app(&[("pyproject.toml", dynamic)]).path()).unwrap_err();
        assert!(error.to_string().contains("needs.txt"), "{error}");
    }

    #[test]
    fn the_summary_stays_short() {
        let requirements = read_app(&[("requirements.txt", "a\nb\nc\nd\ne\nf\nstreamlit\n")]);
        assert_eq!(requirements.summary(), "a, b, c, d, e and 2 more (requirements.txt)");
        assert_eq!(read_app(&[]).summary(), "streamlit");
    }

    #[test]
    fn a_folder_in_place_of_the_file_is_an_error() {
        let error = Requirements::of_app(app(&[("requirements.txt/x", "")]).path()).unwrap_err();
        assert!(error.to_string().contains("requirements.txt"), "{error}");
    }
}
