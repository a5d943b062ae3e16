//! The cell of section 5.3 as people see it: as a line of text on the command line, and as a graph (Appendix I).

use std::fmt::{self, Write};

use advantage_nas::network::recurrent::{Cell, EDGES, NODES, Operation, edge_ends};

use crate::error::{Error, Result};

/// The cell of a text, with blanks around it or not.
///
/// # Errors
/// [`Error::Usage`], which says what was expected.
pub fn parse_cell(text: &str) -> Result<Cell> {
    text.trim().parse().map_err(|error| {
        let example = Cell::uniform(Operation::Tanh).expect("an operation of the cell");
        let groups = NODES - 1;
        Error::Usage(format!(
            "the cell {text:?}: {error}; expected {groups} nodes with {EDGES} inputs, as in {example}"
        ))
    })
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
/// Height of the nodes in the picture, and their distance.
const AXIS: f64 = 165.0;
const DISTANCE: f64 = 95.0;
const RADIUS: f64 = 15.0;

/// The cells side by side as graphs, each below its title, as an SVG document. Operations are colours, the zero operation is dashed.
#[must_use]
pub fn svg(cells: &[(&str, Cell)]) -> String {
    let width = WIDTH * cells.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{HEIGHT}\" viewBox=\"0 0 {width} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\" text-anchor=\"middle\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0,0 L8,4 L0,8 z\" fill=\"#555\"/></marker></defs>\n"
    );
    for (index, (title, cell)) in cells.iter().enumerate() {
        panel(&mut out, WIDTH * index as f64, title, cell).expect("writing to a string does not fail");
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, left: f64, title: &str, cell: &Cell) -> fmt::Result {
    let x = |node: usize| 75.0 + DISTANCE * node as f64;
    writeln!(out, "<g transform=\"translate({left},0)\">")?;
    writeln!(out, "<text x=\"{}\" y=\"22\" font-weight=\"bold\">{}</text>", WIDTH / 2.0, escaped(title))?;
    // Word and state enter node 0; the new state is the mean of nodes 1 to 3.
    writeln!(out, "<text x=\"26\" y=\"{}\">x, h</text>", AXIS - 10.0)?;
    let line = "stroke=\"#555\" fill=\"none\" marker-end=\"url(#tip)\"";
    writeln!(out, "<path d=\"M8,{AXIS} L{},{AXIS}\" {line}/>", x(0) - RADIUS)?;
    let (mean_x, mean_y) = (x(2), HEIGHT - 22.0);
    for node in 1..NODES {
        let (start, end) = (AXIS + RADIUS, mean_y - 14.0);
        writeln!(
            out,
            "<path d=\"M{},{start} L{mean_x},{end}\" stroke=\"#bbb\" stroke-dasharray=\"2 3\" fill=\"none\"/>",
            x(node)
        )?;
    }
    writeln!(out, "<text x=\"{mean_x}\" y=\"{mean_y}\">h = mean of 1, 2, 3</text>")?;
    for (edge, operation) in cell.operations().iter().enumerate() {
        let (from, to) = edge_ends(edge);
        let (colour, dashes) = style(*operation);
        // Neighbours are joined by lines, 0→2 and 0→3 by arcs above, 1→3 by one below.
        let lift: f64 = match (from, to) {
            (0, 2) => -62.0,
            (0, 3) => -112.0,
            (1, 3) => 52.0,
            _ => 0.0,
        };
        let (start, end, middle) = (x(from), x(to), (x(from) + x(to)) / 2.0);
        let path = if lift == 0.0 {
            format!("M{},{AXIS} L{},{AXIS}", start + RADIUS, end - RADIUS)
        } else {
            // A quadratic curve rises to half of its control point.
            let edge_of = |centre: f64, inwards: f64| (centre + inwards * 6.0, AXIS + lift.signum() * RADIUS);
            let ((x0, y0), (x1, y1)) = (edge_of(start, 1.0), edge_of(end, -1.0));
            format!("M{x0},{y0} Q{middle},{} {x1},{y1}", AXIS + 2.0 * lift)
        };
        writeln!(
            out,
            "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes} fill=\"none\" marker-end=\"url(#tip)\"/>"
        )?;
        let label_y = AXIS + lift + if lift > 0.0 { 14.0 } else { -7.0 };
        writeln!(out, "<text x=\"{middle}\" y=\"{label_y}\" fill=\"{colour}\">{operation}</text>")?;
    }
    for node in 0..NODES {
        let x = x(node);
        writeln!(out, "<circle cx=\"{x}\" cy=\"{AXIS}\" r=\"{RADIUS}\" fill=\"#eef\" stroke=\"#555\"/>")?;
        writeln!(out, "<text x=\"{x}\" y=\"{}\">{node}</text>", AXIS + 4.5)?;
    }
    writeln!(out, "</g>")
}

/// Colour and dashes.
fn style(operation: Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::Identity => ("#444444", ""),
        Operation::Tanh => ("#1f77b4", ""),
        Operation::Sigmoid => ("#2a8a2a", ""),
        Operation::Relu => ("#c44e00", ""),
        Operation::Zero => ("#888888", " stroke-dasharray=\"6 4\""),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use advantage_nas::Architecture;
    use advantage_nas::network::recurrent::space;

    use super::*;

    const TEXT: &str = "|tanh~0|+|sigmoid~0|relu~1|+|zero~0|identity~1|tanh~2|";

    #[test]
    fn cells_are_read_and_written() {
        let cell = parse_cell(&format!(" {TEXT}\n")).unwrap();
        assert_eq!(cell.to_string(), TEXT);
        // Edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3; candidates identity, tanh, sigmoid, relu, zero.
        assert_eq!(cell.architecture().choices(), [1, 2, 3, 4, 0, 1]);
        assert_eq!(Cell::of(&cell.architecture()).unwrap(), cell);
        for architecture in space().shape().enumerate().step_by(97) {
            let cell = Cell::of(&architecture).unwrap();
            assert_eq!(parse_cell(&cell.to_string()).unwrap().architecture(), architecture);
        }
        let foreign = advantage_nas::SearchSpace::anonymous([2]).unwrap();
        assert!(Cell::of(&Architecture::first(foreign.shape())).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "expected 3 nodes with 6 inputs, as in |tanh~0|+|tanh~0|tanh~1|+|tanh~0|tanh~1|tanh~2|"),
            (
                "|tanh~0|+|tanh~0|+|tanh~0|tanh~1|tanh~2|",
                "character 18: expected the operation of edge 1→2 (identity, tanh, sigmoid, relu, zero), got \"+|tanh~0",
            ),
            ("tanh~0+|tanh~0|tanh~1|+|tanh~0|tanh~1|tanh~2|", "character 1: expected \"|\" before the first operation"),
            (
                "|tanh~0|+|tanh~0|tanh~0|+|tanh~0|tanh~1|tanh~2|",
                "character 23: expected source node 1 of edge 1→2, got \"0|",
            ),
            ("|tanh|+|tanh~0|tanh~1|+|tanh~0|tanh~1|tanh~2|", "expected \"~0\" after the operation of edge 0→1"),
            (
                "|swish~0|+|tanh~0|tanh~1|+|tanh~0|tanh~1|tanh~2|",
                "expected the operation of edge 0→1 (identity, tanh, sigmoid, relu, zero), got \"swish~0|",
            ),
        ] {
            let error = parse_cell(text).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn graphs_have_every_edge() {
        let cell = parse_cell(TEXT).unwrap();
        let drawn = svg(&[("a < b & c", cell), ("other", Cell::uniform(Operation::Zero).unwrap())]);
        assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
        assert!(drawn.contains("width=\"840\"") && drawn.contains("a &lt; b &amp; c</text>"));
        let count = |part: &str| drawn.matches(part).count();
        assert_eq!(count("<circle"), 2 * NODES);
        assert_eq!(
            [count(">tanh<"), count(">sigmoid<"), count(">relu<"), count(">identity<"), count(">zero<")],
            [2, 1, 1, 1, 7]
        );
        // Six edges, and the input of either cell.
        assert_eq!(count("marker-end"), 2 * (EDGES + 1));
        assert_eq!(count("stroke-dasharray=\"6 4\""), 7);
        assert_eq!(count("<g "), count("</g>"));
    }
}
