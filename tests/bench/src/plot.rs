//! Pictures of figures, as SVG that reads on light and dark pages.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (720, 400);
const COLORS: [RGBColor; 4] =
    [RGBColor(140, 140, 140), RGBColor(214, 137, 16), RGBColor(142, 68, 173), RGBColor(231, 76, 60)];
const INK: RGBColor = RGBColor(110, 110, 110);

/// A line with its name.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over an axis of sizes; time upwards, on a logarithmic scale.
pub(crate) fn lines(path: &Path, title: &str, across: &str, up: &str, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let range = logarithmic(points().map(|point| point.1));
    draw(path, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(title, ("sans-serif", 18).into_font().color(&INK))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right * 1.03, range.log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.25))
            .axis_style(INK)
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .x_desc(across)
            .y_desc(up)
            .x_label_formatter(&|value| tick(*value))
            .y_label_formatter(&|value| tick(*value))
            .draw()?;
        for (line, color) in lines.iter().zip(COLORS.iter().rev()) {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)))?
                .label(&line.name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
            chart.draw_series(line.points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 13).into_font().color(&INK))
            .draw()?;
        Ok(())
    })
}

/// Bars in groups, upwards on a logarithmic scale, with their values on top.
pub(crate) fn bars(path: &Path, title: &str, up: &str, names: &[String], groups: &[(String, Vec<f64>)]) -> Result<()> {
    let width = names.len() + 1;
    let range = logarithmic(groups.iter().flat_map(|(_, values)| values.iter().copied()));
    let bottom = range.start;
    #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
    let at = |group: usize, bar: usize| (group * width + bar) as f64;
    draw(path, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(title, ("sans-serif", 18).into_font().color(&INK))
            .margin(12)
            .x_label_area_size(30)
            .y_label_area_size(64)
            .build_cartesian_2d(-0.5..at(groups.len(), 0), range.log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.25))
            .axis_style(INK)
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .y_desc(up)
            .y_label_formatter(&|value| tick(*value))
            .draw()?;
        for (bar, (name, color)) in names.iter().zip(&COLORS).enumerate() {
            let rectangles = groups.iter().enumerate().map(|(group, (_, values))| {
                let height = values.get(bar).copied().unwrap_or(f64::NAN);
                Rectangle::new([(at(group, bar), bottom), (at(group, bar) + 0.9, height.max(bottom))], color.filled())
            });
            chart
                .draw_series(rectangles)?
                .label(name)
                .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled()));
        }
        let centered =
            |size: u32, vertical| ("sans-serif", size).into_font().color(&INK).pos(Pos::new(HPos::Center, vertical));
        for (group, (name, values)) in groups.iter().enumerate() {
            for (bar, &value) in values.iter().enumerate() {
                let text = if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") };
                chart.draw_series([Text::new(text, (at(group, bar) + 0.45, value), centered(11, VPos::Bottom))])?;
            }
            #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
            let middle = at(group, 0) + names.len() as f64 / 2.0;
            let place = chart.backend_coord(&(middle, bottom));
            root.draw(&Text::new(name.clone(), (place.0, place.1 + 8), centered(13, VPos::Top)))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 13).into_font().color(&INK))
            .draw()?;
        Ok(())
    })
}

/// What is written beside a tick of an axis: no more digits than there are.
fn tick(value: f64) -> String {
    format!("{}", (value * 1e3).round() / 1e3)
}

/// From the power of ten below all to the one above.
fn logarithmic(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, greatest) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(least, greatest), value| (least.min(value), greatest.max(value)));
    if greatest == 0.0 {
        return 1.0..10.0;
    }
    let power = |value: f64| 10_f64.powf(value);
    power((least * 0.9).log10().floor())..power((greatest * 1.1).log10().ceil())
}

type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type DrawError = Box<dyn std::error::Error + Send + Sync>;

fn draw(path: &Path, picture: impl FnOnce(&Root<'_>) -> Result<(), DrawError>) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let failed = |error: DrawError| anyhow!("drawing {}: {error}", path.display());
    picture(&root).map_err(failed)?;
    root.present().map_err(|error| failed(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_reach_around_their_values() {
        assert_eq!(logarithmic([3.0, 40.0].into_iter()), 1.0..100.0);
        assert_eq!(logarithmic([f64::NAN].into_iter()), 1.0..10.0);
    }

    #[test]
    fn pictures_have_their_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bars.svg");
        bars(&path, "Runs", "a second", &["one".into(), "other".into()], &[("app".into(), vec![12.0, 3.5])]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["Runs", "a second", "one", "other", "app", "12", "3.5"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        let line = Line { name: "p50".into(), points: vec![(1.0, 2.0), (500.0, 3.0)] };
        lines(&path, "Growth", "sessions", "ms", &[line]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("p50") && text.contains("\n500\n") && !text.contains("500.0"), "{text}");
    }
}
