//! Writes the code of all messages whose schemas lie in `kafka-codec/schemas`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use rustmq_kafka_codec_generator::{Source, generate};

const SCHEMAS: &str = "../schemas";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={SCHEMAS}");
    let code = generate(&sources(Path::new(SCHEMAS))?).map_err(|error| error.to_string())?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("messages.rs"), code)?;
    Ok(())
}

fn sources(folder: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            sources.push(Source { name: path.display().to_string(), text: fs::read_to_string(&path)? });
        }
    }
    Ok(sources)
}
