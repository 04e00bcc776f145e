//! Logs under load: many readers, slow readers, rotation under their eyes.

mod support;

use engine::container::{LogOptions, LogQuery};
use engine::{ContainerSpec, Engine};
use futures::StreamExt;
use support::{create, on_host, remove_all, shell, start, wait};
use testkit::process::{anonymous_memory, descriptors};

const FOLLOW: LogQuery =
    LogQuery { stdout: true, stderr: true, since: None, until: None, tail: None, follow: true };

/// A container whose log has files of `size` bytes, `files` of them.
fn logged(line: &str, size: u64, files: u32) -> ContainerSpec {
    let log = LogOptions { max_size: Some(size), max_files: Some(files), ..LogOptions::default() };
    ContainerSpec { log: Some(log), ..shell(line) }
}

async fn texts(engine: &Engine, id: &engine::ContainerId, query: LogQuery) -> Vec<String> {
    let lines = engine.container_logs(id, query).await.expect("read the log");
    lines
        .map(|line| String::from_utf8_lossy(&line.expect("a line").text).trim_end().to_owned())
        .collect()
        .await
}

#[test]
fn a_follower_that_falls_behind_rotations_misses_nothing() {
    on_host(|_, engine| async move {
        let id = create(&engine, logged("seq 1 20000", 16 << 10, 100)).await;
        engine.container_start(&id).await.expect("start");
        let mut lines = engine.container_logs(&id, FOLLOW).await.expect("follow");
        let first = lines.next().await.expect("a line").expect("readable");
        assert_eq!(&first.text[..], b"1\n");
        // Meanwhile the log is rotated many times.
        wait(&engine, &id).await;
        let rest: Vec<_> = lines.map(|line| line.expect("readable").text).collect().await;
        let numbers: Vec<u32> =
            rest.iter().map(|text| String::from_utf8_lossy(text).trim().parse().expect("a number")).collect();
        assert_eq!(numbers, (2..=20_000).collect::<Vec<_>>());
        let path = engine.container_inspect(&id).expect("inspect").files.log.clone().expect("a log");
        assert!(path.with_added_extension("2").exists(), "it was rotated");
        let tail = texts(&engine, &id, LogQuery { follow: false, tail: Some(5000), ..FOLLOW }).await;
        assert_eq!((tail.len(), tail[0].as_str()), (5000, "15001"));
        remove_all(&engine).await;
    });
}

#[test]
fn readers_hold_little_of_a_long_log_and_followers_share_a_watcher() {
    on_host(|_, engine| async move {
        let id =
            create(&engine, logged("yes 0123456789abcdef0123456789abcdef | head -c 9900000", 0, 1)).await;
        engine.container_start(&id).await.expect("start");
        wait(&engine, &id).await;
        let before = anonymous_memory("self");
        let mut readers = Vec::new();
        for tail in [None, None, Some(100_000), Some(200_000), None] {
            let query = LogQuery { tail, follow: tail.is_none(), ..FOLLOW };
            let mut lines = engine.container_logs(&id, query).await.expect("read");
            lines.next().await.expect("a line").expect("readable");
            readers.push(lines);
        }
        // Read as a whole it is 20 MiB and more for each.
        let grown = anonymous_memory("self").saturating_sub(before);
        assert!(grown < 24 << 20, "{} MiB for five readers", grown >> 20);
        assert_eq!(texts(&engine, &id, LogQuery { follow: false, ..FOLLOW }).await.len(), 9_900_000 / 33);
        drop(readers);
        remove_all(&engine).await;
    });
}

#[test]
fn a_log_that_is_read_right_after_the_start_has_the_first_words() {
    on_host(|_, engine| async move {
        let query = LogQuery { follow: false, ..FOLLOW };
        for (line, expected) in [("echo said", "said"), ("echo first; sleep 1000", "first")] {
            let id = create(&engine, logged(line, 0, 1)).await;
            engine.container_start(&id).await.expect("start");
            assert_eq!(texts(&engine, &id, query.clone()).await, [expected]);
        }
        remove_all(&engine).await;
    });
}

#[test]
fn many_follow_one_log() {
    on_host(|_, engine| async move {
        let spec = ContainerSpec { stdin_open: true, ..shell("while read line; do echo $line; done") };
        let id = start(&engine, spec).await;
        let mut followers = Vec::new();
        for _ in 0..200 {
            followers.push(engine.container_logs(&id, FOLLOW).await.expect("follow"));
        }
        let watchers =
            descriptors("self").iter().filter(|path| path.as_os_str() == "anon_inode:inotify").count();
        // Other tests of this program have theirs.
        assert!(watchers <= 3, "{watchers} watchers");
        let attached = engine.container_attach(&id, true).await.expect("attach");
        for word in ["one\n", "two\n"] {
            attached.input.write(word.into()).await.expect("write");
            for lines in &mut followers {
                assert_eq!(&lines.next().await.expect("a line").expect("readable").text[..], word.as_bytes());
            }
        }
        engine.container_kill(&id, None).await.expect("kill");
        for mut lines in followers {
            assert!(lines.next().await.is_none());
        }
        remove_all(&engine).await;
    });
}
