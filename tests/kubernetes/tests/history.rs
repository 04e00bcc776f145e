//! Twelve writers, and a daemon that is killed under them again and again.

use std::time::{Duration, Instant};

use kubernetes_tests::Cluster;
use kubernetes_tests::history::{Checked, History, Writers};
use kubernetes_tests::load::Dice;

#[test]
fn what_is_held_agrees_with_what_holds_it_whenever_the_daemon_is_killed() {
    let mut cluster = Cluster::start();
    Writers::prepare(&cluster);
    let (mut dice, mut history) = (Dice::roll(), History::default());
    for _ in 0..4 {
        let writers = Writers::start(&cluster.daemon, &history, &mut dice);
        // The moment of the crash is counted in writes and then drawn within what one takes.
        let enough = 100 + dice.below(300) as usize;
        testkit::wait_until("writes to be acknowledged", || match writers.acknowledged() {
            count if count >= enough => Ok(()),
            count => Err(count),
        });
        let instant = Instant::now() + Duration::from_micros(dice.below(3_000));
        while Instant::now() < instant {
            std::hint::spin_loop();
        }
        cluster.daemon.kill();
        writers.finish(&mut history);
        cluster.daemon.launch();
        cluster.wait_ready();
        let Checked = Checked::all(&cluster.daemon, &mut history);
    }
    assert!(history.len() > 200, "the writers wrote {} objects", history.len());
}
