//! A root of an earlier version is taken over with all that is in it.

mod support;

use std::path::Path;

use engine::container::{ContainerFilter, Status};
use engine::network::{NetworkFilter, NetworkSpec};
use engine::volume::VolumeFilter;
use serde_json::Value;
use support::{logs, on_host, remove_all, wait};
use testkit::documents::check_kept;

/// Told in the README beside it.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/root-0.1.tar.xz");

fn unpack(directory: &Path) {
    std::fs::create_dir(directory).expect("a directory");
    let unpacked = std::process::Command::new("tar").arg("-xJf").arg(ROOT).arg("-C").arg(directory).status();
    assert!(unpacked.expect("run tar").success());
}

fn document(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn a_root_of_version_0_1_is_taken_over_whole() {
    on_host(|host, engine| async move {
        let engine = host
            .reopen(engine, async || {
                let root = host.path("root");
                std::fs::remove_dir_all(&root).expect("make way");
                unpack(&root);
            })
            .await;
        // Twice: what the first start writes must be read by the second, the list of images anew among it.
        engine.image_tag("kept:1", "kept:more").await.expect("tag");
        let engine = host.reopen(engine, async || {}).await;
        assert_eq!(engine.troubles(), []);
        let all = ContainerFilter { all: true, ..ContainerFilter::default() };
        let mut found: Vec<(String, Status, i32)> = engine
            .container_list(&all)
            .expect("list")
            .iter()
            .map(|container| (container.name.clone(), container.state.status, container.state.exit_code))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("kept-auto".to_owned(), Status::Created, 0),
            ("kept-created".to_owned(), Status::Created, 0),
            ("kept-exited".to_owned(), Status::Exited, 7),
        ];
        assert_eq!(found, expected);
        for name in ["kept-base:1", "kept:1", "kept:more", "localhost:5000/kept:other"] {
            engine.image_inspect(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let volume = engine.volume_inspect("kept-volume").expect("the volume");
        assert_eq!(
            std::fs::read_to_string(volume.path.join("file")).expect("its file").trim(),
            "of the volume"
        );
        assert_eq!(volume.labels["a"], "b");
        let used = VolumeFilter { dangling: Some(false), ..VolumeFilter::default() };
        assert_eq!(engine.volume_list(&used).len(), 2, "who has them is known");
        let networks = engine.network_list(&NetworkFilter::default());
        assert!(networks.iter().any(|network| network.name == "kept-net"), "{networks:?}");
        // The root lies elsewhere than it did, and containers run all the same.
        for name in ["kept-exited", "kept-created"] {
            let id = engine.container_find(name).expect(name);
            engine.container_start(&id).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!(wait(&engine, &id).await.code, 7, "{name}");
            assert!(logs(&engine, &id).await.0.contains("kept"), "{name}");
        }
        remove_all(&engine).await;
    });
}

#[test]
fn what_is_written_anew_of_a_root_of_version_0_1_has_all_that_was_in_it() {
    on_host(|host, engine| async move {
        let before = host.path("before");
        let engine = host
            .reopen(engine, async || {
                let root = host.path("root");
                std::fs::remove_dir_all(&root).expect("make way");
                unpack(&root);
                unpack(&before);
            })
            .await;
        for name in ["kept-exited", "kept-created", "kept-auto"] {
            let id = engine.container_find(name).expect(name);
            for name in ["other", name] {
                engine.container_rename(&id, name).await.expect("a name");
            }
            let directory = Path::new("containers").join(id.as_str());
            let mut old = document(&before.join(&directory).join("state.json"));
            let fields = old.as_object_mut().expect("an object");
            // Where the files are now, since the root was moved.
            fields.retain(|name, _| !["version", "layers"].contains(&&**name));
            let parts = ["life", "health", "boot"].map(|name| (name, fields.remove(name).expect(name)));
            let directory = host.path("root").join(&directory);
            let (state, life) =
                (document(&directory.join("state.json")), document(&directory.join("life.json")));
            assert_eq!(state["version"], 2);
            check_kept(&old, &state, name);
            parts.iter().for_each(|(part, value)| assert_eq!(life[part], *value, "{part} of {name}"));
        }
        let more = NetworkSpec { name: "more".to_owned(), ..NetworkSpec::default() };
        engine.network_create(more).await.expect("a network");
        let networks = |root: &Path| document(&root.join("network/networks.json"))["networks"].clone();
        let (old, new) = (networks(&before), networks(&host.path("root")));
        let is_users = |network: &&Value| network["kind"] == "user";
        let kept = old.as_array().expect("a list").iter().find(is_users).expect("kept-net");
        let now = new.as_array().expect("a list").iter().find(|network| network["id"] == kept["id"]);
        // What was said of the network's only subnet is in a list now.
        let mut now = now.expect("kept-net").clone();
        let pool = now["pools"][0].as_object().expect("a subnet").clone();
        now.as_object_mut().expect("an object").extend(pool);
        check_kept(kept, &now, "kept-net");
        assert_eq!(engine.troubles(), []);
        remove_all(&engine).await;
    });
}
