//! Many edits at once, and a gateway that is killed in the middle of them.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use gatepost_testkit::ScriptedUpstream;

use crate::place::Place;

/// Commands at the same time take turns, with a gateway and without: none is lost, none fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_at_the_same_time_are_all_made() {
    const EDITS: u64 = 10;
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    let add = |round: u64| {
        let (done, answers) = channel();
        for number in 0..EDITS {
            let (place, done) = (place.clone(), done.clone());
            std::thread::spawn(move || {
                let (id, network) =
                    (format!("e{round}-{number}"), format!("--network=10.{round}.0.{number}"));
                done.send(place.gatepost(&["entry", "add", &id, &network, "--sender=app.test"]))
            });
        }
        drop(done);
        for answer in answers {
            assert_eq!(answer.code, Some(0), "{answer:?}");
        }
    };
    let program = place.run();
    add(1);
    program.end();
    add(2);
    let revisions: Vec<_> = (1..=2 + 2 * EDITS).rev().collect();
    assert_eq!((place.revisions(), place.ids().len()), (revisions, 2 + 2 * EDITS as usize));
    upstream.stop().await;
}

/// A gateway that is killed in the middle of edits: each one that its command has reported is there
/// afterwards, and of the others all or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_outlive_a_gateway_that_is_killed() {
    const STORM: Duration = Duration::from_millis(800);
    const KILLS: usize = 2;
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    let mut reported: Vec<String> = Vec::new();
    for round in 0..KILLS {
        let program = place.run();
        let began = Instant::now();
        let storm: Vec<_> = (0..3)
            .map(|author| {
                let place = place.clone();
                std::thread::spawn(move || {
                    let mut made = Vec::new();
                    for number in 0_u64.. {
                        let id = format!("e{round}-{author}-{number}");
                        let network = format!("--network=10.{round}.{author}.{number}");
                        let answer =
                            place.gatepost(&["entry", "add", &id, &network, "--sender=app.test"]);
                        if answer.code == Some(0) {
                            made.push(id);
                        }
                        // Not answered, or made by the command itself: the gateway is gone.
                        if answer.code != Some(0) || !answer.stderr.is_empty() {
                            break;
                        }
                        assert!(began.elapsed() < 10 * STORM && number < 250, "it was not killed");
                    }
                    made
                })
            })
            .collect();
        std::thread::sleep(STORM);
        program.signal("KILL");
        let made = storm.into_iter().flat_map(|author| author.join().expect("no panic"));
        reported.extend(made);
    }
    assert!(reported.len() > 10, "{reported:?}");

    let program = place.run();
    let ids = place.ids();
    for id in &reported {
        assert!(ids.contains(id), "{id} was reported, and is gone");
    }
    let revisions = place.revisions();
    assert_eq!(revisions, (1..=revisions.len() as u64).rev().collect::<Vec<_>>());
    assert_eq!(ids.len(), revisions.len(), "each revision is an entry, whole");
    program.greeted("220").await;
    place.done(&["entry", "add", "after", "--network=10.9.9.9", "--sender=app.test"]);
    program.end();
    upstream.stop().await;
}
