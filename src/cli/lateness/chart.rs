//! The histogram as a picture that stands alone: no font, script or address from elsewhere, light or dark as the
//! reader's screen is.

use std::fmt::Write as _;

use super::show::{bin_name, shown_bins};
use super::study::Study;
use crate::cli::terminal::{grouped, short};
use crate::telemetry::behind::step;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 60.0;

/// The picture.
pub(super) fn svg(study: &Study) -> String {
    let all = study.all();
    let bins = shown_bins(&all.behind);
    let most = all.behind.bins.iter().copied().max().unwrap_or(0).max(1);
    let decades = (most as f64).log10().ceil().max(1.0);
    let (plot_width, plot_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let stride = plot_width / bins.len() as f64;
    // One record stands a little above the floor.
    let height = |count: u64| match count {
        0 => 0.0,
        count => ((count as f64).log10() + 0.15) / (decades + 0.15) * plot_height,
    };
    let title = format!("How late {} of topic {} come", plural(all.behind.count), escaped(&study.topic));
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">
<style>
:root {{ color-scheme: light dark; }}
svg {{ background: #ffffff; font: 12px system-ui, sans-serif; }}
text {{ fill: #1f2328; }} .soft {{ fill: #59636e; }} .grid {{ stroke: #d1d9e0; }} .bar {{ fill: #2f6f9f; }} .late {{ fill: #bc6c00; }} .mark {{ stroke: #a40e26; stroke-dasharray: 4 3; }}
@media (prefers-color-scheme: dark) {{
svg {{ background: #0d1117; }} text {{ fill: #e6edf3; }} .soft {{ fill: #9198a1; }} .grid {{ stroke: #30363d; }} .bar {{ fill: #58a6ff; }} .late {{ fill: #e3a13b; }} .mark {{ stroke: #ff7b72; }}
}}
</style>
<text x="{LEFT}" y="24" font-size="16">{title}</text>
<text x="{LEFT}" y="44" class="soft">behind the newest record of their own partition; both scales logarithmic</text>
"##
    );
    for decade in 0..=(decades as u32) {
        let count = 10u64.saturating_pow(decade);
        let y = HEIGHT - BOTTOM - height(count);
        let (right, text) = (WIDTH - RIGHT, y + 4.0);
        let _ = writeln!(out, r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#);
        let _ = writeln!(
            out,
            r#"<text class="soft" x="{:.1}" y="{text:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            grouped(count)
        );
    }
    let delay_bin = step(study.window.watermark_delay);
    for (place, bin) in bins.clone().enumerate() {
        let count = all.behind.bins[bin];
        let (x, tall) = (LEFT + place as f64 * stride, height(count));
        let class = if bin > delay_bin { "late" } else { "bar" };
        let _ = writeln!(
            out,
            r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="{:.1}" height="{tall:.1}"><title>{}: {}</title></rect>"#,
            x + 1.5,
            HEIGHT - BOTTOM - tall,
            (stride - 3.0).max(1.0),
            escaped(&bin_name(bin)),
            grouped(count)
        );
        let (x, y) = (x + stride / 2.0, HEIGHT - BOTTOM + 14.0);
        let _ = writeln!(
            out,
            r#"<text class="soft" x="{x:.1}" y="{y:.1}" text-anchor="end" transform="rotate(-35 {x:.1} {y:.1})">{}</text>"#,
            escaped(&bin_name(bin))
        );
    }
    if bins.contains(&delay_bin) {
        let x = LEFT + (delay_bin + 1) as f64 * stride;
        let bottom = HEIGHT - BOTTOM;
        let anchor = if x > WIDTH / 2.0 { "end" } else { "start" };
        let shift = if anchor == "end" { -6.0 } else { 6.0 };
        let _ = writeln!(out, r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{bottom}"/>"#, TOP - 10.0);
        let _ = writeln!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}">watermark_delay {}</text>"#,
            x + shift,
            TOP - 2.0,
            short(study.window.watermark_delay)
        );
    }
    out + "</svg>\n"
}

fn plural(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{} records", grouped(count)) }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
