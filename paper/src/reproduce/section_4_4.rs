//! Section 4.4: variance against the number of edges, the tightness of Theorem 4.1, and the table of what is printed and what is
//! correct. Nothing is searched: the numbers come from the theory.

use std::fmt::Write;

use advantage_nas_theory::bound::{PRINTED, SHARP, sharp_step};
use advantage_nas_theory::section_4_4::{
    ESTIMATORS, PROBABILITIES, PrintedRow, RatioPoint, VariancePoint, average_variances, printed_rows, ratio_point,
    variance_point,
};
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// The numbers of edges at which variances are sampled.
const EDGES: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 100];

/// Means of the rewards, one panel each.
const MEANS: [f64; 2] = [0.0, 1.0];

/// Values of `η` of the sharp family.
const ETAS: [f64; 4] = [0.0, 0.1, 0.3, 0.6];

/// Steps `εℓ` at which the ratio is computed.
const STEPS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0];

/// Everything that is shown.
#[derive(Clone, Debug)]
pub struct Numbers {
    variances: Vec<VariancePoint>,
    ratios: Vec<RatioPoint>,
    rows: Vec<PrintedRow>,
    draws: u64,
    seed: u64,
}

impl Numbers {
    /// Computes them, with `draws` sampled reward tables and architectures per point.
    ///
    /// # Errors
    /// What the theory refuses.
    pub fn compute(draws: u64, seed: u64) -> Result<Self, advantage_nas_theory::Error> {
        let mut variances = Vec::new();
        for mean in MEANS {
            for edges in EDGES {
                variances.push(variance_point(edges, mean, draws, seed)?);
            }
        }
        let mut ratios = Vec::new();
        for eta in ETAS {
            for x in STEPS {
                ratios.push(ratio_point(x, eta)?);
            }
        }
        Ok(Self { variances, ratios, rows: printed_rows()?, draws, seed })
    }

    /// `section-4-4.csv`: one row per mean, number of edges and estimator.
    #[must_use]
    pub fn variance_csv(&self) -> String {
        let mut out = String::from("mean,edges,estimator,exact,sampled,standard_error\n");
        for point in &self.variances {
            for (index, name) in ESTIMATORS.iter().enumerate() {
                let VariancePoint { edges, mean, exact, sampled, error } = point;
                writeln!(out, "{mean},{edges},{name},{},{},{}", exact[index], sampled[index], error[index])
                    .expect("a string");
            }
        }
        out
    }

    /// `section-4-4-bound.csv`: one row per η and step.
    #[must_use]
    pub fn bound_csv(&self) -> String {
        let mut out = String::from("eta,step,closed_form,enumerated\n");
        for RatioPoint { x, eta, closed, enumerated } in &self.ratios {
            writeln!(out, "{eta},{x},{closed},{enumerated}").expect("a string");
        }
        out
    }

    /// `section-4-4.md`: as printed and correct.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from(
            "Section 4.4 as printed and as it is, at mu = 1/2; edge 1. \"Enumerated\" is the core's own estimator over all architectures.\n\n\
             | quantity | instance | printed | correct | enumerated | printed is right |\n\
             | --- | --- | --- | --- | --- | --- |\n",
        );
        for PrintedRow { quantity, instance, printed, corrected, enumerated } in &self.rows {
            let right = if printed == enumerated { "yes" } else { "no" };
            writeln!(out, "| {quantity} | {instance} | {printed} | {corrected} | {enumerated} | {right} |")
                .expect("a string");
        }
        write!(
            out,
            "\nVariance of the estimate at one edge, averaged over rewards m ± 1, {} candidates with mu = {:?}; sampled with {} draws, \
             seed {}:\n\n| m | edges | REINFORCE | sampled | baseline J | sampled | advantage | sampled | optimal | sampled |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
            PROBABILITIES.len(),
            PROBABILITIES,
            self.draws,
            self.seed,
        )
        .expect("a string");
        for point in &self.variances {
            write!(out, "| {} | {} |", point.mean, point.edges).expect("a string");
            for index in 0..ESTIMATORS.len() {
                let (exact, sampled, error) = (point.exact[index], point.sampled[index], point.error[index]);
                write!(out, " {exact:.4} | {sampled:.4} ± {error:.4} |").expect("a string");
            }
            out.push('\n');
        }
        out
    }

    /// `section-4-4.svg`: variance against the number of edges, a panel for zero-mean rewards and one for others.
    ///
    /// # Errors
    /// A description of what can't be drawn.
    pub fn variance_svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (1120, 540)).into_drawing_area();
            self.draw_variances(&root).map_err(|problem| problem.to_string())?;
        }
        Ok(svg)
    }

    fn draw_variances(&self, root: &Area<'_>) -> Drawn {
        root.fill(&WHITE)?;
        let (title, rest) = root.split_vertically(40);
        title.draw(&Text::new("Variance of the gradient estimate at one edge (section 4.4)", (16, 12), (FONT, 19)))?;
        let (plots, legend) = rest.split_vertically(440);
        for (mean, area) in MEANS.iter().zip(plots.split_evenly((1, 2))) {
            let caption = if *mean == 0.0 {
                "rewards ±1: linear in |I|".to_owned()
            } else {
                format!("rewards {mean} ± 1: quadratic in |I|")
            };
            let mut chart = ChartBuilder::on(&area)
                .caption(caption, (FONT, 16))
                .margin(12)
                .margin_right(28)
                .x_label_area_size(42)
                .y_label_area_size(64)
                .build_cartesian_2d((1.0..100.0f64).log_scale(), (0.1..20_000.0f64).log_scale())?;
            mesh(&mut chart, "number of edges |I|", "variance")?;
            for (index, colour) in COLOURS.iter().enumerate() {
                let line = (0..=24).map(|step| {
                    let edges = 10f64.powf(2.0 * f64::from(step) / 24.0);
                    // The formula is a polynomial in the number of edges: between whole numbers it guides the eye.
                    (edges, at(edges, *mean)[index])
                });
                chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
                let points = self.variances.iter().filter(|point| point.mean == *mean);
                chart.draw_series(
                    points.map(|point| {
                        Circle::new((point.edges as f64, point.sampled[index]), 4, colour.stroke_width(2))
                    }),
                )?;
            }
        }
        let names = ["REINFORCE, Eq. (4)", "with baseline J", "advantage, Eqs. (6), (7)", "optimal baseline"];
        for (index, name) in names.iter().enumerate() {
            let x = 60 + 270 * index as i32;
            legend.draw(&PathElement::new([(x, 14), (x + 34, 14)], COLOURS[index].stroke_width(3)))?;
            legend.draw(&Text::new(*name, (x + 42, 6), (FONT, 15)))?;
        }
        let note = format!(
            "lines: exact average over the rewards; circles: {} draws of rewards and architectures",
            self.draws
        );
        legend.draw(&Text::new(note, (60, 32), (FONT, 13)))?;
        root.present()
    }

    /// `section-4-4-bound.svg`: the smallest constant for which Theorem 4.1 holds, on the sharp family.
    ///
    /// # Errors
    /// A description of what can't be drawn.
    pub fn bound_svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (760, 540)).into_drawing_area();
            self.draw_bound(&root).map_err(|problem| problem.to_string())?;
        }
        Ok(svg)
    }

    fn draw_bound(&self, root: &Area<'_>) -> Drawn {
        root.fill(&WHITE)?;
        let (title, rest) = root.split_vertically(40);
        title.draw(&Text::new("Theorem 4.1: the smallest constant that holds", (16, 12), (FONT, 19)))?;
        let (plot, legend) = rest.split_vertically(450);
        let mut chart = ChartBuilder::on(&plot)
            .caption("two candidates, mu = 1/2, R = (l, eta l)", (FONT, 16))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..4.0f64, 0.0..0.56f64)?;
        mesh(&mut chart, "step, eps l", "ratio")?;
        for (constant, name) in [(PRINTED, "as printed: 1/2"), (SHARP, "best possible: 1/4")] {
            chart.draw_series(std::iter::once(DashedPathElement::new(
                [(0.0, constant), (4.0, constant)],
                6,
                4,
                BLACK.stroke_width(2),
            )))?;
            chart.draw_series(std::iter::once(Text::new(name, (2.9, constant + 0.03), (FONT, 14))))?;
        }
        for (index, eta) in ETAS.iter().enumerate() {
            let line = (1..=200).map(|step| {
                let x = f64::from(step) / 50.0;
                (x, sharp_step(x, *eta).ratio())
            });
            chart.draw_series(LineSeries::new(line, COLOURS[index].stroke_width(2)))?;
            let points = self.ratios.iter().filter(|point| point.eta == *eta);
            chart.draw_series(
                points.map(|point| Circle::new((point.x, point.enumerated), 4, COLOURS[index].stroke_width(2))),
            )?;
        }
        for (index, eta) in ETAS.iter().enumerate() {
            let x = 60 + 165 * index as i32;
            legend.draw(&PathElement::new([(x, 12), (x + 34, 12)], COLOURS[index].stroke_width(3)))?;
            legend.draw(&Text::new(format!("eta = {eta}"), (x + 42, 4), (FONT, 15)))?;
        }
        legend.draw(&Text::new(
            "lines: closed form; circles: enumeration of the core's estimator",
            (60, 28),
            (FONT, 13),
        ))?;
        root.present()
    }
}

/// The exact averages at any, also broken, number of edges: a polynomial of degree 2 through those of 1, 2 and 3 edges.
fn at(edges: f64, mean: f64) -> [f64; 4] {
    let known = [1, 2, 3].map(|edges| average_variances(&PROBABILITIES, edges, mean));
    let (a, b, c) = (edges - 1.0, edges - 2.0, edges - 3.0);
    std::array::from_fn(|index| b * c / 2.0 * known[0][index] - a * c * known[1][index] + a * b / 2.0 * known[2][index])
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A tick without the last digits of binary fractions.
fn label(value: &f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6)
}

const FONT: &str = "sans-serif";

/// Of Okabe and Ito (2008), who chose them for people with colour vision deficiencies.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(0, 158, 115), RGBColor(213, 94, 0), RGBColor(204, 121, 167)];

fn mesh<X, Y>(chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>, x: &str, y: &str) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .axis_desc_style((FONT, 15))
        .label_style((FONT, 13))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_the_whole_numbers() {
        for mean in MEANS {
            for edges in EDGES {
                for (line, exact) in at(edges as f64, mean).iter().zip(average_variances(&PROBABILITIES, edges, mean)) {
                    assert!((line - exact).abs() < 1e-9 * exact, "{edges}: {line} and {exact}");
                }
            }
        }
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(label(&(0.1 + 0.2)), "0.3");
        assert_eq!(label(&10_000.0), "10000");
    }

    #[test]
    fn everything_is_shown() {
        let numbers = Numbers::compute(50, 0).unwrap();
        assert_eq!(numbers.variance_csv().lines().count(), 1 + MEANS.len() * EDGES.len() * ESTIMATORS.len());
        assert_eq!(numbers.bound_csv().lines().count(), 1 + ETAS.len() * STEPS.len());
        let svg = numbers.variance_svg().unwrap();
        // Two panels, a circle for every point.
        assert_eq!(svg.matches("<circle").count(), MEANS.len() * EDGES.len() * ESTIMATORS.len());
        assert!(svg.contains("optimal baseline") && svg.contains("number of edges"));
        let svg = numbers.bound_svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), ETAS.len() * STEPS.len());
        assert!(svg.contains("as printed: 1/2") && svg.contains("best possible: 1/4"));
        let table = numbers.table();
        assert!(table.contains("| squared norm of the gradient | r1 = (1, -1) | 1/8 | 1/2 | 1/2 | no |"), "{table}");
        assert!(table.contains("| Var[delta_base] | r1 = (1, 1), r2 = (-1, -1) | 1 | 0 | 0 | no |"), "{table}");
    }
}
