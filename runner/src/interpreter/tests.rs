//! The whole of [`resolve`], against fake Pythons: what a user does, and what comes of it.

use std::{
    fs,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use tokio::time::timeout;

use super::{
    fake::{FakePython, PIP_THAT_WORKS, calls, script},
    *,
};

/// A user's machine, with a space in every path.
struct Machine {
    folder: tempfile::TempDir,
    options: InterpreterOptions,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        fs::create_dir(inside("my app")).unwrap();
        fs::create_dir(inside("on path")).unwrap();
        Self {
            options: InterpreterOptions {
                search_path: Some(inside("on path").into_os_string()),
                app_dir: inside("my app"),
                cache_dir: Some(inside("my cache")),
                ..InterpreterOptions::default()
            },
            folder,
        }
    }

    /// One whose `python3` is `python`.
    fn with(python: &FakePython) -> Self {
        let machine = Self::new();
        python.at(&machine.on_path("python3"));
        machine
    }

    fn on_path(&self, name: &str) -> PathBuf {
        self.folder.path().join("on path").join(name)
    }

    fn cache(&self, part: &str) -> PathBuf {
        self.folder.path().join("my cache").join(part)
    }

    fn app_file(&self, name: &str, content: &str) {
        fs::write(self.options.app_dir.join(name), content).unwrap();
    }

    async fn resolve(&self) -> Result<Interpreter, InterpreterError> {
        let heard = Heard::default();
        let resolved = resolve(&self.options, &heard);
        timeout(Duration::from_mins(1), resolved).await.unwrap()
    }

    async fn error(&self) -> String {
        self.resolve().await.unwrap_err().to_string()
    }

    /// What `python3` was asked to do since the last call.
    fn calls(&self) -> Vec<String> {
        let calls = calls(&self.on_path("python3"));
        let _ = fs::remove_file(self.on_path("calls"));
        calls
    }

    /// Everything in a part of the cache except for the locks.
    fn kept(&self, part: &str) -> Vec<PathBuf> {
        fs::read_dir(self.cache(part))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_none_or(|extension| extension != "lock"))
            .collect()
    }

    /// The one file of its kind in a part of the cache.
    fn kept_file(&self, part: &str, extension: &str) -> Option<PathBuf> {
        let mut files = self.kept(part).into_iter();
        files.find(|path| path.extension().is_some_and(|known| known == extension))
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn step(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Heard {
    fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

fn count(calls: &[String], what: &str) -> usize {
    calls.iter().filter(|call| call.starts_with(what)).count()
}

// The user's own Python.

#[tokio::test]
async fn a_named_python_is_used_and_nothing_is_installed_into_it() {
    let mut machine = Machine::new();
    let python = FakePython::with_streamlit().at(&machine.on_path("python3"));
    machine.options.python = Some(python.clone());
    let interpreter = machine.resolve().await.unwrap();
    assert_eq!(interpreter.executable, python);
    assert_eq!(interpreter.python_version, "3.11.7");
    assert_eq!(interpreter.streamlit_version, "1.67.0");
    let calls = machine.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[1].contains("--target"), "{calls:?}");
    assert!(machine.kept("environments").is_empty());
}

#[tokio::test]
async fn a_warm_start_with_a_named_python_is_one_process() {
    let mut machine = Machine::new();
    let python = FakePython::with_streamlit().at(&machine.on_path("python3"));
    machine.options.virtual_env = Some(machine.folder.path().join("venv"));
    machine.options.python = Some(python);
    let first = machine.resolve().await.unwrap();
    machine.calls();
    let second = machine.resolve().await.unwrap();
    assert_eq!(second.packages_path, first.packages_path);
    assert_eq!(machine.calls().len(), 1);
}

#[tokio::test]
async fn the_active_environment_is_used() {
    let mut machine = Machine::new();
    let venv = machine.folder.path().join("my venv");
    let python = FakePython::with_streamlit().at(&venv.join("bin/python"));
    machine.options.virtual_env = Some(venv);
    assert_eq!(machine.resolve().await.unwrap().executable, python);
}

#[tokio::test]
async fn missing_streamlit_comes_with_the_command_to_install_it() {
    let mut machine = Machine::with(&FakePython::default());
    machine.options.python = Some("python3".into());
    let error = machine.error().await;
    let command = format!("'{}' -m pip install 'streamlit>=1.57,<2'", machine.on_path("python3").display());
    assert!(error.ends_with(&command), "{error}");
    let without_pip = FakePython { modules: "[]", ..FakePython::default() };
    without_pip.at(&machine.on_path("python3"));
    let error = machine.error().await;
    assert!(error.contains("uv pip install --python '"), "{error}");
}

#[tokio::test]
async fn versions_out_of_range_are_named_with_the_range() {
    let mut machine = Machine::with(&FakePython { version: "3.9.18", ..FakePython::with_streamlit() });
    machine.options.python = Some("python3".into());
    let error = machine.error().await;
    assert!(error.contains("3.9.18") && error.contains("3.10 to 3.14"), "{error}");
    let old_streamlit = FakePython { streamlit: Some("1.40.1"), ..FakePython::default() };
    old_streamlit.at(&machine.on_path("python3"));
    let error = machine.error().await;
    assert!(error.contains("1.40.1") && error.contains("1.57 or newer"), "{error}");
}

#[tokio::test]
async fn what_does_not_answer_like_a_python_is_refused() {
    let mut machine = Machine::new();
    let other = script(&machine.on_path("other"), "echo 'usage: other' >&2; exit 2");
    machine.options.python = Some(other);
    let error = machine.error().await;
    assert!(error.contains("no working Python") && error.contains("usage: other"), "{error}");
}

// The managed environment.

#[tokio::test]
async fn the_first_start_makes_an_environment_and_the_next_ones_use_it() {
    let machine = Machine::with(&FakePython::default());
    machine.app_file("requirements.txt", "pandas\n");
    let heard = Heard::default();
    let first = resolve(&machine.options, &heard).await.unwrap();
    assert!(first.executable.starts_with(machine.cache("environments")));
    assert_eq!(first.streamlit_version, "1.67.0");
    assert!(heard.all().contains("Creating a Python environment (first start only)"));
    assert!(heard.all().contains("Installing pandas, streamlit (requirements.txt)"));
    assert!(heard.all().contains("Collecting streamlit"));
    assert_eq!(count(&machine.calls(), "venv"), 1);

    let heard = Heard::default();
    let second = resolve(&machine.options, &heard).await.unwrap();
    assert_eq!(second.executable, first.executable);
    assert_eq!(second.packages_path, first.packages_path);
    assert_eq!(heard.all(), "");
    assert_eq!(machine.calls().len(), 1, "a warm start is one probe");
}

#[tokio::test]
async fn pip_is_asked_for_the_requirements_and_a_streamlit() {
    let machine = Machine::with(&FakePython::default());
    machine.app_file("requirements.txt", "pandas\n");
    machine.resolve().await.unwrap();
    let file = machine.options.app_dir.join("requirements.txt");
    let expected = format!("-r {} -- streamlit>=1.57,<2", file.display());
    assert!(machine.calls().iter().any(|call| call.ends_with(&expected)));
    machine.app_file("requirements.txt", "streamlit==1.60.0\n");
    machine.resolve().await.unwrap();
    let expected = format!("-r {} --", file.display());
    assert!(machine.calls().iter().any(|call| call.ends_with(&expected)));
}

#[tokio::test]
async fn other_requirements_mean_another_environment() {
    let machine = Machine::with(&FakePython::default());
    machine.app_file("requirements.txt", "-r more.txt\n");
    machine.app_file("more.txt", "pandas\n");
    let first = machine.resolve().await.unwrap();
    machine.app_file("more.txt", "polars\n");
    let second = machine.resolve().await.unwrap();
    assert_ne!(first.executable, second.executable);
    machine.app_file("more.txt", "pandas\n");
    machine.calls();
    assert_eq!(machine.resolve().await.unwrap().executable, first.executable);
    assert_eq!(machine.calls().len(), 1);
}

#[tokio::test]
async fn of_two_starts_at_once_one_makes_the_environment() {
    let machine = Machine::with(&FakePython {
        pip: Box::leak(format!("sleep 0.5{PIP_THAT_WORKS}").into_boxed_str()),
        ..FakePython::default()
    });
    let (one, two) = (Heard::default(), Heard::default());
    let (first, second) = tokio::join!(resolve(&machine.options, &one), resolve(&machine.options, &two));
    assert_eq!(first.unwrap().executable, second.unwrap().executable);
    let calls = machine.calls();
    assert_eq!((count(&calls, "venv"), count(&calls, "pip")), (1, 2), "{calls:?}");
    let waiting = format!("Waiting for process {}", std::process::id());
    let waited = [&one, &two].map(|heard| heard.all().contains(&waiting));
    assert_ne!(waited[0], waited[1], "one waits");
}

#[tokio::test]
async fn an_interrupted_start_leaves_nothing_that_the_next_one_minds() {
    let machine = Machine::with(&FakePython {
        pip: r#"mkdir -p "$home/lib/streamlit"; echo 1.67.0 > "$home/lib/streamlit/version"; echo $$ > "$home/../pid"; sleep 600"#,
        ..FakePython::default()
    });
    let pid = machine.cache("environments/pid");
    let interrupted = async {
        while fs::read_to_string(&pid).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = machine.resolve() => panic!("pip never ends"),
        () = interrupted => {}
    }
    // Dropped in the middle, as by Ctrl-C: pip is gone.
    let pip = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let pip = rustix::process::Pid::from_raw(pip).unwrap();
    let gone = async {
        while rustix::process::test_kill_process_group(pip).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.unwrap();
    assert_eq!(machine.kept_file("environments", "json"), None);

    FakePython::default().at(&machine.on_path("python3"));
    assert!(machine.resolve().await.is_ok());
}

#[tokio::test]
async fn what_a_killed_start_left_is_swept_and_never_used() {
    let machine = Machine::with(&FakePython::default());
    let made = machine.resolve().await.unwrap().executable;
    let folder = made.parent().unwrap().parent().unwrap();
    // As after kill -9 just before the record was put in place.
    fs::remove_file(machine.kept_file("environments", "json").unwrap()).unwrap();
    let again = machine.resolve().await.unwrap();
    assert_ne!(again.executable, made);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_damaged_environment_is_made_anew() {
    let machine = Machine::with(&FakePython::default());
    let first = machine.resolve().await.unwrap();
    fs::remove_file(&first.executable).unwrap();
    // Whoever still uses the damaged one keeps what is left of it.
    let second = machine.resolve().await.unwrap();
    assert_ne!(first.executable, second.executable);
    assert!(first.executable.parent().unwrap().exists());
    assert!(second.executable.exists());
}

#[tokio::test]
async fn broken_requirements_are_told_in_pips_words_and_leave_nothing() {
    let machine = Machine::with(&FakePython {
        pip: r#"
            echo "Collecting nosuchpackage==1 (from -r requirements.txt (line 1))"
            echo "WARNING: Running pip as the 'root' user" >&2
            echo "ERROR: Could not find a version that satisfies the requirement nosuchpackage==1 (from versions: none)" >&2
            echo "ERROR: No matching distribution found for nosuchpackage==1" >&2
            exit 1"#,
        ..FakePython::default()
    });
    machine.app_file("requirements.txt", "nosuchpackage==1\n");
    let error = machine.error().await;
    let file = machine.options.app_dir.join("requirements.txt");
    assert!(error.starts_with(&format!("could not install {}", file.display())), "{error}");
    assert!(error.contains("\nERROR: No matching distribution found for nosuchpackage==1\n"), "{error}");
    assert!(error.ends_with(&format!("Correct {}, then start again", file.display())), "{error}");
    assert!(!error.contains("root"), "{error}");
    assert!(machine.kept("environments").is_empty());
}

#[tokio::test]
async fn an_unsupported_streamlit_in_the_requirements_is_named_with_their_file() {
    let machine = Machine::with(&FakePython {
        pip: r#"mkdir -p "$home/lib/streamlit"; echo 1.40.0 > "$home/lib/streamlit/version""#,
        ..FakePython::default()
    });
    machine.app_file("requirements.txt", "streamlit==1.40.0\n");
    let error = machine.error().await;
    assert!(error.contains("Streamlit 1.40.0 (from ") && error.contains("requirements.txt"), "{error}");
    // The second time it is known at once.
    machine.calls();
    machine.error().await;
    assert_eq!(machine.calls().len(), 1);
}

#[tokio::test]
async fn requirements_without_a_streamlit_to_install_are_an_error() {
    let machine = Machine::with(&FakePython { pip: "true", ..FakePython::default() });
    let error = machine.error().await;
    assert!(error.contains("Streamlit is not among"), "{error}");
}

#[tokio::test]
async fn no_python_at_all() {
    let machine = Machine::new();
    let error = machine.error().await;
    assert!(error.contains("there is no python3, python3.14, "), "{error}");
    assert!(error.contains("Install Python 3.10 to 3.14"), "{error}");
}

#[tokio::test]
async fn an_old_default_python_gives_way_to_a_newer_one() {
    let machine = Machine::with(&FakePython { version: "3.8.10", ..FakePython::default() });
    let error = machine.error().await;
    assert!(error.contains("python3 is Python 3.8.10"), "{error}");
    let newer = FakePython { version: "3.12.1", ..FakePython::default() };
    newer.at(&machine.on_path("python3.12"));
    assert_eq!(machine.resolve().await.unwrap().python_version, "3.12.1");
}

#[tokio::test]
async fn a_python_without_venv_names_the_package() {
    let without_ensurepip = FakePython { modules: r#"["venv", "pip"]"#, ..FakePython::default() };
    let machine = Machine::with(&without_ensurepip);
    let error = machine.error().await;
    assert!(error.contains("apt install python3.11-venv"), "{error}");
    FakePython::default().at(&machine.on_path("python3.10"));
    assert!(machine.resolve().await.is_ok());
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_named_with_its_setting() {
    let mut machine = Machine::with(&FakePython::default());
    let file = machine.folder.path().join("a file");
    fs::write(&file, "").unwrap();
    machine.options.cache_dir = Some(file.join("cache"));
    let error = machine.error().await;
    assert!(error.contains("a file/cache/environments"), "{error}");
    assert!(error.contains("STREAMFLEET_CACHE_DIR"), "{error}");
    machine.options.cache_dir = None;
    let error = machine.error().await;
    assert!(error.contains("STREAMFLEET_CACHE_DIR"), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_named_with_its_path() {
    let machine = Machine::with(&FakePython {
        pip: r#"echo "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device" >&2; exit 1"#,
        ..FakePython::default()
    });
    let error = machine.error().await;
    assert!(error.starts_with("no space left"), "{error}");
    assert!(error.contains("my cache/environments") && error.contains("STREAMFLEET_CACHE_DIR"), "{error}");
}

// The worker's own packages.

fn packages_of(interpreter: &Interpreter) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(interpreter.packages_path.as_ref().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains('.'))
        .collect();
    names.sort();
    names
}

fn user_with(python: &FakePython) -> Machine {
    let mut machine = Machine::with(python);
    machine.options.python = Some("python3".into());
    machine
}

#[tokio::test]
async fn the_packages_are_put_in_a_folder_of_their_own() {
    let machine = user_with(&FakePython::with_streamlit());
    let interpreter = machine.resolve().await.unwrap();
    assert_eq!(packages_of(&interpreter), ["cloudpickle", "uvloop"]);
    assert!(interpreter.notices.is_empty());
    assert_eq!(machine.kept("packages").len(), 1);
}

#[tokio::test]
async fn who_has_them_needs_no_folder() {
    let machine =
        user_with(&FakePython { modules: r#"["pip", "uvloop", "cloudpickle"]"#, ..FakePython::with_streamlit() });
    let interpreter = machine.resolve().await.unwrap();
    assert_eq!(interpreter.packages_path, None);
    assert!(interpreter.notices.is_empty());
    assert_eq!(machine.calls().len(), 1);
}

#[tokio::test]
async fn without_a_network_there_are_notices_and_a_rest_before_the_next_attempt() {
    let machine = user_with(&FakePython {
        pip: r#"echo "WARNING: Retrying after connection broken by 'NewConnectionError'" >&2
                echo "ERROR: No matching distribution found for uvloop" >&2; exit 1"#,
        ..FakePython::with_streamlit()
    });
    let first = machine.resolve().await.unwrap();
    assert_eq!(first.packages_path, None);
    assert_eq!(first.notices.len(), 2);
    assert!(first.notices[0].contains("without uvloop every click takes longer"));
    assert!(first.notices[1].contains("session state"));
    assert!(first.notices[0].contains("The cause: the package index could not be reached. It is tried again"));
    assert_eq!(count(&machine.calls(), "pip"), 1);
    let second = machine.resolve().await.unwrap();
    assert_eq!(second.notices, first.notices);
    assert_eq!(count(&machine.calls(), "pip"), 0);

    // An hour later, with the network back.
    FakePython::with_streamlit().at(&machine.on_path("python3"));
    fs::File::open(machine.kept_file("packages", "failed").unwrap())
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(3601))
        .unwrap();
    let third = machine.resolve().await.unwrap();
    assert!(third.notices.is_empty());
    assert_eq!(packages_of(&third), ["cloudpickle", "uvloop"]);
}

#[tokio::test]
async fn one_without_a_build_does_not_keep_the_other_away() {
    let only_cloudpickle = format!(
        r#"case "$wanted" in *uvloop*) echo "ERROR: No matching distribution found for uvloop" >&2; exit 1;; esac
        {PIP_THAT_WORKS}"#
    );
    let machine =
        user_with(&FakePython { pip: Box::leak(only_cloudpickle.into_boxed_str()), ..FakePython::with_streamlit() });
    for _ in 0..2 {
        let interpreter = machine.resolve().await.unwrap();
        assert_eq!(packages_of(&interpreter), ["cloudpickle"]);
        assert_eq!(interpreter.notices.len(), 1);
        assert!(interpreter.notices[0].starts_with("uvloop could not be installed"));
    }
    assert_eq!(count(&machine.calls(), "pip"), 3);
}

#[tokio::test]
async fn without_a_cache_the_users_python_still_serves() {
    let mut machine = user_with(&FakePython::with_streamlit());
    machine.options.cache_dir = None;
    let interpreter = machine.resolve().await.unwrap();
    assert_eq!(interpreter.packages_path, None);
    assert!(interpreter.notices[0].contains("STREAMFLEET_CACHE_DIR"), "{:?}", interpreter.notices);
}

#[tokio::test]
async fn an_interrupted_installation_of_packages_is_taken_up_again() {
    let machine = user_with(&FakePython::with_streamlit());
    let first = machine.resolve().await.unwrap();
    // As if the end had come between the two renames, with a temporary folder left over.
    let folder = first.packages_path.unwrap();
    fs::remove_dir(folder.join("uvloop")).unwrap();
    let leftover = format!(".{}-left", folder.file_name().unwrap().display());
    fs::create_dir(folder.with_file_name(leftover)).unwrap();
    let second = machine.resolve().await.unwrap();
    assert_eq!(packages_of(&second), ["cloudpickle", "uvloop"]);
    assert_eq!(machine.kept("packages").len(), 1);
}
