//! Import cycles: at most two files may import each other, directly or through others. So each file
//! can be read after the files that it builds on. Ignores tests. A name that a module re-exports
//! counts as an import of the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use syn::visit::Visit;

use crate::finding::Finding;
use crate::manifests::Member;
use crate::sources;

/// The crates that are searched for cycles, by the start of their folder's path.
const ACYCLIC: &[&str] = &["controller/api", "engine/", "kafka-gateway", "net", "node"];
/// Two files may describe one noun from two sides; three form a knot.
const CYCLE_FILES_MAX: usize = 2;
/// The most re-exports that one name is followed through.
const HOPS_MAX: usize = 8;

/// The names on the way to a module or to something in it, from the crate's root.
type ModulePath = Vec<String>;

#[derive(Debug, Default)]
struct Module {
    file: String,
    imports: BTreeSet<ModulePath>,
    /// The paths that the module re-exports, by their new names.
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
    if !ACYCLIC.iter().any(|folder| member.folder.starts_with(folder)) {
        return Ok(Vec::new());
    }
    let source = format!("{}/src/", member.folder);
    let mut modules = BTreeMap::new();
    for (file, text) in sources::texts(root, member)? {
        let Some(path) = file.strip_prefix(&source).and_then(module_path) else { continue };
        let module = Module::parse(file, &text, &path)?;
        modules.insert(path, module);
    }
    Ok(cycles(&modules))
}

/// The module of a file: `wal::scan` for `wal/scan.rs`. `None` for tests.
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
    /// The path from the crate's root. A path that begins with any other name may start at a module
    /// inside this one, or at another crate.
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

    fn take(&mut self, tree: &syn::UseTree, before: &[String], is_reexport: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.take(&path.tree, &with(&path.ident), is_reexport),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.take(tree, before, is_reexport));
            }
            syn::UseTree::Glob(_) => drop(self.paths.insert(self.absolute(before))),
            syn::UseTree::Name(name) => self.name(&with(&name.ident), &name.ident, is_reexport),
            syn::UseTree::Rename(name) => self.name(&with(&name.ident), &name.rename, is_reexport),
        }
    }

    fn name(&mut self, names: &[String], known_as: &syn::Ident, is_reexport: bool) {
        let path = self.absolute(names);
        if is_reexport {
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

    /// Takes paths within code, such as `super::group::LENGTH`.
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

/// The module whose file defines the last name of the path.
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

fn cycles(modules: &BTreeMap<ModulePath, Module>) -> Vec<Finding> {
    let mut imports: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> = BTreeMap::new();
    for (path, module) in modules {
        let found = module.imports.iter().filter_map(|import| resolve(import, modules));
        // The crate's root imports every module, and so would be part of every cycle.
        imports.insert(path, found.filter(|found| *found != path && !found.is_empty()).collect());
    }
    let reached: BTreeMap<_, _> = modules.keys().map(|path| (path, reach(path, &imports))).collect();
    let mut findings = Vec::new();
    for (path, module) in modules {
        let cycle: Vec<_> = reached[path].iter().filter(|other| reached[*other].contains(path)).collect();
        if cycle.len() > CYCLE_FILES_MAX && cycle.first().is_some_and(|first| **first == path) {
            let names: Vec<String> = cycle.iter().map(|path| path.join("::")).collect();
            let message =
                format!("{} import each other in a cycle: move what they share to a file of its own", names.join(", "));
            findings.push(Finding::of_file(&module.file, message));
        }
    }
    findings
}

/// All modules that the module imports, directly or through others.
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

    use super::{Module, cycles, module_path};

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let module = |(file, text): &(&str, &str)| {
            let path = module_path(file)?;
            let module = Module::parse((*file).to_owned(), text, &path).unwrap();
            Some((path, module))
        };
        let modules: BTreeMap<_, _> = files.iter().filter_map(module).collect();
        cycles(&modules).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_cycle_of_three_files_is_found_however_the_names_are_imported() {
        let root = ("lib.rs", "mod wal; mod disk;");
        let cycle = [
            root,
            ("wal.rs", "pub mod group; pub mod frame; pub use group::{Group as Whole, Part};"),
            ("wal/group.rs", "use crate::disk::{self, Disk};"),
            ("wal/frame.rs", "use super::{Whole, frame::Other};"),
            ("disk.rs", "fn f() -> u32 { crate::wal::frame::LENGTH }"),
        ];
        let expected = [
            "disk.rs: disk, wal::frame, wal::group import each other in a cycle: move what they share to a file of its own",
        ];
        assert_eq!(found(&cycle), expected);
        // Two files may, and tests are ignored.
        let mut pair = cycle;
        pair[4] = ("disk.rs", "use crate::wal::Part; #[cfg(test)] mod tests { use crate::wal::frame::Frame; }");
        assert_eq!(found(&pair), Vec::<String>::new());
        pair[4] = ("disk/tests.rs", cycle[4].1);
        assert_eq!(found(&pair), Vec::<String>::new());
    }
}
