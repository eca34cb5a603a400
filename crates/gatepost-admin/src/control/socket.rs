//! The file of the control socket: made private, and gone when nobody listens any more.
//!
//! Whoever binds it holds the lock of the `state_dir`, and holds it longer than the socket. That is
//! why nothing here asks whose file it is, and a stale one is never removed here.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use crate::server::Listen;

/// For its owner only. Connecting needs the right to write.
const MODE: u32 = 0o600;
/// Connections that wait to be accepted. A Unix socket refuses those for which there is no room,
/// and a script can start many commands at once.
const BACKLOG: i32 = 1024;

/// The control socket, bound. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    /// Dropped before the listener: who still finds the file does not find it deserted.
    _file: SocketFile,
    listener: UnixListener,
}

/// The file of a bound socket.
#[derive(Debug)]
struct SocketFile(PathBuf);

/// Where the control socket of a `state_dir` is.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// Makes the control socket in a `state_dir` whose lock is held. Must be called inside the runtime.
pub fn bind(state_dir: &Path) -> io::Result<ControlSocket> {
    let path = socket_path(state_dir);
    let named = |error: io::Error| {
        let message = format!("control socket {}: {error}", path.display());
        io::Error::new(error.kind(), message)
    };
    let address = address(&path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(named)?;
    socket.set_nonblocking(true).map_err(named)?;
    socket.bind(&address).map_err(named)?;
    let file = SocketFile(path.clone());
    // Nobody can connect before it listens: by then the mode is right, whatever the umask is.
    fs::set_permissions(&path, Permissions::from_mode(MODE)).map_err(named)?;
    socket.listen(BACKLOG).map_err(named)?;
    let listener = UnixListener::from_std(socket.into()).map_err(named)?;
    Ok(ControlSocket { _file: file, listener })
}

/// The address of a socket's file. The system keeps it in a field of about a hundred octets.
pub(super) fn address(path: &Path) -> io::Result<SockAddr> {
    SockAddr::unix(path).map_err(|error| {
        let (octets, path) = (path.as_os_str().as_bytes().len(), path.display());
        let message = format!(
            "control socket {path}: its path has {octets} octets, more than the system allows for a \
             socket; give the gateway a shorter state_dir"
        );
        io::Error::new(error.kind(), message)
    })
}

impl Listen for ControlSocket {
    const NAME: &'static str = "control socket";

    /// An edit may be a million entries, and whoever may connect may do worse than wait.
    const CONNECTION_TIMEOUT: Duration = Duration::from_mins(6);

    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "cannot remove {}", self.0.display());
        }
    }
}
