//! The real program: signals, exit codes, and how much memory a large message takes.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gatepost_testkit::{ByteClient, ScriptedUpstream};
use tempfile::TempDir;

use crate::harness::{ENVELOPE, POLICY, Settings, config_text, converse};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway in a process of its own.
pub(crate) struct Program {
    child: Child,
    pub(crate) directory: Arc<TempDir>,
    pub(crate) addr: SocketAddr,
    stderr: Receiver<String>,
}

impl Program {
    pub(crate) fn start(upstream: SocketAddr, settings: &Settings) -> Self {
        Self::with_config(&config_text(upstream, settings), Stdio::null())
    }

    pub(crate) fn with_config(config: &str, stdout: Stdio) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("gatepost.toml"), config).expect("writes");
        std::fs::write(directory.path().join("policy.toml"), POLICY).expect("writes");
        Self::start_with(Arc::new(directory), stdout)
    }

    /// A gateway on what is in a directory, also on what another one has left there.
    pub(crate) fn start_in(directory: &Arc<TempDir>) -> Self {
        Self::start_with(Arc::clone(directory), Stdio::null())
    }

    /// The same, with a variable that leads to a file.
    pub(crate) fn start_with_variable(directory: &Arc<TempDir>, variable: (&str, &Path)) -> Self {
        Self::listening(
            Arc::clone(directory),
            run_with(directory.path(), Stdio::null(), &[variable]),
        )
    }

    fn start_with(directory: Arc<TempDir>, stdout: Stdio) -> Self {
        let child = run_with(directory.path(), stdout, &[]);
        Self::listening(directory, child)
    }

    fn listening(directory: Arc<TempDir>, mut child: Child) -> Self {
        let stderr = lines(child.stderr.take().expect("piped"));
        let addr = loop {
            let line = next_line(&stderr);
            if let Some((_, rest)) =
                line.split_once("listening").filter(|(_, rest)| rest.contains("smtp"))
            {
                break address(rest);
            }
        };
        Self { child, directory, addr, stderr }
    }

    /// Ends it as an administrator does, and waits until it is gone.
    pub(crate) fn end(mut self) {
        self.signal("TERM");
        assert_eq!(self.exit_code(), Some(0));
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent =
            Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for a line with these words, and returns it.
    pub(crate) fn wait_for_line(&mut self, words: &str) -> String {
        loop {
            let line = next_line(&self.stderr);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// All lines that have come and were not read.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.stderr.try_iter().collect()
    }

    /// How many lines with these words have come and were not read.
    pub(crate) fn count_lines(&self, words: &str) -> usize {
        self.stderr.try_iter().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < patience, "the program does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many file descriptors it has.
    pub(crate) fn descriptors(&self) -> u64 {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("proc");
        open.count() as u64
    }

    /// Lets it have so many file descriptors; those above stay open.
    pub(crate) fn limit_descriptors(&self, soft: u64) {
        let pid = self.child.id().try_into().expect("a process id");
        let resource = rlimit::Resource::NOFILE;
        let (mut now, mut hard) = (0, 0);
        rlimit::prlimit(pid, resource, None, Some((&mut now, &mut hard))).expect("our child");
        rlimit::prlimit(pid, resource, Some((soft, hard)), None).expect("our child");
    }

    /// The processor time it has taken.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("proc");
        // Behind the name, which is in brackets: user and system time, in hundredths of a second.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let ticks = fields.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().expect("ticks"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// The most memory it has ever held, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(directory: &Path) -> Child {
    run_with(directory, Stdio::null(), &[])
}

fn run_with(directory: &Path, stdout: Stdio, variables: &[(&str, &Path)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["run", "--config"])
        .arg(directory.join("gatepost.toml"))
        .env_remove("RUST_LOG")
        .envs(variables.iter().copied())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// What is said on standard error. It is read as it comes: a pipe that is full would stop the program.
fn lines(stderr: ChildStderr) -> Receiver<String> {
    let (told, lines) = channel();
    std::thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        while stderr.read_line(&mut line).is_ok_and(|octets| octets > 0) {
            if told.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    lines
}

fn next_line(stderr: &Receiver<String>) -> String {
    stderr.recv_timeout(PATIENCE).expect("the program goes on, and says something")
}

fn address(line: &str) -> SocketAddr {
    let word = line.split(['=', ' ']).find_map(|word| word.trim().parse().ok());
    word.unwrap_or_else(|| panic!("no address in {line:?}"))
}

#[tokio::test]
async fn a_signal_drains_and_ends_it_well() {
    let upstream = ScriptedUpstream::start();
    let mut program = Program::start(upstream.addr(), &Settings::default());
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("220").await;
    program.signal("TERM");
    client.expect("421 4.3.2").await;
    client.expect_closed().await;
    assert_eq!(program.exit_code(), Some(0));
    upstream.stop().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let upstream = ScriptedUpstream::start();
    let mut program = Program::start(upstream.addr(), &Settings::default());
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("220").await;
    client.send_line("EHLO app.test").await;
    client.expect("250").await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    program.signal("TERM");
    program.wait_for_line("draining");
    assert!(program.child.try_wait().expect("a child").is_none(), "it waits for the transaction");
    program.signal("TERM");
    program.exit_code();
    upstream.stop().await;
}

/// A mail log on a pipe that nobody reads costs lines of the log, not mail, and not the end.
#[tokio::test]
async fn a_full_pipe_does_not_keep_it_from_ending() {
    const PIPE_OCTETS: usize = 64 * 1024;
    const EVENT_OCTETS_MIN: usize = 250;
    let upstream = ScriptedUpstream::start();
    let config = config_text(upstream.addr(), &Settings::default())
        .replace("mail = \"mail.jsonl\"", "mail = \"stdout\"");
    let mut program = Program::with_config(&config, Stdio::piped());
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("220").await;
    client.send_line("EHLO app.test").await;
    client.expect("250").await;
    for _ in 0..PIPE_OCTETS / EVENT_OCTETS_MIN {
        let reply = crate::harness::send_message(&mut client, b"\r\n").await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    client.close();
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0));
    upstream.stop().await;
}

#[tokio::test]
async fn a_hangup_reloads_the_policy() {
    let upstream = ScriptedUpstream::start();
    let mut program = Program::start(upstream.addr(), &Settings::default());
    let policy = program.directory.path().join("policy.toml");
    std::fs::write(&policy, POLICY.replace("\"127.0.0.1\", ", "\"127.0.0.8\", ")).expect("writes");
    program.signal("HUP");
    program.wait_for_line("policy reloaded");
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("554 5.7.1").await;
    let mut client = ByteClient::connect_from([127, 0, 0, 8].into(), program.addr).await;
    client.expect("220").await;
    std::fs::write(&policy, "nonsense").expect("writes");
    program.signal("HUP");
    program.wait_for_line("policy not reloaded");
    let mut client = ByteClient::connect_from([127, 0, 0, 8].into(), program.addr).await;
    client.expect("220").await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_hangup_names_what_needs_a_restart() {
    let upstream = ScriptedUpstream::start();
    let mut program = Program::start(upstream.addr(), &Settings::default());
    let path = program.directory.path().join("gatepost.toml");
    let config = std::fs::read_to_string(&path).expect("readable");
    let changed = config.replace("hostname = \"relay.test\"", "hostname = \"other.test\"")
        + "[limits]\nmax_recipients = 5\n";
    std::fs::write(&path, changed).expect("writes");
    program.signal("HUP");
    let told = program.wait_for_line("needs restart");
    assert!(told.ends_with("needs restart: hostname, limits.max_recipients\n"), "{told}");
    program.wait_for_line("policy reloaded");
    std::fs::write(&path, config.replace("[policy]", "[polity]")).expect("writes");
    program.signal("HUP");
    program.wait_for_line("the configuration on disk would not start a gateway");
    program.wait_for_line("policy reloaded");
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("220 relay.test").await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_state_directory_has_one_gateway() {
    let upstream = ScriptedUpstream::start();
    let program = Program::start(upstream.addr(), &Settings::default());
    let mut second = run(program.directory.path());
    let mut told = String::new();
    second.stderr.take().expect("piped").read_to_string(&mut told).expect("readable");
    assert_eq!(second.wait().expect("a child").code(), Some(75), "{told}");
    assert!(told.contains("in use by another gateway"), "{told}");
    upstream.stop().await;
}

const LINE: &[u8] =
    b"0123456789012345678901234567890123456789012345678901234567890123456789012345678\r\n";
/// What a message may add to the memory of the process: buffers of both sides and of the kernel's
/// accounting, with room for the allocator.
const GROWTH_MAX_KIB: u64 = 4 * 1024;

/// Sends a message of many lines; returns by how many KiB the process has grown.
async fn send_large(upstream: &ScriptedUpstream, octets: usize) -> u64 {
    let tables = "[limits]\nmax_message_size = \"300 MiB\"\n".to_owned();
    let program = Program::start(upstream.addr(), &Settings { tables, ..Settings::default() });
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO app.test", "250")]).await;
    converse(&mut client, &ENVELOPE).await;
    let before = program.peak_memory_kib();
    let piece = LINE.repeat(10_000);
    let mut sent = 0;
    while sent < octets {
        client.send(&piece).await;
        sent += piece.len();
    }
    client.send_line(".").await;
    let message = &upstream.wait_for_messages(1).await[0];
    client.expect("250").await;
    assert!(message.content.octets as usize > sent, "all of it, and a Received line");
    program.peak_memory_kib() - before
}

/// 200 MB pass through a process that never holds a hundredth of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_takes_no_memory() {
    let upstream =
        ScriptedUpstream::builder().digest_only().extensions(&["PIPELINING", "8BITMIME"]).start();
    let grown = send_large(&upstream, 200_000_000).await;
    assert!(grown < GROWTH_MAX_KIB, "the gateway grew by {grown} KiB");
    upstream.stop().await;
}

/// A client that is faster than the upstream has to wait for it; nothing is piled up in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upstream_slows_the_client() {
    let upstream = ScriptedUpstream::builder()
        .digest_only()
        .throttle(64 * 1024, Duration::from_millis(1))
        .start();
    let grown = send_large(&upstream, 10_000_000).await;
    assert!(grown < GROWTH_MAX_KIB, "the gateway grew by {grown} KiB");
    upstream.stop().await;
}
