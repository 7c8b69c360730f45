//! Lists the worker's Python files, which travel inside the binary.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("python/streamfleet_worker");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&root)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "py"));
    files.sort();

    let mut list = String::from("&[\n");
    for path in &files {
        // Not the folder: whatever Python or its tools leave there would have everything compiled anew. A new file is of no use until
        // one that is here already imports it.
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("file name")?;
        writeln!(list, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())?;
    }
    list.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("worker_files.rs"), list)?;
    Ok(())
}
