//! One measurement as a process of its own, and the table of them all.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::stages::{Measured, Stage};
use crate::topic::Truth;
use crate::{Args, Outcome};

/// Starts this program again to make one measurement; checks the answer if there is one.
pub(crate) fn measure(stage: Stage, args: &Args, truth: &Truth) -> Outcome<Measured> {
    let sink = tempfile::Builder::new().prefix("windrow-bench-").tempdir_in(".")?;
    let mut child = child(stage, args, &sink.path().display().to_string())?;
    let output = child.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("measuring {} failed", stage.name()).into());
    }
    let measured: Measured = serde_json::from_slice(&output.stdout)?;
    if measured.records != args.records {
        return Err(format!("{}: {} records read, {} written", stage.name(), measured.records, args.records).into());
    }
    if stage == Stage::Whole {
        truth.check(sink.path())?;
    }
    Ok(measured)
}

/// This program again, to make one measurement.
pub(crate) fn child(stage: Stage, args: &Args, sink: &str) -> Outcome<Command> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--stage", &stage.name(), "--sink", sink, "--brokers", &args.brokers]);
    child.args(["--window", &args.window, "--lateness", &args.lateness, "--memory", &args.memory]);
    let shape = args.shape();
    for (name, value) in [
        ("--records", shape.records),
        ("--groups", shape.groups.into()),
        ("--partitions", shape.partitions.into()),
        ("--hours", shape.hours.into()),
    ] {
        child.args([name, &value.to_string()]);
    }
    let compression = clap::ValueEnum::to_possible_value(&shape.compression).ok_or("no such compression")?;
    let format = clap::ValueEnum::to_possible_value(&shape.format).ok_or("no such format")?;
    child.args(["--compression", compression.get_name(), "--format", format.get_name()]);
    child.args(["--threads", &args.threads.to_string()]);
    for (key, value) in &args.properties {
        child.arg("--property").arg(format!("{key}={value}"));
    }
    Ok(child)
}

/// One line for whoever computes with it.
pub(crate) fn print_json(stage: Stage, measured: &Measured) {
    println!("{}", serde_json::json!({ "stage": stage.name(), "measured": measured }));
}

/// All measurements.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<Stage, Vec<Measured>>);

/// The middle of several figures, and between which two they lie.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(figures.len() / 2), least: at(0), most: at(figures.len().saturating_sub(1)) }
    }

    fn show(&self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

impl Table {
    pub(crate) fn add(&mut self, stage: Stage, measured: Measured) {
        self.0.entry(stage).or_default().push(measured);
    }

    /// As a table in Markdown: medians, and between which figures they lie. Ratios are taken round by round.
    pub(crate) fn print(&self, args: &Args) {
        let shape = args.shape();
        println!(
            "\n{} records of {}, {} groups, {} partitions, {} hours, compression {}, {} threads, {} rounds\n",
            shape.records,
            clap::ValueEnum::to_possible_value(&shape.format).map(|v| v.get_name().to_owned()).unwrap_or_default(),
            shape.groups,
            shape.partitions,
            shape.hours,
            clap::ValueEnum::to_possible_value(&shape.compression).map(|v| v.get_name().to_owned()).unwrap_or_default(),
            args.threads,
            args.rounds
        );
        println!(
            "| | M records/s | of the bare rate | CPU-s/M | of it before the first record | first record after | peak MiB |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        let bare = self.0.get(&Stage::Bare);
        for (stage, all) in &self.0 {
            let of = |figure: fn(&Measured) -> f64| Spread::of(all.iter().map(figure));
            let rate = |m: &Measured| m.records as f64 / m.wall / 1e6;
            let ratios = bare.map(|bare| Spread::of(all.iter().zip(bare).map(|(one, bare)| rate(one) / rate(bare))));
            println!(
                "| {} | {} | {} | {} | {:.3} | {:.2} s | {:.0} |",
                stage.name(),
                of(|m| m.records as f64 / m.wall / 1e6).show(2),
                ratios.map_or_else(String::new, |ratios| ratios.show(2)),
                of(|m| m.cpu / m.records as f64 * 1e6).show(3),
                of(|m| m.start_cpu / m.records as f64 * 1e6).median,
                of(|m| m.start).median,
                of(|m| m.peak_mib).most,
            );
        }
    }
}
