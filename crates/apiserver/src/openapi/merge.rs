//! A part of somebody else's document of version 2, put among this server's own or told as version 3.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

/// The paths of a group version in somebody else's document, and the types that they use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// Differs where something of it does.
    pub(crate) etag: String,
    paths: Map<String, Value>,
    definitions: Map<String, Value>,
}

const DEFINITIONS: &str = "#/definitions/";
const SCHEMAS: &str = "#/components/schemas/";
const PARAMETERS: &str = "#/parameters/";
/// So many types a document may have, and so many paths.
const MOST: usize = 10_000;
/// So many bytes parameters may come to that are put where they are only named.
const RESOLVED: usize = 4 << 20;
/// In so many media types one thing is told.
const MEDIA_TYPES: usize = 16;
/// The methods of a path.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

impl Part {
    /// What a document has below a path, which ends with a slash. None where it is no document of version 2, or has more
    /// of something than anybody needs.
    pub(crate) fn of(document: Value, below: &str) -> Option<Self> {
        let Value::Object(mut document) = document else { return None };
        if document.get("swagger").and_then(Value::as_str) != Some("2.0") {
            return None;
        }
        let shared = document.remove("parameters").unwrap_or_default();
        let mut known = match document.remove("definitions") {
            Some(Value::Object(known)) => known,
            _ => Map::new(),
        };
        if known.len() > MOST {
            return None;
        }
        let mut paths = Map::new();
        let mut shared = Shared::of(&shared);
        if let Some(Value::Object(all)) = document.remove("paths").filter(|all| count(all) <= MOST) {
            for (path, mut item) in all {
                if path.starts_with(below) && item.is_object() {
                    shared.resolve(&mut item)?;
                    paths.insert(path, item);
                }
            }
        }
        let mut wanted = Vec::new();
        paths.values().for_each(|item| references(item, &mut wanted));
        let mut definitions = Map::new();
        while let Some(name) = wanted.pop() {
            if let Some(definition) = known.remove(&name) {
                references(&definition, &mut wanted);
                definitions.insert(name, definition);
            }
        }
        paths.sort_keys();
        definitions.sort_keys();
        let text = json!([paths, definitions]).to_string();
        Some(Self { etag: super::hash(text.as_bytes()), paths, definitions })
    }

    /// Whether it describes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Puts it into a document of version 2. What that has already stays as it is; types of the same name that
    /// are others get another name.
    pub(super) fn merge_into(&self, document: &mut Value) {
        let known = document["definitions"].as_object().cloned().unwrap_or_default();
        let names = self.new_names(&known);
        for (name, definition) in &self.definitions {
            let (name, is_new) = match names.get(name.as_str()) {
                Some(new) => (new, true),
                None => (name, !known.contains_key(name)),
            };
            if is_new {
                let mut definition = definition.clone();
                rewrite(&mut definition, &|name| renamed(&names, name));
                document["definitions"][name] = definition;
            }
        }
        for (path, item) in &self.paths {
            if document["paths"].get(path).is_none() {
                let mut item = item.clone();
                rewrite(&mut item, &|name| renamed(&names, name));
                document["paths"][path] = item;
            }
        }
        for part in ["paths", "definitions"] {
            if let Some(part) = document[part].as_object_mut() {
                part.sort_keys();
            }
        }
    }

    /// What types are to be called whose name is another's, and those that use them.
    fn new_names(&self, known: &Map<String, Value>) -> BTreeMap<&str, String> {
        self.new_names_by(known, references)
    }

    fn new_names_by(
        &self,
        known: &Map<String, Value>,
        mut references: impl FnMut(&Value, &mut Vec<String>),
    ) -> BTreeMap<&str, String> {
        let is_other = |name: &str, own: &Value| known.get(name).is_some_and(|theirs| theirs != own);
        let mut others: BTreeSet<&str> = self
            .definitions
            .iter()
            .filter(|(name, definition)| is_other(name, definition))
            .map(|(name, _)| name.as_str())
            .collect();
        // Whoever uses one of them is another, too: each is looked at once, from what it uses to who uses it.
        let mut users: HashMap<String, Vec<&str>> = HashMap::new();
        for (name, definition) in self.definitions.iter().filter(|(name, _)| known.contains_key(*name)) {
            let mut used = Vec::new();
            references(definition, &mut used);
            used.into_iter().for_each(|used| users.entry(used).or_default().push(name));
        }
        let mut open: Vec<&str> = others.iter().copied().collect();
        while let Some(name) = open.pop() {
            open.extend(users.remove(name).into_iter().flatten().filter(|user| others.insert(*user)));
        }
        let is_free = |name: &str| !known.contains_key(name) && !self.definitions.contains_key(name);
        let new = |name: &str| {
            let mut names = (2..).map(|number| format!("{name}_v{number}"));
            names.find(|name| is_free(name)).unwrap_or_default()
        };
        others.into_iter().map(|name| (name, new(name))).collect()
    }

    /// As a document of version 3.
    pub(crate) fn v3(&self) -> Value {
        let mut schemas = self.definitions.clone();
        schemas.values_mut().for_each(|schema| rewrite(schema, &|name| format!("{SCHEMAS}{name}")));
        let paths: Map<String, Value> =
            self.paths.iter().map(|(path, item)| (path.clone(), path_item(item))).collect();
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "unversioned"},
            "paths": paths,
            "components": {"schemas": schemas},
        })
    }
}

fn renamed(names: &BTreeMap<&str, String>, name: &str) -> String {
    let name = names.get(name).map_or(name, String::as_str);
    format!("{DEFINITIONS}{name}")
}

/// Parameters that are named in many places.
struct Shared<'a> {
    /// With their lengths.
    known: HashMap<&'a str, (&'a Value, usize)>,
    left: usize,
}

impl<'a> Shared<'a> {
    fn of(all: &'a Value) -> Self {
        let all = all.as_object().into_iter().flatten();
        let known = all.map(|(name, value)| (name.as_str(), (value, value.to_string().len())));
        Self { known: known.collect(), left: RESOLVED }
    }

    /// Puts them where they are only named; none where that makes too much of little.
    fn resolve(&mut self, item: &mut Value) -> Option<()> {
        self.resolve_list(item)?;
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                self.resolve_list(operation)?;
            }
        }
        Some(())
    }

    fn resolve_list(&mut self, owner: &mut Value) -> Option<()> {
        let Some(list) = owner.get_mut("parameters").and_then(Value::as_array_mut) else { return Some(()) };
        for parameter in list {
            let name =
                parameter.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix(PARAMETERS));
            if let Some((found, length)) = name.and_then(|name| self.known.get(name)) {
                self.left = self.left.checked_sub(*length)?;
                *parameter = (*found).clone();
            }
        }
        Some(())
    }
}

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, Map::len)
}

/// The names of the types that something uses.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "$ref" => {
                        found.extend(text.strip_prefix(DEFINITIONS).map(str::to_owned));
                    }
                    value => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Changes what types are called wherever they are named.
fn rewrite(value: &mut Value, new: &impl Fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::String(text) if name == "$ref" => {
                        if let Some(name) = text.strip_prefix(DEFINITIONS) {
                            *text = new(name);
                        }
                    }
                    value => rewrite(value, new),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, new)),
        _ => {}
    }
}

fn path_item(item: &Value) -> Value {
    let mut shown = Map::new();
    let Some(fields) = item.as_object() else { return json!({}) };
    for (name, value) in fields {
        let value = match name.as_str() {
            "parameters" => list(value).filter(|one| one["in"] != "body").map(parameter).collect(),
            name if METHODS.contains(&name) => operation(value),
            name if name.starts_with("x-") => value.clone(),
            _ => continue,
        };
        shown.insert(name.clone(), value);
    }
    shown.into()
}

fn operation(value: &Value) -> Value {
    let texts = |name: &str| -> Vec<&str> {
        list(&value[name]).filter_map(Value::as_str).take(MEDIA_TYPES).collect()
    };
    let content = |types: Vec<&str>, schema: &Value| -> Value {
        let mut schema = schema.clone();
        rewrite(&mut schema, &|name| format!("{SCHEMAS}{name}"));
        let types = if types.is_empty() { vec!["application/json"] } else { types };
        let all: Map<String, Value> =
            types.into_iter().map(|kind| (kind.to_owned(), json!({"schema": schema}))).collect();
        all.into()
    };
    let mut shown = Map::new();
    let Some(fields) = value.as_object() else { return json!({}) };
    for (name, value) in fields {
        let kept = matches!(name.as_str(), "operationId" | "description" | "summary" | "tags" | "deprecated")
            || name.starts_with("x-");
        if kept {
            shown.insert(name.clone(), value.clone());
        }
    }
    let others: Vec<Value> =
        list(&value["parameters"]).filter(|one| one["in"] != "body").map(parameter).collect();
    if !others.is_empty() {
        shown.insert("parameters".to_owned(), others.into());
    }
    if let Some(body) = list(&value["parameters"]).find(|one| one["in"] == "body") {
        let mut request = json!({"content": content(texts("consumes"), &body["schema"])});
        if body["required"] == true {
            request["required"] = true.into();
        }
        shown.insert("requestBody".to_owned(), request);
    }
    let mut responses = Map::new();
    for (code, answer) in value["responses"].as_object().into_iter().flatten() {
        let mut response = json!({"description": answer["description"].as_str().unwrap_or_default()});
        if let Some(schema) = answer.get("schema") {
            response["content"] = content(texts("produces"), schema);
        }
        responses.insert(code.clone(), response);
    }
    shown.insert("responses".to_owned(), responses.into());
    shown.into()
}

/// A parameter that is no body: its type is a schema.
fn parameter(value: &Value) -> Value {
    let mut shown = Map::new();
    let mut schema = Map::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        match name.as_str() {
            "name" | "in" | "description" | "required" => shown.insert(name.clone(), value.clone()),
            "collectionFormat" | "allowEmptyValue" => None,
            name if name.starts_with("x-") => shown.insert(name.to_owned(), value.clone()),
            _ => schema.insert(name.clone(), value.clone()),
        };
    }
    shown.insert("schema".to_owned(), schema.into());
    shown.into()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs() -> Value {
        json!({
            "swagger": "2.0",
            "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string", "uniqueItems": true}},
            "paths": {
                "/apis/": {"get": {}},
                "/apis/w.example.com/v1/flunders": {
                    "parameters": [{"$ref": "#/parameters/pretty"}],
                    "post": {
                        "operationId": "createFlunder", "consumes": ["application/json", "application/yaml"],
                        "produces": ["application/json"],
                        "parameters": [{"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/w.Flunder"}}],
                        "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/w.Flunder"}}},
                        "x-kubernetes-action": "post",
                    },
                },
                "/apis/w.example.com/v10/flunders": {"get": {}},
            },
            "definitions": {
                "w.Flunder": {"properties": {"metadata": {"$ref": "#/definitions/meta.ObjectMeta"}, "same": {"$ref": "#/definitions/meta.Same"}}},
                "meta.ObjectMeta": {"properties": {"old": {"type": "string"}}},
                "meta.Same": {"type": "string"},
                "meta.Unused": {"type": "string"},
            },
        })
    }

    #[test]
    fn of_anothers_document_only_the_group_version_is_taken() {
        let part = Part::of(theirs(), "/apis/w.example.com/v1/").expect("a document");
        let paths: Vec<&String> = part.paths.keys().collect();
        assert_eq!(paths, ["/apis/w.example.com/v1/flunders"]);
        let names: Vec<&String> = part.definitions.keys().collect();
        assert_eq!(names, ["meta.ObjectMeta", "meta.Same", "w.Flunder"]);
        assert_eq!(part.paths[paths[0]]["parameters"][0]["name"], "pretty");
        assert_eq!(Part::of(json!({"openapi": "3.0.0"}), "/"), None);
        assert_eq!(Part::of(json!([]), "/"), None);
        let mut changed = theirs();
        changed["definitions"]["w.Flunder"]["description"] = json!("more");
        let changed = Part::of(changed, "/apis/w.example.com/v1/").expect("a document");
        assert_ne!(changed.etag, part.etag);
    }

    #[test]
    fn types_of_the_same_name_that_are_others_get_another() {
        let part = Part::of(theirs(), "/apis/w.example.com/v1/").expect("a document");
        let mut own = json!({
            "paths": {"/api/v1/pods": {}},
            "definitions": {
                "meta.ObjectMeta": {"properties": {"new": {"type": "string"}}},
                "meta.ObjectMeta_v2": {},
                "meta.Same": {"type": "string"},
            },
        });
        part.merge_into(&mut own);
        assert_eq!(own["definitions"]["meta.ObjectMeta"]["properties"]["new"]["type"], "string");
        assert_eq!(own["definitions"]["meta.ObjectMeta_v3"]["properties"]["old"]["type"], "string");
        let flunder = &own["definitions"]["w.Flunder"]["properties"];
        assert_eq!(flunder["metadata"]["$ref"], "#/definitions/meta.ObjectMeta_v3");
        assert_eq!(flunder["same"]["$ref"], "#/definitions/meta.Same");
        assert_eq!(own["definitions"].as_object().map(Map::len), Some(5));
        assert!(own["paths"]["/apis/w.example.com/v1/flunders"]["post"].is_object());
        let once = own.clone();
        part.merge_into(&mut own);
        assert_eq!(own["paths"], once["paths"]);
    }

    #[test]
    fn whoever_uses_a_type_of_another_name_has_another_itself() {
        let document = |inner: &str| {
            json!({
                "swagger": "2.0",
                "paths": {"/a/x": {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/Outer"}}}}}},
                "definitions": {
                    "Outer": {"properties": {"inner": {"$ref": "#/definitions/Inner"}}},
                    "Inner": {"type": inner},
                },
            })
        };
        let part = Part::of(document("string"), "/a/").expect("a document");
        let mut own = document("integer");
        own["paths"] = json!({});
        part.merge_into(&mut own);
        let answer = &own["paths"]["/a/x"]["get"]["responses"]["200"]["schema"]["$ref"];
        assert_eq!(answer, "#/definitions/Outer_v2");
        let inner = &own["definitions"]["Outer_v2"]["properties"]["inner"]["$ref"];
        assert_eq!(inner, "#/definitions/Inner_v2");
    }

    #[test]
    fn what_is_hostile_costs_no_more_than_its_length() {
        let most = MOST - 1;
        // Each uses the one before, and the first is another: in whatever order they are looked at, each is once.
        let chain = |first: &str| {
            let mut all = Map::new();
            all.insert(format!("{:05}", most), json!({"type": first}));
            for number in 0..most {
                let next = format!("{DEFINITIONS}{:05}", number + 1);
                all.insert(format!("{number:05}"), json!({"$ref": next}));
            }
            json!({
                "swagger": "2.0", "definitions": all,
                "paths": {"/a/x": {"get": {"schema": {"$ref": format!("{DEFINITIONS}00000")}}}},
            })
        };
        let part = Part::of(chain("string"), "/a/").expect("a document");
        let own = chain("integer");
        let known = own["definitions"].as_object().expect("types");
        let mut looked = 0;
        let names = part.new_names_by(known, |definition, used| {
            looked += 1;
            references(definition, used);
        });
        assert_eq!((names.len(), looked), (MOST, MOST));
        let mut more = chain("string");
        more["definitions"]["one more"] = json!({});
        assert_eq!(Part::of(more, "/a/"), None);
        // A long parameter that is named often.
        let named = vec![json!({"$ref": "#/parameters/long"}); 5000];
        let often = json!({
            "swagger": "2.0", "parameters": {"long": {"description": "x".repeat(1 << 20)}},
            "paths": {"/a/x": {"parameters": named}},
        });
        assert_eq!(Part::of(often, "/a/"), None);
        // One schema in many media types.
        let types: Vec<String> = (0..10_000).map(|number| format!("a/{number}")).collect();
        let told = operation(&json!({
            "produces": types, "responses": {"200": {"schema": {"description": "x".repeat(1 << 10)}}},
        }));
        assert_eq!(count(&told["responses"]["200"]["content"]), MEDIA_TYPES);
    }

    #[test]
    fn a_document_of_version_2_can_be_told_as_version_3() {
        let part = Part::of(theirs(), "/apis/w.example.com/v1/").expect("a document");
        let told = part.v3();
        let item = &told["paths"]["/apis/w.example.com/v1/flunders"];
        assert_eq!(
            item["parameters"][0],
            json!({"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": true}})
        );
        let post = &item["post"];
        let reference = json!({"schema": {"$ref": "#/components/schemas/w.Flunder"}});
        assert_eq!(post["requestBody"]["content"]["application/yaml"], reference);
        assert_eq!(post["requestBody"]["required"], true);
        assert_eq!(post["responses"]["200"]["content"]["application/json"], reference);
        assert_eq!((&post["x-kubernetes-action"], post.get("consumes")), (&json!("post"), None));
        let metadata = &told["components"]["schemas"]["w.Flunder"]["properties"]["metadata"]["$ref"];
        assert_eq!(metadata, "#/components/schemas/meta.ObjectMeta");
        assert_eq!(told["openapi"], "3.0.0");
    }
}
