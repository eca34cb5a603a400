//! What is printed of rows and their budgets.

use gatepost_benches::instructions::{
    budgets::{Budgets, Surroundings, Verdict},
    callgrind::Counted,
};

/// How the budgets are made those of now.
const UPDATE: &str = "cargo bench -p gatepost-benches --bench instructions -- --update";

/// A line for each row; returns how many must not be merged like this.
pub(crate) fn print(rows: &[Counted], budgets: &Budgets, percent: u64) -> usize {
    println!(
        "{:<36} {:>12} {:>9} {:>12} {:>8}",
        "row", "instructions", "an octet", "budget", "change"
    );
    let mut verdicts = Vec::new();
    for row in rows {
        let verdict = budgets.judge(row, percent);
        let octet =
            row.octets.map(|octets| format!("{:.3}", ratio(row.instructions, octets as u64)));
        let budget = budgets.instructions.get(&row.name);
        let change = budget.map(|&budget| {
            format!("{:+.2} %", ratio(row.instructions, budget).mul_add(100.0, -100.0))
        });
        println!(
            "{:<36} {:>12} {:>9} {:>12} {:>8}  {}",
            row.name,
            row.instructions,
            octet.unwrap_or_default(),
            budget.map(u64::to_string).unwrap_or_default(),
            change.unwrap_or_default(),
            verdict.name(),
        );
        verdicts.push(verdict);
    }
    let count = |wanted: Verdict| verdicts.iter().filter(|&&verdict| verdict == wanted).count();
    println!("{} rows, each may take {percent} % more than its budget", rows.len());
    if count(Verdict::FarBelow) > 0 {
        println!(
            "{} far below: lower their budgets, or what was won can be lost unseen: {UPDATE}",
            count(Verdict::FarBelow)
        );
    }
    verdicts.iter().filter(|verdict| verdict.fails()).count()
}

/// What to do where rows fail.
pub(crate) fn mend(failed: usize) -> String {
    format!(
        "{failed} rows are not as they were. Find out why (callgrind_annotate, see above); if it is worth it, \
         say so in the change, with the new budgets: {UPDATE}"
    )
}

/// What to do where the numbers are of another compiler or processor.
pub(crate) fn elsewhere(budgets: &Budgets, here: &Surroundings) -> String {
    let Surroundings { rustc, processor } = &budgets.counted_with;
    format!(
        "the budgets are of rustc {rustc} on {processor}, and this is rustc {} on {}: rows may differ by \
         {} % rather than {} %. If this compiler is to stay, update the budgets in a change of their own: {UPDATE}",
        here.rustc, here.processor, budgets.tolerance.other, budgets.tolerance.same,
    )
}

#[allow(clippy::cast_precision_loss)] // three digits are shown
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
