//! The table: medians over the turns, and ratios within each turn with their spread.

use std::collections::BTreeMap;
use std::fmt;

use crate::candidate::Candidate;
use crate::load::Figures;

/// What all turns of one app have shown.
pub(crate) struct Report {
    app: String,
    users: usize,
    turns: BTreeMap<Candidate, Vec<Figures>>,
}

impl Report {
    /// A report without figures yet.
    pub(crate) fn new(app: &str, users: usize) -> Self {
        Self { app: app.to_owned(), users, turns: BTreeMap::new() }
    }

    /// Adds a turn of a server.
    pub(crate) fn add(&mut self, candidate: Candidate, figures: Figures) {
        self.turns.entry(candidate).or_default().push(figures);
    }

    fn median(&self, candidate: Candidate, figure: impl Fn(&Figures) -> f64) -> f64 {
        let turns = self.turns.get(&candidate).map_or(&[][..], Vec::as_slice);
        sorted(turns.iter().map(figure)).get(turns.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Streamfleet's figure over another's, turn by turn: median, least and greatest.
    fn ratio(&self, other: Candidate, figure: impl Fn(&Figures) -> f64) -> String {
        let (Some(ours), Some(theirs)) = (self.turns.get(&Candidate::Streamfleet), self.turns.get(&other)) else {
            return "-".to_owned();
        };
        let ratios = sorted(ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)));
        match (ratios.first(), ratios.get(ratios.len() / 2), ratios.last()) {
            (Some(least), Some(median), Some(greatest)) => format!("{median:.2} ({least:.2}–{greatest:.2})"),
            _ => "-".to_owned(),
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let click = |figures: &Figures| figures.click.as_secs_f64() * 1e3;
        let rate = |figures: &Figures| figures.runs_per_second;
        let cpu = |figures: &Figures| figures.cpu_per_run.as_secs_f64() * 1e3;
        writeln!(f, "\n### {}\n", self.app)?;
        writeln!(f, "| | median click, 1 user (ms) | runs/s, {} users | server CPU a run (ms) |", self.users)?;
        writeln!(f, "|---|---|---|---|")?;
        for candidate in Candidate::ALL {
            writeln!(
                f,
                "| {candidate} | {:.2} | {:.0} | {:.2} |",
                self.median(candidate, click),
                self.median(candidate, rate),
                self.median(candidate, cpu),
            )?;
        }
        for other in [Candidate::Default, Candidate::Tuned] {
            writeln!(
                f,
                "| Streamfleet ÷ {other} | {} | {} | {} |",
                self.ratio(other, click),
                self.ratio(other, rate),
                self.ratio(other, cpu),
            )?;
        }
        Ok(())
    }
}
