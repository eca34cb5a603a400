//! A summary as people read it: a block of names and values, and a table of phases.

use std::fmt;

use super::{PhaseLatency, Summary, TroubleRow};

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = &self.messages;
        writeln!(f, "target      {}", self.target)?;
        self.write_load(f)?;
        writeln!(f, "connections {:>12}", self.connections)?;
        self.write_standing(f)?;
        writeln!(f, "messages    {:>12} asked for", messages.asked)?;
        writeln!(f, "            {:>12} accepted", messages.accepted)?;
        writeln!(f, "            {:>12} refused", messages.refused)?;
        writeln!(f, "            {:>12} failed", messages.failed)?;
        writeln!(f, "            {:>12} unfinished", messages.unfinished)?;
        writeln!(f, "time        {:>12.3} s", self.elapsed_seconds)?;
        writeln!(f, "rate        {:>12.1} messages/s", self.messages_per_second)?;
        writeln!(f, "            {:>12.2} MiB/s", self.mib_per_second)?;
        self.write_schedule(f)?;
        write_phases(f, &self.phases)?;
        write_rows(f, "refusals", &self.refusals)?;
        write_rows(f, "failures", &self.failures)?;
        if self.unlisted > 0 {
            writeln!(f, "unlisted    {:>12} refusals and failures of other kinds", self.unlisted)?;
        }
        Ok(())
    }
}

impl Summary {
    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, sizes, recipients, .. } = self;
        if self.messages.asked == 0 && self.idle.is_some() {
            return writeln!(f, "load        idle connections alone");
        }
        match &self.open_loop {
            None => write!(f, "load        closed loop, {sessions} sessions")?,
            Some(open) => write!(
                f,
                "load        open loop, {} messages/s, {} arrivals, {sessions} sessions",
                open.rate_per_second, open.arrivals
            )?,
        }
        let plural = if recipients == "1" { "" } else { "s" };
        writeln!(f, ", {sizes} octets to {recipients} recipient{plural}")
    }

    fn write_standing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tls) = &self.tls {
            writeln!(
                f,
                "TLS         {:>12} handshakes ({}), {} resumed",
                tls.handshakes, tls.mode, tls.resumed
            )?;
        }
        let Some(idle) = &self.idle else { return Ok(()) };
        writeln!(f, "idle        {:>12} asked for", idle.asked)?;
        writeln!(
            f,
            "            {:>12} opened in {:.3} s, {:.0}/s",
            idle.opened, idle.opening_seconds, idle.accepts_per_second
        )?;
        writeln!(f, "            {:>12} stood at the beginning", idle.at_beginning)?;
        writeln!(f, "            {:>12} stood at the end", idle.at_end)?;
        match &idle.example {
            Some(example) => writeln!(f, "             not opened: {example}"),
            None => Ok(()),
        }
    }

    fn write_schedule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(open) = &self.open_loop else { return Ok(()) };
        writeln!(
            f,
            "behind      {:>12.3} s behind schedule at the end, {:.3} s at worst",
            open.behind_seconds, open.behind_max_seconds
        )?;
        writeln!(f, "            {:>12} waited at the same moment, at most", open.backlog_max)?;
        writeln!(f, "            {:>12} not sent", open.not_sent)
    }
}

fn write_phases(f: &mut fmt::Formatter<'_>, phases: &[PhaseLatency]) -> fmt::Result {
    if phases.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "latency, ms {:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "count", "mean", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for phase in phases {
        write!(f, "  {:<9} {:>12}", phase.phase, phase.count)?;
        for microseconds in columns(phase) {
            write!(f, " {:>10.3}", microseconds / 1000.0)?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// The columns of a phase, in microseconds.
pub(super) fn columns(phase: &PhaseLatency) -> [f64; 6] {
    [phase.mean_us, phase.p50_us, phase.p90_us, phase.p99_us, phase.p99_9_us, phase.max_us]
}

fn write_rows(f: &mut fmt::Formatter<'_>, title: &str, rows: &[TroubleRow]) -> fmt::Result {
    let mut title = title;
    for TroubleRow { stage, cause, count, example } in rows {
        writeln!(f, "{title:<11} {count:>12} {stage:<8} {cause}: {example}")?;
        title = "";
    }
    Ok(())
}
