//! Checks that no operation of the broker can be called without a session: authorization and quotas
//! stand there.

use std::path::Path;

use anyhow::Result;

use crate::finding::Finding;
use crate::manifests::Member;
use crate::sources;

const BROKER: &str = "broker/service";
/// The public methods of `Broker` itself: its life cycle, and what front ends ask before a session
/// exists.
const LIFE_CYCLE: &[&str] = &["effective_config", "failure", "id", "reload", "shutdown", "start"];

pub fn check(root: &Path, member: &Member) -> Result<Vec<Finding>> {
    if member.folder != BROKER {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for (path, text) in sources::texts(root, member)? {
        findings.extend(check_text(&path, &text));
    }
    Ok(findings)
}

/// Finds public methods in the blocks `impl Broker`, each of which begins and ends a line.
fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let mut is_of_broker = false;
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match line {
            "impl Broker {" => is_of_broker = true,
            "}" => is_of_broker = false,
            _ if is_of_broker => {
                let operation = public_function(line.trim_start()).filter(|name| !LIFE_CYCLE.contains(name));
                findings.extend(operation.map(|name| Finding {
                    path: path.to_owned(),
                    line: index + 1,
                    message: format!("`{name}` is public on Broker: an operation is a method of Session"),
                }));
            }
            _ => {}
        }
    }
    findings
}

/// The name of a function that a line declares as public.
fn public_function(line: &str) -> Option<&str> {
    let declaration = line.strip_prefix("pub ")?;
    let (qualifiers, name) = declaration.split_once("fn ")?;
    let is_function = qualifiers.split_whitespace().all(|word| ["async", "const", "unsafe"].contains(&word));
    is_function.then(|| name.split(['(', '<']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::check_text;

    #[test]
    fn a_public_operation_of_the_broker_is_found() {
        let text = "impl Broker {\n    pub async fn shutdown(&self) {}\n    pub(crate) fn locate(&self) {}\n    pub async fn fetch<T>(&self) {}\n}\n\
                    impl Session {\n    pub async fn produce(&self) {}\n}\n";
        let found: Vec<_> = check_text("broker.rs", text).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("broker.rs:4: `fetch`"), "{found:?}");
    }
}
