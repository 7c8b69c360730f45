//! Reads from a `pyproject.toml` which packages its project needs.

use std::path::PathBuf;

use serde::Deserialize;

/// Where the dependencies are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// The file is about something else, such as the settings of a formatter.
    Nothing,
    /// In the file itself.
    Specifiers(Vec<String>),
    /// In requirements files beside it.
    Files(Vec<PathBuf>),
}

/// The dependencies that `text` declares, or why they cannot be known.
pub(super) fn read(text: &str) -> Result<Declared, String> {
    let Pyproject { project, tool } = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    if let Some(specifiers) = project.dependencies {
        return Ok(Declared::Specifiers(specifiers));
    }
    if project.dynamic.iter().any(|field| field == "dependencies") {
        return match tool.setuptools.dynamic.dependencies {
            Some(FromFiles { file: OneOrMany::One(file) }) => Ok(Declared::Files(vec![file])),
            Some(FromFiles { file: OneOrMany::Many(files) }) => Ok(Declared::Files(files)),
            None => Err("its dependencies are dynamic, so only its build system knows them. \
                 Put a requirements.txt next to the app's script, or install them into an \
                 environment of your own and name that with --python"
                .to_owned()),
        };
    }
    if tool.poetry.dependencies.keys().any(|name| name != "python") {
        return Err("its dependencies are written for Poetry alone. \
             Move them to [project], or run: poetry export -o requirements.txt; \
             or name Poetry's environment with --python"
            .to_owned());
    }
    Ok(Declared::Nothing)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pyproject {
    project: Project,
    tool: Tool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Project {
    dependencies: Option<Vec<String>>,
    dynamic: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tool {
    setuptools: Setuptools,
    poetry: Poetry,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Setuptools {
    dynamic: Dynamic,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Dynamic {
    dependencies: Option<FromFiles>,
}

#[derive(Deserialize)]
struct FromFiles {
    file: OneOrMany,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Poetry {
    dependencies: toml::Table,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_dependencies_are_taken_as_they_are() {
        let text = "[project]\nname = 'x'\ndependencies = ['pandas>=2', 'numpy; python_version<\"3.12\"']";
        let expected = ["pandas>=2", "numpy; python_version<\"3.12\""].map(str::to_owned);
        assert_eq!(read(text), Ok(Declared::Specifiers(expected.to_vec())));
    }

    #[test]
    fn settings_of_other_tools_declare_nothing() {
        for text in [
            "",
            "[tool.ruff]\nline-length = 80",
            "[project]\nname = 'x'",
            "[tool.poetry.dependencies]\npython = '^3.11'",
        ] {
            assert_eq!(read(text), Ok(Declared::Nothing), "{text}");
        }
    }

    #[test]
    fn setuptools_may_point_at_files() {
        let text = |file: &str| {
            format!(
                "[project]\ndynamic = ['dependencies', 'version']\n\
                 [tool.setuptools.dynamic]\nversion = {{ attr = 'x.v' }}\ndependencies = {{ file = {file} }}"
            )
        };
        let files = |names: &[&str]| Ok(Declared::Files(names.iter().map(PathBuf::from).collect()));
        assert_eq!(read(&text("'a.txt'")), files(&["a.txt"]));
        assert_eq!(read(&text("['a.txt', 'b.txt']")), files(&["a.txt", "b.txt"]));
    }

    #[test]
    fn what_cannot_be_known_comes_with_a_next_step() {
        let dynamic = read("[project]\ndynamic = ['dependencies']").unwrap_err();
        assert!(dynamic.contains("requirements.txt"), "{dynamic}");
        let poetry = read("[tool.poetry.dependencies]\npython = '^3.11'\npandas = '^2.2'").unwrap_err();
        assert!(poetry.contains("poetry export"), "{poetry}");
        let broken = read("[project\nname = 'x'").unwrap_err();
        assert!(broken.contains("line 1"), "{broken}");
    }
}
