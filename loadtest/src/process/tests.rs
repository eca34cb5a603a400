//! Programs that are started, measured and ended. Making a control group needs root: without it,
//! what is tested is that this is said.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use super::*;

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
    let deadline = Instant::now() + START_TIMEOUT;
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
    until(|| measured.log_tail() == "done").await;
    let used = measured.usage().unwrap();
    // What the shell used before its child is a fraction of this.
    assert!(used.cpu > Duration::from_millis(10), "{used:?}");
    assert!(used.memory > 0 && used.descriptors >= 3, "{used:?}");
    assert!(measured.alive());
    let entrance = measured.group.entrance();
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
    until(|| measured.log_tail() == "ready").await;
    let (entrance, pid) = (measured.group.entrance(), measured.child.id().unwrap());
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
    let error = measured.ready(address, Opening::Greeting).await.unwrap_err();
    assert_eq!(error.to_string(), "shell has ended: no such option");
}

#[tokio::test]
async fn only_a_greeting_is_a_greeting() {
    for (said, greets) in [("220 relay.test\r\n", true), ("421 busy\r\n", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                // A client that wants no greeting is gone before it is written.
                let _ = listener.accept().unwrap().0.write_all(said.as_bytes());
            }
        });
        assert_eq!(is_open(address, Opening::Greeting).await, greets);
        assert!(is_open(address, Opening::Handshake).await);
        server.join().unwrap();
        assert!(!is_open(address, Opening::Handshake).await, "nobody listens any more");
    }
}

#[test]
fn the_end_of_a_log_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    assert!(log_tail(&file).starts_with("no log: "));
    fs::write(&file, "").unwrap();
    assert_eq!(log_tail(&file), "it has printed nothing");
    fs::write(&file, "x".repeat(5000) + "\nlast\n").unwrap();
    let tail = log_tail(&file);
    assert!(tail.ends_with("x\nlast") && tail.len() < 1501, "{}", tail.len());
}
