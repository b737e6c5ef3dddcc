//! Rings of imports: no more than two files import each other, directly or by way of others, so
//! that each file can be read with what it stands on. Tests are not looked at, and a name that a
//! module passes on counts as an import of the file that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use syn::visit::Visit;

use crate::finding::Finding;
use crate::manifests::Member;
use crate::sources;

/// The crates that are searched for rings, by the start of their folder's path.
const RINGLESS: &[&str] = &["engine/", "kafka-gateway", "net", "node"];
/// Two nouns may know each other; three are a knot.
const RING_MAX: usize = 2;
/// Modules that pass one name on to each other.
const HOPS_MAX: usize = 8;

/// The names on the way to a module or to something in it, from the crate's root.
type ModulePath = Vec<String>;

#[derive(Debug, Default)]
struct Module {
    file: String,
    imports: BTreeSet<ModulePath>,
    /// What it passes on, by the name that it passes it on under.
    exports: BTreeMap<String, ModulePath>,
}

impl Module {
    fn parse(file: String, text: &str, path: &[String]) -> Result<Self> {
        let parsed = syn::parse_file(text).with_context(|| format!("reading the imports of {file}"))?;
        let mut found = Imports { of: path, paths: BTreeSet::new(), exports: BTreeMap::new() };
        found.visit_file(&parsed);
        let Imports { paths: imports, exports, .. } = found;
        Ok(Self { file, imports, exports })
    }
}

pub fn check(root: &Path, member: &Member) -> Result<Vec<Finding>> {
    if !RINGLESS.iter().any(|folder| member.folder.starts_with(folder)) {
        return Ok(Vec::new());
    }
    let source = format!("{}/src/", member.folder);
    let mut modules = BTreeMap::new();
    for (file, text) in sources::texts(root, member)? {
        let Some(path) = file.strip_prefix(&source).and_then(module_path) else { continue };
        let module = Module::parse(file, &text, &path)?;
        modules.insert(path, module);
    }
    Ok(rings(&modules))
}

/// `wal/scan.rs` is `wal::scan`; `None` for tests.
fn module_path(file: &str) -> Option<ModulePath> {
    let mut path: ModulePath = file.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    path.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    (!path.iter().any(|name| name == "tests")).then_some(path)
}

/// The imports of the module `of`.
struct Imports<'a> {
    of: &'a [String],
    paths: BTreeSet<ModulePath>,
    exports: BTreeMap<String, ModulePath>,
}

impl Imports<'_> {
    /// From the crate's root. What begins with another name may be a module in this one, or another
    /// crate.
    fn absolute(&self, names: &[String]) -> ModulePath {
        let mut path = self.of.to_vec();
        let mut names = names;
        while let Some((first, rest)) = names.split_first() {
            match first.as_str() {
                "crate" => path.clear(),
                "super" => drop(path.pop()),
                "self" => {}
                _ => break,
            }
            names = rest;
        }
        path.extend_from_slice(names);
        path
    }

    fn take(&mut self, tree: &syn::UseTree, before: &[String], is_passed_on: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.take(&path.tree, &with(&path.ident), is_passed_on),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.take(tree, before, is_passed_on));
            }
            syn::UseTree::Glob(_) => drop(self.paths.insert(self.absolute(before))),
            syn::UseTree::Name(name) => self.name(&with(&name.ident), &name.ident, is_passed_on),
            syn::UseTree::Rename(name) => self.name(&with(&name.ident), &name.rename, is_passed_on),
        }
    }

    fn name(&mut self, names: &[String], known_as: &syn::Ident, is_passed_on: bool) {
        let path = self.absolute(names);
        if is_passed_on {
            self.exports.insert(known_as.to_string(), path);
        } else {
            self.paths.insert(path);
        }
    }
}

impl Visit<'_> for Imports<'_> {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.take(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
    }

    /// `super::group::LENGTH` in the midst of code.
    fn visit_path(&mut self, path: &syn::Path) {
        let names: ModulePath = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 && matches!(names[0].as_str(), "crate" | "super" | "self") {
            self.paths.insert(self.absolute(&names));
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }
}

/// The module in whose file the path ends.
fn resolve<'a>(path: &[String], modules: &'a BTreeMap<ModulePath, Module>) -> Option<&'a ModulePath> {
    let mut path = path.to_vec();
    for _ in 0..HOPS_MAX {
        let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
        let (module, of) = modules.get_key_value(&path[..length])?;
        match path.get(length).and_then(|name| of.exports.get(name)) {
            Some(comes_from) => path = [comes_from, &path[length + 1..]].concat(),
            None => return Some(module),
        }
    }
    None
}

fn rings(modules: &BTreeMap<ModulePath, Module>) -> Vec<Finding> {
    let mut imports: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> = BTreeMap::new();
    for (path, module) in modules {
        let found = module.imports.iter().filter_map(|import| resolve(import, modules));
        // The crate's root and modules that hold modules say what there is.
        imports.insert(path, found.filter(|found| *found != path && !found.is_empty()).collect());
    }
    let reached: BTreeMap<_, _> = modules.keys().map(|path| (path, reach(path, &imports))).collect();
    let mut findings = Vec::new();
    for (path, module) in modules {
        let ring: Vec<_> = reached[path].iter().filter(|other| reached[*other].contains(path)).collect();
        if ring.len() > RING_MAX && ring.first().is_some_and(|first| **first == path) {
            let names: Vec<String> = ring.iter().map(|path| path.join("::")).collect();
            let message = format!("{} import each other in a ring: give what they share a file", names.join(", "));
            findings.push(Finding::of_file(&module.file, message));
        }
    }
    findings
}

/// Everything that the module imports, directly or not.
fn reach<'a>(
    from: &'a ModulePath,
    imports: &BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
) -> BTreeSet<&'a ModulePath> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(path) = next.pop() {
        next.extend(imports[path].iter().filter(|import| reached.insert(**import)));
    }
    reached
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::{Module, module_path, rings};

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let module = |(file, text): &(&str, &str)| {
            let path = module_path(file)?;
            let module = Module::parse((*file).to_owned(), text, &path).unwrap();
            Some((path, module))
        };
        let modules: BTreeMap<_, _> = files.iter().filter_map(module).collect();
        rings(&modules).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_ring_of_three_files_is_found_whatever_way_the_names_come() {
        let root = ("lib.rs", "mod wal; mod disk;");
        let ring = [
            root,
            ("wal/mod.rs", "pub mod group; pub mod frame; pub use group::{Group as Whole, Part};"),
            ("wal/group.rs", "use crate::disk::{self, Disk};"),
            ("wal/frame.rs", "use super::{Whole, frame::Other};"),
            ("disk.rs", "fn f() -> u32 { crate::wal::frame::LENGTH }"),
        ];
        let expected =
            ["disk.rs: disk, wal::frame, wal::group import each other in a ring: give what they share a file"];
        assert_eq!(found(&ring), expected);
        // Two may, and tests are not looked at.
        let mut pair = ring;
        pair[4] = ("disk.rs", "use crate::wal::Part; #[cfg(test)] mod tests { use crate::wal::frame::Frame; }");
        assert_eq!(found(&pair), Vec::<String>::new());
        pair[4] = ("disk/tests.rs", ring[4].1);
        assert_eq!(found(&pair), Vec::<String>::new());
    }
}
