//! A root of an earlier version is taken over with all that is in it.

mod support;

use engine::container::{ContainerFilter, Status};
use engine::network::NetworkFilter;
use engine::volume::VolumeFilter;
use support::{logs, on_host, remove_all, wait};

/// Told in the README beside it.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/root-0.1.tar.xz");

#[test]
fn a_root_of_version_0_1_is_taken_over_whole() {
    on_host(|host, engine| async move {
        let engine = host
            .reopen(engine, async || {
                let root = host.path("root");
                std::fs::remove_dir_all(&root).expect("make way");
                std::fs::create_dir(&root).expect("a root");
                let unpacked =
                    std::process::Command::new("tar").arg("-xJf").arg(ROOT).arg("-C").arg(&root).status();
                assert!(unpacked.expect("run tar").success());
            })
            .await;
        // Twice: what the first start writes must be read by the second.
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
        for name in ["kept-base:1", "kept:1", "localhost:5000/kept:other"] {
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
