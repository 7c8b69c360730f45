//! The comparison as a page: tables, and the pictures that it shows.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use streamfleet_testkit::process::python;

use crate::app::App;
use crate::candidate::Candidate;
use crate::compare::{Findings, Server};
use crate::growth::{Load, Step};
use crate::load::{Times, as_f64, millis};
use crate::matrix::{CROWDS, Figures, Row};
use crate::plot::{self, Line};
use crate::profile::Profile;
use crate::usage::{in_units, processors};

/// How `growth` has users click: where their clicks are steady, and where they grow.
const CLICKS_OF_SESSIONS: [&str; 2] = ["20 clicks/s in all", "each clicks once a second"];
const CLICKS_OF_RUNNERS: [&str; 2] = ["100 clicks/s in all", "40 clicks/s for each"];

const PROFILE_BEGINS: &str = "<!-- The profile: written by the benchmark. -->";
const PROFILE_ENDS: &str = "<!-- The end of the profile. -->";
const IMAGES: &str = "images/benchmark";

/// Writes the page and its pictures into the folder of the documentation, and the profile into the page on performance.
pub(crate) fn write(docs: &Path, findings: &Findings) -> Result<()> {
    fs::create_dir_all(docs.join(IMAGES))?;
    pictures(docs, findings)?;
    let page = docs.join("benchmark.md");
    fs::write(&page, text(findings)).with_context(|| format!("writing {}", page.display()))?;
    let page = docs.join("performance.md");
    let before = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let after = with_profile(&before, &findings.profile)
        .with_context(|| format!("{} has no place for the profile", page.display()))?;
    fs::write(&page, after).with_context(|| format!("writing {}", page.display()))
}

/// The ratios of one app, for a terminal.
pub(crate) fn brief(row: &Row) -> String {
    let mut text = format!("{}: load generator {:.0} % of a core\n", row.app.title(), row.generator * 100.0);
    for other in Candidate::OTHERS {
        let [click, rate, cost] = [
            row.ratio(other, |figures| &figures.clicks),
            row.ratio(other, |figures| &figures.rates),
            row.ratio(other, |figures| &figures.costs),
        ];
        let _ = writeln!(text, "  ÷ {other}: click {click:.3}, runs/s {rate}, CPU a run {cost:.3}");
    }
    text
}

fn pictures(docs: &Path, findings: &Findings) -> Result<()> {
    let picture = |name: &str| -> PathBuf { docs.join(IMAGES).join(name).with_extension("svg") };
    let names: Vec<_> = Candidate::ALL.iter().map(ToString::to_string).collect();
    let groups = |figure: fn(&Figures) -> f64| -> Vec<(String, Vec<f64>)> {
        let of_row = |row: &Row| Candidate::ALL.iter().filter_map(|other| row.figures.get(other)).map(figure).collect();
        findings.rows.iter().map(|row| (row.app.to_string(), of_row(row))).collect()
    };
    plot::bars(&picture("rates"), "Runs a second at saturation", "runs/s", &names, &groups(|f| median(&f.rates)))?;
    plot::bars(&picture("clicks"), "Median click of one user", "ms", &names, &groups(|f| median(&f.clicks)))?;
    if let Some(row) = findings.rows.iter().find(|row| row.app == App::Counter) {
        let lines: Vec<_> =
            row.figures.iter().rev().map(|(candidate, figures)| by_users(*candidate, figures)).collect();
        plot::lines(&picture("users"), "Counter app: p95 of clicks", "users", "ms", &lines)?;
    }
    let sessions = growth(&findings.sessions, CLICKS_OF_SESSIONS);
    plot::lines(&picture("sessions"), "More sessions on one worker", "sessions", "ms", &sessions)?;
    let runners = growth(&findings.runners, CLICKS_OF_RUNNERS);
    plot::lines(&picture("runners"), "More runners behind one gateway", "runners", "ms", &runners)
}

/// Lines of what grows, where clicks are steady and where they grow, too.
fn growth(steps: &[Step], [steady, growing]: [&str; 2]) -> Vec<Line> {
    let line = |name: &str, of: fn(&Step) -> &Load, (title, quantile): (&str, f64)| Line {
        name: format!("{title}, {name}"),
        points: steps.iter().map(|step| (as_f64(step.size), millis(&of(step).times, quantile))).collect(),
    };
    let (middle, high) = (("p50", 0.5), ("p95", 0.95));
    vec![
        line(steady, |step| &step.steady, middle),
        line(steady, |step| &step.steady, high),
        line(growing, |step| &step.growing, middle),
        line(growing, |step| &step.growing, high),
    ]
}

fn by_users(candidate: Candidate, figures: &Figures) -> Line {
    let counts = [1].into_iter().chain(CROWDS);
    let points = counts.filter_map(|count| Some((as_f64(count), millis(figures.of_users(count)?, 0.95))));
    Line { name: candidate.to_string(), points: points.collect() }
}

fn median(values: &[f64]) -> f64 {
    crate::spread::Spread::of(values.to_vec()).median
}

fn text(findings: &Findings) -> String {
    let mut page = String::from(
        "# Benchmark\n\n\
         *This page is written by the benchmark: [performance.md](performance.md) says how to run it, what it measures and how.*\n\n",
    );
    // A string takes whatever is written to it.
    let _ = writeln!(page, "{}\n", machine());
    let turns = findings.rows.iter().flat_map(|row| row.figures.values()).map(|figures| figures.rates.len()).max();
    let _ = writeln!(
        page,
        "Candidates: `streamlit run` as it comes (*plain*); with `runner.postScriptGC=false` and without a file watcher (*tuned*); two of\n\
         those behind nginx; `streamfleet run`, also without a watcher. Ratios are taken within a turn, {} turns in all; beside the median\n\
         stand the least and the greatest. Every answer was checked. The load generator used {:.0} % of one core at most: it is not what limits.\n",
        turns.unwrap_or_default(),
        findings.rows.iter().map(|row| row.generator).fold(0.0, f64::max) * 100.0,
    );
    ratios(&mut page, findings);
    figures(&mut page, findings);
    waits(&mut page, findings);
    others(&mut page, findings);
    page
}

/// What was measured on what.
fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map_or("?", |found| found.1);
    let cores = processors();
    let versions =
        "import platform, streamlit; print('Python', platform.python_version() + ', Streamlit', streamlit.__version__)";
    let versions = Command::new(python()).args(["-c", versions]).output();
    let versions = versions.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    format!("{cores} shared cores ({}), {versions}. Servers and load generator share the cores.", model.trim())
}

/// Which of the figures.
type Pick = fn(&Figures) -> &Vec<f64>;

fn ratios(page: &mut String, findings: &Findings) {
    let _ = writeln!(page, "## Streamfleet against the others\n");
    let _ = writeln!(page, "![Runs a second]({IMAGES}/rates.svg)\n\n![Median click]({IMAGES}/clicks.svg)\n");
    let kinds: [(&str, Pick); 3] = [
        ("Median click, one user", |f| &f.clicks),
        ("Runs a second", |f| &f.rates),
        ("Processor time of a run", |f| &f.costs),
    ];
    for (name, figure) in kinds {
        let _ = writeln!(page, "| {name} | ÷ plain | ÷ tuned | ÷ 2 × tuned, nginx |\n|---|---|---|---|");
        for row in &findings.rows {
            let ratios = Candidate::OTHERS.map(|other| row.ratio(other, figure).to_string());
            let _ = writeln!(page, "| {} | {} |", row.app.title(), ratios.join(" | "));
        }
        page.push('\n');
    }
}

fn figures(page: &mut String, findings: &Findings) {
    let _ = writeln!(page, "## The figures\n");
    let _ = writeln!(page, "Medians of the turns.\n");
    let _ = writeln!(
        page,
        "| | | median click (ms) | runs/s, {} users | CPU a run (ms) |\n|---|---|---|---|---|",
        findings.saturating
    );
    for row in &findings.rows {
        for (candidate, figures) in &row.figures {
            let _ = writeln!(
                page,
                "| {} | {candidate} | {:.2} | {:.1} | {:.2} |",
                row.app,
                median(&figures.clicks),
                median(&figures.rates),
                median(&figures.costs),
            );
        }
    }
    page.push('\n');
}

fn waits(page: &mut String, findings: &Findings) {
    let _ = writeln!(page, "## How long users wait as there are more of them\n\n![p95 by users]({IMAGES}/users.svg)\n");
    let _ = writeln!(
        page,
        "p50 / p95 / p99 in milliseconds. One user clicks with pauses of 20 ms. More of them each mean to click once a second on average, at\n\
         random; a wait counts from when the click was meant. A dash: so many clicks are more than nine tenths of what the server can answer.\n\
         A dot: too few clicks to tell (20 for p95, 100 for p99).\n"
    );
    let _ = writeln!(page, "| | | 1 user | 10 | 50 | 200 |\n|---|---|---|---|---|---|");
    for row in &findings.rows {
        for (candidate, figures) in &row.figures {
            let cells = [1, CROWDS[0], CROWDS[1], CROWDS[2]]
                .map(|count| figures.of_users(count).map_or("–".to_owned(), quantiles));
            let _ = writeln!(page, "| {} | {candidate} | {} |", row.app, cells.join(" | "));
        }
    }
    page.push('\n');
}

/// Each quantile that there are clicks enough for.
fn quantiles(times: &Times) -> String {
    [(0.5, 2), (0.95, 20), (0.99, 100)]
        .map(
            |(quantile, least)| {
                if times.len() < least { "·".to_owned() } else { format!("{:.1}", millis(times, quantile)) }
            },
        )
        .join(" / ")
}

fn others(page: &mut String, findings: &Findings) {
    let _ = writeln!(page, "## Memory, starting, loading\n");
    let _ = writeln!(
        page,
        "| | server, one session | a session, opened | a session, used | from command to healthy | to the first dashboard |"
    );
    let _ = writeln!(page, "|---|---|---|---|---|---|");
    for Server { candidate, sizes, healthy, first_page } in &findings.servers {
        let _ = writeln!(
            page,
            "| {candidate} | {:.0} MiB | {:.0} KiB | {:.0} KiB | {healthy:.1} s | {first_page:.1} s |",
            in_units(sizes.with_one, 1 << 20),
            in_units(sizes.opened, 1 << 10),
            in_units(sizes.active, 1 << 10),
        );
    }
    let (memory, in_redis) = findings.sleeping;
    let _ = writeln!(
        page,
        "\nOf the counter app; memory shared between processes counts once. A session that sleeps, its browser still connected, takes\n\
         {:.0} KiB in all processes together and {:.1} KiB in Redis.\n",
        in_units(memory, 1 << 10),
        in_units(in_redis, 1 << 10)
    );
    let _ = writeln!(
        page,
        "| page load in Chromium, empty cache | requests | bytes | here (ms) | at 10 Mbit/s, 40 ms (ms) |\n|---|---|---|---|---|"
    );
    for load in &findings.pages {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {:.0} | {:.0} |",
            load.candidate, load.requests, load.bytes, load.here, load.far
        );
    }
    let _ = writeln!(page, "\n## Idle browsers\n\n{}.\n", findings.idle);
    let outages = &findings.outages;
    let _ = writeln!(
        page,
        "## When a runner is killed or replaced\n\n100 users who each mean to click twice a second, on two runners of two workers each; no click \
         was lost, no count was wrong, no\nconnection was closed.\n\n| | clicks | p50 | p99 | longest |\n|---|---|---|---|---|"
    );
    for (name, times) in [
        ("in peace", &outages.in_peace),
        ("a runner killed with -9", &outages.killed),
        ("a runner drained and ended", &outages.drained),
    ] {
        let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|quantile| millis(times, quantile));
        let _ = writeln!(page, "| {name} | {} | {p50:.1} ms | {p99:.0} ms | {longest:.0} ms |", times.len());
    }
    let _ =
        writeln!(page, "\nThe drained runner had ended {:.1} s after it was told to.\n", outages.drain.as_secs_f64());
    page.push_str(&growth_text(&findings.sessions, &findings.runners));
}

/// The section on growth.
pub(crate) fn growth_text(sessions: &[Step], runners: &[Step]) -> String {
    let mut page = String::new();
    let _ = writeln!(
        page,
        "## As work grows\n\nWhere the clicks of all together stay the same, what is seen is the cost of there being more sessions or \
         runners. Where there are more\nclicks, too, lines bend where what answers them is busy all the time: from there on clicks wait for \
         each other.\n\n![Sessions of a worker]({IMAGES}/sessions.svg)\n"
    );
    steps(&mut page, ["sessions of one worker", "worker busy"], CLICKS_OF_SESSIONS, sessions);
    let _ = writeln!(
        page,
        "A worker is one Python process, whose interpreter does one thing at a time: it can't be busier than one core. More workers, and \
         more\nrunners, are what moves the bend.\n\n![Runners of a cluster]({IMAGES}/runners.svg)\n"
    );
    steps(&mut page, ["runners", "processors busy"], CLICKS_OF_RUNNERS, runners);
    let _ = writeln!(
        page,
        "The workers of these runners are stand-ins that answer by heart. Runners, gateway, Redis and users share this machine's \
         processors,\nand lines bend where those are busy; on machines of their own they would not bend there."
    );
    page
}

fn steps(page: &mut String, [what, busy]: [&str; 2], [steady, growing]: [&str; 2], steps: &[Step]) {
    let _ = writeln!(
        page,
        "| {what} | {steady}: p50 / p95 / p99 (ms) | {busy} | {growing}: p50 / p95 / p99 (ms) | {busy} |"
    );
    let _ = writeln!(page, "|---|---|---|---|---|");
    let cells = |load: &Load| format!("{} | {:.0} %", quantiles(&load.times), load.busy * 100.0);
    for step in steps {
        let _ = writeln!(page, "| {} | {} | {} |", step.size, cells(&step.steady), cells(&step.growing));
    }
    page.push('\n');
}

/// The page with this profile between its marks; `None` if it has no marks.
fn with_profile(page: &str, profile: &Profile) -> Option<String> {
    let (before, rest) = page.split_once(PROFILE_BEGINS)?;
    let (_, after) = rest.split_once(PROFILE_ENDS)?;
    let whole = profile.whole;
    let mut table = format!("| mean click of one user, counter app | {} µs | |\n|---|---|---|\n", whole.as_micros());
    for (name, time) in &profile.parts {
        let share = time.div_duration_f64(whole.max(Duration::from_micros(1))) * 100.0;
        let _ = writeln!(table, "| {name} | {} µs | {share:.0} % |", time.as_micros());
    }
    let machinery = profile.machinery.as_micros();
    let _ = writeln!(
        table,
        "\nThrough a gateway, a runner and Redis on one machine, to a worker that answers by heart, a median click takes {machinery} µs there \
         and back."
    );
    Some(format!("{before}{PROFILE_BEGINS}\n{table}{PROFILE_ENDS}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_takes_its_place() {
        let parts = vec![("one", Duration::from_micros(250)), ("other", Duration::from_micros(750))];
        let profile = Profile { whole: Duration::from_millis(1), parts, machinery: Duration::from_micros(300) };
        let page = format!("before\n{PROFILE_BEGINS}\nold\n{PROFILE_ENDS}\nafter\n");
        let written = with_profile(&page, &profile).unwrap();
        assert!(written.starts_with("before\n") && written.ends_with("\nafter\n") && !written.contains("old"));
        assert!(written.contains("| one | 250 µs | 25 % |"), "{written}");
        assert_eq!(with_profile(&written, &profile).as_ref(), Some(&written));
        assert!(with_profile("nothing", &profile).is_none());
    }
}
