//! Pictures: curves with bands, side by side in panels, as SVG.

use plotters::coord::ranged1d::ValueFormatter;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// Curves with bands in one or more panels that differ in how far they look.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Title above everything.
    pub title: String,
    /// Name of the horizontal axis.
    pub x: String,
    /// Name of the vertical axis.
    pub y: String,
    /// Whether the vertical axis is logarithmic; values below its lower end are drawn there.
    pub logarithmic: bool,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
    /// The curves.
    pub bands: Vec<Band>,
}

/// One panel.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Title of the panel.
    pub title: String,
    /// Where its horizontal axis ends; it begins at zero.
    pub last: f64,
}

/// A curve with a band.
#[derive(Clone, Debug)]
pub struct Band {
    /// Name in the legend.
    pub name: String,
    /// Number of its colour and line.
    pub style: usize,
    /// Places, and lower end, middle and upper end at each.
    pub points: Vec<(f64, [f64; 3])>,
}

/// Colours that people with colour vision deficiencies can tell apart: Okabe and Ito (2008), with grey for their yellow, which is
/// hard to see on white.
const COLOURS: [RGBColor; 8] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 0, 0),
    RGBColor(120, 120, 120),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

const FONT: &str = "sans-serif";
const PANEL: (u32, u32) = (620, 430);
const TITLE: u32 = 40;
const LEGEND_ROW: u32 = 26;
const MOST_LEGEND_COLUMNS: usize = 4;
/// Smallest width of a column: the line and the longest name of a method.
const LEGEND_COLUMN: u32 = 170;
/// Space left of and right of the legend.
const LEGEND_MARGIN: u32 = 100;
/// Labels of the horizontal axis.
const MOST_LABELS: usize = 11;
/// Decades of a logarithmic axis.
const DECADES: i32 = 4;

impl Chart {
    /// The picture.
    ///
    /// # Errors
    /// A description of what can't be drawn: a chart without panels or curves, or with values that are no numbers.
    pub fn svg(&self) -> Result<String, String> {
        if self.panels.is_empty() || self.bands.iter().all(|band| band.points.is_empty()) {
            return Err("there is nothing to draw".to_owned());
        }
        if self
            .bands
            .iter()
            .flat_map(|band| &band.points)
            .any(|(x, ys)| !x.is_finite() || ys.iter().any(|y| !y.is_finite()))
        {
            return Err("a value is not a number".to_owned());
        }
        let width = PANEL.0 * self.panels.len() as u32;
        let rows = self.bands.len().div_ceil(legend_columns(width)) as u32;
        let size = (width, TITLE + PANEL.1 + rows * LEGEND_ROW + 12);
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            self.draw(&root).map_err(|problem| problem.to_string())?;
        }
        Ok(svg)
    }

    fn draw(
        &self,
        root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        root.fill(&WHITE)?;
        let (title, rest) = root.split_vertically(TITLE);
        title.draw(&Text::new(self.title.clone(), (16, 12), (FONT, 18)))?;
        let (plots, legend) = rest.split_vertically(PANEL.1);
        for (panel, area) in self.panels.iter().zip(plots.split_evenly((1, self.panels.len()))) {
            let inside = |band: &Band| {
                band.points.iter().filter(|(x, _)| *x <= panel.last).map(|(_, ys)| ys[2]).fold(0.0, f64::max)
            };
            let top = self.bands.iter().map(inside).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
            let mut builder = ChartBuilder::on(&area);
            builder
                .caption(&panel.title, (FONT, 15))
                .margin(12)
                .margin_right(28)
                .x_label_area_size(38)
                .y_label_area_size(58);
            if self.logarithmic {
                let top = 10f64.powf(top.log10().ceil());
                // A little lower, so that the last decade has its label.
                let bottom = top * 10f64.powi(-DECADES) * (1.0 - 1e-9);
                let mut chart = builder.build_cartesian_2d(0.0..panel.last, (bottom..top).log_scale())?;
                self.panel(&mut chart, panel, bottom)?;
            } else {
                let (bottom, top) = self.linear(panel, top);
                let mut chart = builder.build_cartesian_2d(0.0..panel.last, bottom..top)?;
                self.panel(&mut chart, panel, bottom)?;
            }
        }
        let (width, _) = legend.dim_in_pixel();
        let columns = legend_columns(width);
        for (index, band) in self.bands.iter().enumerate() {
            let column = (width - LEGEND_MARGIN) as i32 / columns as i32;
            let x = 60 + (index % columns) as i32 * column;
            let y = 8 + (index / columns) as i32 * LEGEND_ROW as i32;
            let line = [(x, y + 7), (x + 34, y + 7)];
            let style = style(band.style).stroke_width(3);
            if is_dashed(band.style) {
                legend.draw(&DashedPathElement::new(line, 7, 4, style))?;
            } else {
                legend.draw(&PathElement::new(line, style))?;
            }
            legend.draw(&Text::new(band.name.clone(), (x + 42, y), (FONT, 15)))?;
        }
        root.present()
    }

    /// Both ends of a linear vertical axis: from zero, unless everything lies in the upper half then.
    fn linear(&self, panel: &Panel, top: f64) -> (f64, f64) {
        let inside = |band: &Band| {
            band.points.iter().filter(|(x, _)| *x <= panel.last).map(|(_, ys)| ys[0]).fold(f64::INFINITY, f64::min)
        };
        let least = self.bands.iter().map(inside).fold(f64::INFINITY, f64::min);
        if least > 0.5 * top {
            let margin = 0.05 * (top - least).max(0.01 * top);
            return (least - margin, top + margin);
        }
        (0.0, 1.05 * top)
    }

    fn panel<Y>(
        &self,
        chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>,
        panel: &Panel,
        bottom: f64,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let decade = |y: &f64| {
            let exponent = y.log10().round();
            let label = format!("{:.*}", (-exponent).max(0.0) as usize, 10f64.powf(exponent));
            if *y < 5.0 * bottom { format!("≤ {label}") } else { label }
        };
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_label_formatter(&|x| format!("{x:.0}"))
            // Iterations are whole: a short axis has no more labels than that.
            .x_labels((panel.last as usize).saturating_add(1).min(MOST_LABELS))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .axis_desc_style((FONT, 15))
            .label_style((FONT, 13));
        if self.logarithmic {
            mesh.y_label_formatter(&decade);
        }
        mesh.draw()?;
        // The bands first, so that no band covers a curve.
        let shown = |band: &Band, end: usize| -> Vec<(f64, f64)> {
            let inside = band.points.iter().filter(|(x, _)| *x <= panel.last);
            inside.map(|(x, ys)| (*x, ys[end].max(bottom))).collect()
        };
        for band in &self.bands {
            let mut outline = shown(band, 0);
            outline.extend(shown(band, 2).into_iter().rev());
            chart.draw_series(std::iter::once(Polygon::new(outline, colour(band.style).mix(0.13).filled())))?;
        }
        for band in &self.bands {
            let (curve, style) = (shown(band, 1), style(band.style));
            if is_dashed(band.style) {
                chart.draw_series(DashedLineSeries::new(curve, 7, 4, style))?;
            } else {
                chart.draw_series(LineSeries::new(curve, style))?;
            }
        }
        Ok(())
    }
}

fn legend_columns(width: u32) -> usize {
    ((width - LEGEND_MARGIN) / LEGEND_COLUMN).clamp(1, MOST_LEGEND_COLUMNS as u32) as usize
}

fn colour(style: usize) -> RGBColor {
    COLOURS[style % COLOURS.len()]
}

fn is_dashed(style: usize) -> bool {
    style >= COLOURS.len()
}

fn style(number: usize) -> ShapeStyle {
    colour(number).stroke_width(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(last: f64, logarithmic: bool) -> String {
        let band = |style| Band {
            name: format!("method-{style:02}-of-them"),
            style,
            points: vec![(0.0, [2.0, 3.0, 4.0]), (last, [0.0, 0.0, 1.0])],
        };
        let chart = Chart {
            title: "title".to_owned(),
            x: "iteration".to_owned(),
            y: "loss".to_owned(),
            logarithmic,
            panels: vec![Panel { title: "panel".to_owned(), last }],
            bands: (0..12).map(band).collect(),
        };
        chart.svg().unwrap()
    }

    /// `x`, `y` and content of every text.
    fn texts(svg: &str) -> Vec<(i32, i32, String)> {
        let attribute = |tag: &str, name: &str| -> Option<i32> {
            tag.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.parse().ok()
        };
        let text = |part: &str| {
            let (tag, rest) = part.split_once('>')?;
            let content = rest.split_once('<')?.0.trim().to_owned();
            Some((attribute(tag, "x")?, attribute(tag, "y")?, content))
        };
        svg.split("<text").skip(1).filter_map(text).collect()
    }

    #[test]
    fn names_in_the_legend_of_one_panel_do_not_touch() {
        let texts = texts(&chart(600.0, false));
        let names: Vec<_> = texts.iter().filter(|(.., text)| text.starts_with("method-")).collect();
        assert_eq!(names.len(), 12);
        for pair in names.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
            // 17 letters of 15 pixels' height are at most 125 pixels wide, the next line begins 42 before its name.
            assert!(pair[1].0 - pair[0].0 >= 125 + 42, "{pair:?}");
        }
        assert!(names.iter().all(|(x, ..)| x + 125 <= PANEL.0 as i32));
    }

    #[test]
    fn short_axes_have_whole_labels_once() {
        for last in [1.0, 2.0, 7.0] {
            let texts = texts(&chart(last, false));
            for label in ["0", "1"] {
                assert_eq!(texts.iter().filter(|(.., text)| text == label).count(), 1, "{label} of {last}");
            }
        }
    }

    #[test]
    fn the_lowest_label_of_a_logarithmic_axis_stands_for_everything_below() {
        let texts = texts(&chart(600.0, true));
        for label in ["10", "1", "0.1", "0.01", "≤ 0.001"] {
            assert_eq!(texts.iter().filter(|(.., text)| text == label).count(), 1, "{label}: {texts:?}");
        }
    }
}
