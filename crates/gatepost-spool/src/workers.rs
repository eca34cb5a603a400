//! Threads that do what must not be done in a task: flush files, ask SQLite.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::error::SpoolError;
use crate::status::Status;

type Task<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Some threads, each with something of its own. The queue in front of them has no limit of its own:
/// whoever asks waits for the answer, and clean-up after a body is one task for each body.
#[derive(Debug)]
pub(crate) struct Workers<S> {
    queue: Sender<Task<S>>,
    status: Arc<Status>,
}

impl<S: Send + 'static> Workers<S> {
    /// Starts one thread for each of `each`, which is its own. They end when this is dropped and all is done.
    pub(crate) fn start(
        name: &str,
        each: impl IntoIterator<Item = S>,
        status: Arc<Status>,
    ) -> io::Result<Self> {
        let (queue, tasks) = mpsc::channel();
        let tasks = Arc::new(Mutex::new(tasks));
        for state in each {
            let tasks = tasks.clone();
            thread::Builder::new().name(name.to_owned()).spawn(move || work(&tasks, state))?;
        }
        Ok(Self { queue, status })
    }

    /// Has something done, some time.
    pub(crate) fn send(&self, task: impl FnOnce(&mut S) + Send + 'static) {
        // Without threads there is nobody to clean up; the next opening does.
        let _ = self.queue.send(Box::new(task));
    }

    /// Has something done, and waits for what comes of it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, SpoolError> {
        let (answer, answered) = oneshot::channel();
        self.send(move |state| {
            // Nobody may be waiting any more.
            let _ = answer.send(task(state));
        });
        answered.await.map_err(|_| self.status.gone())
    }
}

fn work<S>(tasks: &Mutex<Receiver<Task<S>>>, mut state: S) {
    loop {
        // A panic cannot leave a receiver in the middle of something.
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match task {
            Ok(task) => task(&mut state),
            Err(_) => return,
        }
    }
}
