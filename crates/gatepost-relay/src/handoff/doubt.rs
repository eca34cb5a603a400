//! A message in doubt: the upstream has all of it, has not answered, and the client waits no longer.
//!
//! The message is committed, leased, and the client is told that it is kept. A task stays with the
//! upstream and records what it says. Only if it says nothing, or this process ends, is the message
//! tried again, and may arrive twice: that is counted and logged.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use gatepost_delivery::Paths;
use gatepost_spool::{Attempt, Entrance, LeaseGuard, Outcome};

use super::Handoff;
use super::ending::{Ended, Fate};
use super::keep::{self, Committed};
use super::record::LateWord;
use crate::dsn::Fate as Told;
use crate::leg::{Ending, Refused};
use crate::mail_log::Origin;
use crate::outlet::Outlet;
use crate::relay::Relay;

/// The upstream's word, when it comes.
type Finishing = Pin<Box<dyn Future<Output = Ending> + Send>>;

/// Who waits for it.
struct Doubt {
    relay: Arc<Relay>,
    outlet: Arc<Outlet>,
    message: gatepost_spool::Message,
    /// Of the recipients, the first whom the upstream was given. All behind it were, too.
    first: usize,
    lease: LeaseGuard,
    /// When those are due who were owed to the spool before.
    due_at: SystemTime,
}

impl Handoff {
    /// The client is told that the message is kept, and a task stays with the upstream. If the spool
    /// does not take it, the client goes on waiting.
    pub(super) async fn leave(
        &mut self,
        finishing: Pin<Box<impl Future<Output = Ending> + Send + 'static>>,
        mut parts: Vec<Committed>,
        accepted: Paths,
        origin: &Origin<'_>,
    ) -> Ended {
        let relay = self.relay.clone();
        let Some(spool) = relay.spool.as_ref().filter(|_| self.has_room()) else {
            return self.settle(finishing.await, parts, accepted, origin).await;
        };
        let main = parts.iter().position(|part| part.is_main).map(|at| parts.swap_remove(at));
        let first = self.keep.main.recipients.len();
        let lease = if let Some(main) = main {
            match spool.doubt(main.id, keep::recipients(&accepted)).await {
                Ok(true) => {
                    self.keep.main.recipients.extend(&accepted);
                    Ok(main.lease)
                }
                Ok(false) | Err(_) => Err(Some(main)),
            }
        } else {
            self.keep.main.recipients.extend(&accepted);
            let context = (&*relay, spool);
            let main = &mut self.keep.main;
            let committed = main.commit(context, &self.message, origin, Entrance::InDoubt);
            committed.await.map_err(|_| {
                main.recipients.truncate(first);
                None
            })
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(main) => {
                parts.extend(main);
                return self.settle(finishing.await, parts, accepted, origin).await;
            }
        };
        self.let_go(spool, parts).await;
        let message = self.keep.main.message(&relay, &self.message, origin, Entrance::InDoubt);
        let due_at = self.due_at();
        let outlet = self.leg.outlet().clone();
        let doubt = Doubt { relay: relay.clone(), outlet, message, first, lease, due_at };
        relay.stay(doubt.wait(finishing));
        Ended { reply: self.queued(), fate: Fate::InDoubt, accepted }
    }
}

impl Doubt {
    async fn wait(self, finishing: Finishing) {
        let ending = finishing.await;
        let attempts = self.attempts(&ending);
        self.tell(&ending);
        let due_at = match &ending {
            Ending::Accepted(_) => self.due_at,
            // The upstream has just been asked.
            Ending::Refused(_) => SystemTime::now() + self.relay.first_retry(),
        };
        // A spool that has stopped is told of by the queue; the next start finds the message in doubt.
        if let Some(queue) = self.relay.queue() {
            let _ = queue.record(self.lease, attempts, due_at).await;
        }
    }

    /// What the upstream's word is to each recipient that it was given.
    fn attempts(&self, ending: &Ending) -> Vec<Attempt> {
        let envelope = &self.message.envelope;
        let given = self.message.recipients.iter().enumerate().skip(self.first);
        let attempt = |(place, recipient)| {
            let after = |fate| self.relay.bouncer.after(envelope, recipient, fate);
            let (outcome, reply) = match ending {
                Ending::Accepted(reply) => {
                    // Whom it would not tell of success it was not given.
                    let fate = Told::Delivered { upstream_tells: true };
                    (Outcome::Delivered(after(fate)), reply)
                }
                Ending::Refused(Refused { reply, .. }) if reply.is_transient() => {
                    (Outcome::Deferred, reply)
                }
                Ending::Refused(Refused { reply, .. }) => {
                    (Outcome::Failed(after(Told::Failed)), reply)
                }
            };
            Attempt { place: place as u32, outcome, reply: Some(reply.clone()) }
        };
        given.map(attempt).collect()
    }

    /// Counts it and writes it down.
    fn tell(&self, ending: &Ending) {
        let given = self.message.recipients.iter().skip(self.first);
        let recipients = given.map(|recipient| (&*recipient.path, &*recipient.dsn)).collect();
        let word = LateWord { message: &self.message, recipients, outlet: &self.outlet };
        word.tell(&self.relay.mail_log, ending);
    }
}
