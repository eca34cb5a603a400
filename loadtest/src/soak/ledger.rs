//! What was sent, what was accepted and what has arrived: the promise that a soak checks.

use super::SoakCounts;

/// The counts, and the differences that were told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    counts: SoakCounts,
    /// Messages that were accepted and have not arrived, and were told of: each is told once. Below
    /// zero if more have arrived.
    missing: i64,
}

impl Ledger {
    /// The counts so far.
    pub(super) fn counts(&self) -> SoakCounts {
        self.counts
    }

    /// Takes what a round has sent.
    pub(super) fn sent(&mut self, asked: u64, accepted: u64) {
        self.counts.asked += asked;
        self.counts.accepted += accepted;
    }

    /// What should have arrived, apart from what was told already.
    pub(super) fn expected(&self) -> u64 {
        self.counts.accepted.saturating_sub_signed(self.missing)
    }

    /// Takes what has arrived; the words for a difference that is new.
    pub(super) fn arrived(&mut self, arrived: u64) -> Option<String> {
        let expected = self.expected();
        self.counts.arrived = Some(arrived);
        self.missing = self.counts.accepted.wrapping_sub(arrived).cast_signed();
        let accepted = self.counts.accepted;
        (arrived != expected)
            .then(|| format!("{accepted} messages were accepted, {arrived} have arrived"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_once() {
        let mut ledger = Ledger::default();
        ledger.sent(100, 100);
        assert_eq!(ledger.arrived(100), None);
        ledger.sent(100, 99);
        assert_eq!((ledger.expected(), ledger.arrived(199)), (199, None), "a refusal is no loss");
        ledger.sent(100, 100);
        let told = ledger.arrived(297).unwrap();
        assert_eq!(told, "299 messages were accepted, 297 have arrived");
        ledger.sent(1, 1);
        assert_eq!((ledger.expected(), ledger.arrived(298)), (298, None), "it is known");
        ledger.sent(1, 1);
        assert!(ledger.arrived(298).is_some(), "this one is another");
        assert_eq!(ledger.counts(), SoakCounts { asked: 302, accepted: 301, arrived: Some(298) });
    }

    #[test]
    fn a_message_too_many_is_told_once() {
        let mut ledger = Ledger::default();
        ledger.sent(10, 10);
        assert!(ledger.arrived(11).is_some());
        ledger.sent(10, 10);
        assert_eq!((ledger.expected(), ledger.arrived(21)), (21, None));
    }
}
