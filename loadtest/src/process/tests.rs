//! Programs that are started, measured and ended. Making a control group needs root: without it,
//! what is tested is that this is said.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time;

use super::*;

/// What is waited for comes within milliseconds; the machine may do other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A shell that starts another one, which ends, and then waits for ever.
const BUSY: &str =
    "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; echo done; sleep 1000 & sleep 1000";

fn shell(folder: &Path, script: &str) -> Program {
    Program {
        name: "shell".to_owned(),
        path: "sh".into(),
        arguments: vec!["-c".into(), script.into()],
        folder: folder.to_owned(),
        cpus: allowed_cpus().into_iter().take(1).collect(),
    }
}

/// Starts it, or checks that the refusal says why.
fn start(folder: &Path, script: &str) -> Option<Measured> {
    match Measured::start(&shell(folder, script)) {
        Ok(measured) => Some(measured),
        Err(error) => {
            let text = format!("{error:#}");
            assert!(text.contains("root") || text.contains("no control groups"), "{text}");
            None
        }
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come");
        time::sleep(LOOK_AGAIN).await;
    }
}

fn exists(pid: u32) -> bool {
    // What is killed and not collected by its new parent is a zombie, and gone for our purpose.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn children_that_have_ended_are_counted_and_those_that_live_are_ended() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut measured) = start(folder.path(), BUSY) else { return };
    until(|| measured.running.log_tail() == "done").await;
    let used = measured.usage().unwrap();
    // What the shell used before its child is a fraction of this.
    assert!(used.cpu > Duration::from_millis(10), "{used:?}");
    assert!(used.memory > 0 && used.descriptors >= 3, "{used:?}");
    assert!(measured.running.alive());
    let entrance = measured.group.as_ref().unwrap().entrance();
    let members = fs::read_to_string(&entrance).unwrap();
    let members: Vec<u32> = members.lines().map(|line| line.parse().unwrap()).collect();
    assert!(members.len() >= 2, "{members:?}");
    measured.stop().await.unwrap();
    assert!(!entrance.exists(), "the group is removed");
    assert!(members.into_iter().all(|pid| !exists(pid)));
}

#[tokio::test]
async fn what_is_dropped_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let Some(measured) = start(folder.path(), "trap '' TERM; echo ready; sleep 1000 & wait") else {
        return;
    };
    until(|| measured.running.log_tail() == "ready").await;
    let (entrance, pid) =
        (measured.group.as_ref().unwrap().entrance(), measured.running.pid().unwrap());
    drop(measured);
    assert!(!entrance.exists());
    assert!(!exists(pid));
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_told_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut measured) = start(folder.path(), "echo no such option >&2; exit 3") else {
        return;
    };
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let error = measured.running.ready(address, Opening::Greeting, PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "shell has ended: no such option");
}

#[tokio::test]
async fn one_process_needs_no_control_group() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = Running::start(&shell(folder.path(), script)).unwrap();
    until(|| running.log_tail() == "ready").await;
    let used = running.usage().unwrap();
    assert!(running.alive() && used.memory > 0 && used.descriptors >= 3, "{used:?}");
    running.stop().await.unwrap();
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let running = Running::start(&shell(folder.path(), script)).unwrap();
    until(|| running.log_tail() == "ready").await;
    let error = running.stop().await.unwrap_err().to_string();
    assert!(error.starts_with("shell ended after SIGTERM with exit status: 7: ready"), "{error}");
}
