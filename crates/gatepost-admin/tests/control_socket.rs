//! The file of the control socket, and clients that behave badly.

mod world;

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    time::Duration,
};

use gatepost_admin::control::{Client, ControlError, bind, socket_path};
use tokio::{net::UnixStream, task::JoinSet, time::timeout};

use crate::world::{PATIENCE, World, policy};

/// Long enough to see that nothing happens.
const A_WHILE: Duration = Duration::from_millis(200);
/// Connections that are answered at once.
const CONNECTIONS_MAX: usize = 64;

async fn not_running(state_dir: &Path) {
    let error = Client::connect(state_dir).await.expect_err("nobody is there");
    assert!(matches!(&error, ControlError::NotRunning(path) if path.starts_with(state_dir)));
    assert!(error.to_string().starts_with("no gateway is running here: "), "{error}");
}

#[tokio::test]
async fn the_socket_is_private_and_goes_with_the_server() {
    let world = World::start(&policy(1));
    let metadata = fs::metadata(world.socket()).expect("exists");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let client = world.client().await;
    client.status().await.expect("answers");

    let directory = world.stop().await;
    assert_eq!(fs::read_dir(directory.path()).expect("exists").count(), 0);
    let error = client.status().await.expect_err("it has ended");
    assert!(matches!(error, ControlError::NotRunning(_)), "{error}");
    // And there is nothing in the way of the next one.
    drop(bind(directory.path()).expect("binds"));
    assert!(!socket_path(directory.path()).exists(), "unserved, and gone nevertheless");
}

#[tokio::test]
async fn without_a_gateway_the_client_knows_it() {
    let directory = tempfile::tempdir().expect("a directory");
    not_running(&directory.path().join("missing")).await;
    not_running(directory.path()).await;
    // A gateway that was killed leaves its socket behind; dropping a listener does not remove it.
    drop(UnixListener::bind(socket_path(directory.path())).expect("binds"));
    not_running(directory.path()).await;
    assert!(socket_path(directory.path()).exists());
    let error = bind(directory.path()).expect_err("whoever has the lock removes it, not this");
    assert!(error.to_string().contains("control.sock: "), "{error}");
    assert!(socket_path(directory.path()).exists(), "not ours to remove");
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_told_with_its_mend() {
    let directory = tempfile::tempdir().expect("a directory");
    let long = directory.path().join("d".repeat(120));
    fs::create_dir(&long).expect("a directory may be called so");
    let error = bind(&long).expect_err("too long").to_string();
    assert!(error.contains(&*socket_path(&long).to_string_lossy()), "{error}");
    assert!(error.ends_with("give the gateway a shorter state_dir"), "{error}");
    let error = Client::connect(&long).await.expect_err("too long");
    assert!(matches!(error, ControlError::Path(_)), "{error}");
    assert!(error.to_string().ends_with("give the gateway a shorter state_dir"), "{error}");
}

#[tokio::test]
async fn a_silent_client_delays_neither_others_nor_the_end() {
    let world = World::start(&policy(1));
    let _silent = UnixStream::connect(world.socket()).await.expect("connects");
    world.client().await.all_entries().await.expect("answers");
    world.stop().await;
}

#[tokio::test]
async fn connections_at_once_are_bounded_and_the_others_wait() {
    let world = World::start(&policy(1));
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(UnixStream::connect(world.socket()).await.expect("connects"));
    }
    let client = Client::connect(world.directory.path());
    tokio::pin!(client);
    assert!(timeout(A_WHILE, &mut client).await.is_err(), "no room");
    silent.pop();
    timeout(PATIENCE, client).await.expect("in time").expect("room again");
}

#[tokio::test]
async fn a_hundred_commands_at_once_are_all_answered() {
    let world = World::start(&policy(1));
    let client = world.client().await;
    let mut commands = JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        commands.spawn(async move { client.entry("e0").await.expect("answers").is_some() });
    }
    let answers = timeout(PATIENCE, commands.join_all()).await.expect("in time");
    assert!(answers.iter().all(|found| *found));
}
