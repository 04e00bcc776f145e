//! From a source file to its functions: what each calls, and where.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ItemUse, Pat, UseTree};

use super::{THREADS, known};

/// One function of the house.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) krate: String,
    pub(super) path: String,
    /// The last part of the module's name.
    pub(super) module: String,
    /// The type whose it is.
    pub(super) owner: Option<String>,
    pub(super) name: String,
    pub(super) is_async: bool,
    /// Whether other crates may call it.
    pub(super) is_public: bool,
    /// What it calls before it returns.
    pub(super) calls: Vec<Call>,
    /// What asynchronous code in it calls.
    pub(super) awaited: Vec<Call>,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) line: usize,
    pub(super) callee: Callee,
}

/// What is called.
#[derive(Debug)]
pub(super) enum Callee {
    /// Something that is known to block.
    Blocks(String),
    /// A function by its path: the crate if it is another of the house, and what is before its name.
    Path {
        krate: Option<String>,
        qualifier: Option<String>,
        name: String,
    },
    Method(String),
}

impl Callee {
    /// The last part of what it is called.
    pub(super) fn name(&self) -> &str {
        match self {
            Callee::Blocks(path) => path.rsplit("::").next().unwrap_or(path),
            Callee::Path { name, .. } | Callee::Method(name) => name,
        }
    }
}

/// Who runs the code that is being read.
#[derive(Clone, Copy, PartialEq)]
enum Runner {
    Caller,
    Runtime,
    Thread,
}

struct Reader<'a> {
    krate: &'a str,
    path: &'a str,
    module: &'a str,
    /// What names that were imported stand for.
    names: BTreeMap<String, String>,
    owner: Option<String>,
    runner: Runner,
    /// Closures with these names are given to threads.
    given: BTreeSet<String>,
    /// Names of variables, some of which are closures.
    local: BTreeSet<String>,
    /// The functions that are being read, innermost last.
    open: Vec<Function>,
    done: Vec<Function>,
}

/// The functions of a file, tests left out.
pub(super) fn functions(path: &str, text: &str) -> syn::Result<Vec<Function>> {
    let file = syn::parse_file(text)?;
    let parts: Vec<&str> = path.split('/').collect();
    let module = parts.last().map_or("", |name| name.trim_end_matches(".rs"));
    let mut reader = Reader {
        krate: parts.get(1).copied().unwrap_or_default(),
        path,
        module,
        names: BTreeMap::new(),
        owner: None,
        runner: Runner::Caller,
        given: BTreeSet::new(),
        local: BTreeSet::new(),
        open: Vec::new(),
        done: Vec::new(),
    };
    reader.visit_file(&file);
    Ok(reader.done)
}

impl Reader<'_> {
    fn function(
        &mut self,
        attributes: &[Attribute],
        is_public: bool,
        signature: &syn::Signature,
        body: &syn::Block,
    ) {
        if is_test(attributes) {
            return;
        }
        let is_async = signature.asyncness.is_some();
        self.open.push(Function {
            krate: self.krate.to_owned(),
            path: self.path.to_owned(),
            module: self.module.to_owned(),
            owner: self.owner.clone(),
            name: signature.ident.to_string(),
            is_async,
            is_public,
            calls: Vec::new(),
            awaited: Vec::new(),
        });
        let mut given = Given::default();
        given.visit_block(body);
        let outer = std::mem::replace(&mut self.given, given.names);
        let outer_local = std::mem::replace(&mut self.local, given.local);
        self.run_by(if is_async { Runner::Runtime } else { Runner::Caller }, |reader| {
            visit::visit_block(reader, body);
        });
        (self.given, self.local) = (outer, outer_local);
        self.done.extend(self.open.pop());
    }

    fn run_by(&mut self, runner: Runner, read: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.runner, runner);
        read(self);
        self.runner = outer;
    }

    fn call(&mut self, line: usize, callee: Callee) {
        let Some(function) = self.open.last_mut() else { return };
        match self.runner {
            Runner::Caller => function.calls.push(Call { line, callee }),
            Runner::Runtime => function.awaited.push(Call { line, callee }),
            Runner::Thread => {}
        }
    }

    /// Reads the arguments of a call, the closures among them as run by a thread where `threads`.
    fn arguments<'a>(&mut self, arguments: impl Iterator<Item = &'a Expr>, threads: bool) {
        for argument in arguments {
            match argument {
                Expr::Closure(closure) if threads && closure.asyncness.is_none() => {
                    self.run_by(Runner::Thread, |reader| reader.visit_expr(&closure.body));
                }
                Expr::Path(_) if threads => {}
                other => self.visit_expr(other),
            }
        }
    }

    /// The whole path that a path in the source stands for.
    fn whole(&self, path: &syn::Path) -> Vec<String> {
        let mut parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(known) = parts.first().and_then(|first| self.names.get(first)) {
            let known: Vec<String> = known.split("::").map(str::to_owned).collect();
            parts.splice(..1, known);
        }
        parts
    }

    fn named(&mut self, path: &syn::Path) {
        let parts = self.whole(path);
        let whole = parts.join("::");
        let callee = if known::path(&whole) {
            Callee::Blocks(whole)
        } else {
            let Some((name, before)) = parts.split_last() else { return };
            let inner = matches!(
                before.first().map(String::as_str),
                None | Some("crate" | "self" | "super" | "Self")
            );
            let krate =
                before.first().filter(|first| !inner && first.chars().all(|c| c.is_lowercase() || c == '_'));
            // A module that is in scope looks like a crate.
            let krate = krate
                .filter(|_| before.len() > 1 || self.names.contains_key(&path.segments[0].ident.to_string()));
            Callee::Path { krate: krate.cloned(), qualifier: before.last().cloned(), name: name.clone() }
        };
        let line = path.segments.last().map_or(0, |part| part.ident.span().start().line);
        self.call(line, callee);
    }

    fn import(&mut self, before: &str, tree: &UseTree) {
        let join = |name: &str| if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") };
        match tree {
            UseTree::Path(path) => self.import(&join(&path.ident.to_string()), &path.tree),
            UseTree::Name(name) if name.ident == "self" => {
                let last = before.rsplit("::").next().unwrap_or(before);
                self.names.insert(last.to_owned(), before.to_owned());
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                self.names.insert(name.clone(), join(&name));
            }
            UseTree::Rename(rename) => {
                self.names.insert(rename.rename.to_string(), join(&rename.ident.to_string()));
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(before, tree)),
            UseTree::Glob(_) => {}
        }
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.import("", &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        let owner = self.owner.take();
        let is_public = matches!(item.vis, syn::Visibility::Public(_));
        self.function(&item.attrs, is_public, &item.sig, &item.block);
        self.owner = owner;
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|part| part.ident.to_string()),
            _ => None,
        };
        let outer = self.owner.replace(name.unwrap_or_default());
        visit::visit_item_impl(self, item);
        self.owner = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        let is_public = matches!(item.vis, syn::Visibility::Public(_));
        self.function(&item.attrs, is_public, &item.sig, &item.block);
    }

    fn visit_expr_async(&mut self, block: &'a syn::ExprAsync) {
        self.run_by(Runner::Runtime, |reader| visit::visit_expr_async(reader, block));
    }

    fn visit_expr_closure(&mut self, closure: &'a syn::ExprClosure) {
        let runner = if closure.asyncness.is_some() { Runner::Runtime } else { self.runner };
        self.run_by(runner, |reader| visit::visit_expr_closure(reader, closure));
    }

    fn visit_local(&mut self, local: &'a syn::Local) {
        let name = match &local.pat {
            Pat::Ident(name) => Some(name.ident.to_string()),
            _ => None,
        };
        match local.init.as_ref().map(|init| &*init.expr) {
            Some(Expr::Closure(closure)) if name.is_some_and(|name| self.given.contains(&name)) => {
                self.run_by(Runner::Thread, |reader| reader.visit_expr(&closure.body));
            }
            _ => visit::visit_local(self, local),
        }
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        let threads = match &*call.func {
            Expr::Path(path) => path.path.segments.last().is_some_and(|name| is_thread(&name.ident)),
            _ => false,
        };
        match &*call.func {
            Expr::Path(path) => {
                let local = path.path.get_ident().is_some_and(|name| self.local.contains(&name.to_string()));
                if !local {
                    self.named(&path.path);
                }
            }
            other => self.visit_expr(other),
        }
        self.arguments(call.args.iter(), threads);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        let name = call.method.to_string();
        let callee =
            if known::method(&name, call.args.len()) { Callee::Blocks(name) } else { Callee::Method(name) };
        self.call(call.method.span().start().line, callee);
        self.arguments(call.args.iter(), is_thread(&call.method));
    }

    fn visit_expr_path(&mut self, path: &'a syn::ExprPath) {
        // A function that is handed on; a single name is a variable mostly.
        if path.path.segments.len() > 1 {
            self.named(&path.path);
        }
    }
}

/// Names that are given to something that runs them on threads.
#[derive(Default)]
struct Given {
    names: BTreeSet<String>,
    local: BTreeSet<String>,
}

impl Given {
    fn take<'a>(&mut self, arguments: impl Iterator<Item = &'a Expr>) {
        let names = arguments.filter_map(|argument| match argument {
            Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
            _ => None,
        });
        self.names.extend(names);
    }
}

impl<'a> Visit<'a> for Given {
    fn visit_pat_ident(&mut self, pattern: &'a syn::PatIdent) {
        self.local.insert(pattern.ident.to_string());
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        if let Expr::Path(path) = &*call.func
            && path.path.segments.last().is_some_and(|name| is_thread(&name.ident))
        {
            self.take(call.args.iter());
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        if is_thread(&call.method) {
            self.take(call.args.iter());
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn is_thread(name: &syn::Ident) -> bool {
    THREADS.iter().any(|known| name == known)
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let is_cfg = path.is_ident("cfg") || path.is_ident("cfg_attr");
        path.segments.last().is_some_and(|name| name.ident == "test")
            || is_cfg && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}
