//! The parent network of a search: all parameters, the cell's shared by the candidates of an edge.

use super::cell::space;
use super::sizes::Recurrent;
use crate::error::Result;
use crate::network::cell::EDGES;
use crate::network::{Initial, Owner, Parameter};
use crate::space::SearchSpace;

/// A matrix of the cell, `[units, units]`: outputs, inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellMatrix {
    /// `W_xc`, from the word to the gate of node 0.
    InputGate,
    /// `W_hc`, from the state to the gate of node 0.
    StateGate,
    /// `W_xh`, from the word to the value of node 0.
    Input,
    /// `W_hh`, from the state to the value of node 0.
    State,
    /// `W_c` of an edge.
    EdgeGate {
        /// The edge.
        edge: usize,
    },
    /// `W_h` of an edge, what its candidates are applied to. It takes part only if a candidate other than zero is active.
    Edge {
        /// The edge.
        edge: usize,
    },
}

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// The embeddings, `[vocabulary, units]`.
    Embedding,
    /// A matrix of the cell, `[units, units]`.
    Cell(CellMatrix),
    /// The weights of the output layer, `[vocabulary, units]`.
    OutputWeight,
    /// The bias of the output layer, `[vocabulary]`.
    OutputBias,
}

/// The parent network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    sizes: Recurrent,
    space: SearchSpace,
    parameters: Vec<Parameter>,
    kinds: Vec<ParameterKind>,
}

impl Parent {
    /// The parent network of these sizes. Its parameters are `embedding.weight`; `cell.input_gate.weight`, `cell.state_gate.weight`,
    /// `cell.input.weight`, `cell.state.weight`; of every edge `cell.edges.EDGE.gate.weight`, `cell.edges.EDGE.candidates.weight`;
    /// `output.weight`, `output.bias`.
    ///
    /// # Errors
    /// As [`Recurrent::check`].
    pub fn new(sizes: Recurrent) -> Result<Self> {
        sizes.check()?;
        let Recurrent { vocabulary, units, .. } = sizes;
        let initial = Initial::Uniform { range: sizes.initial_range as f32 };
        let (mut parameters, mut kinds) = (Vec::new(), Vec::new());
        let mut add = |name: String, shape: &[usize], kind| {
            let owner = match kind {
                ParameterKind::Cell(CellMatrix::Edge { edge }) => Owner::Edge { edge },
                _ => Owner::Always,
            };
            parameters.push(Parameter { name, shape: shape.to_vec(), initial, owner });
            kinds.push(kind);
        };
        add("embedding.weight".to_owned(), &[vocabulary, units], ParameterKind::Embedding);
        for (name, matrix) in [
            ("input_gate", CellMatrix::InputGate),
            ("state_gate", CellMatrix::StateGate),
            ("input", CellMatrix::Input),
            ("state", CellMatrix::State),
        ] {
            add(format!("cell.{name}.weight"), &[units, units], ParameterKind::Cell(matrix));
        }
        for edge in 0..EDGES {
            for (name, matrix) in [("gate", CellMatrix::EdgeGate { edge }), ("candidates", CellMatrix::Edge { edge })] {
                add(format!("cell.edges.{edge}.{name}.weight"), &[units, units], ParameterKind::Cell(matrix));
            }
        }
        add("output.weight".to_owned(), &[vocabulary, units], ParameterKind::OutputWeight);
        add("output.bias".to_owned(), &[vocabulary], ParameterKind::OutputBias);
        Ok(Self { sizes, space: space(), parameters, kinds })
    }

    /// The sizes.
    #[must_use]
    pub fn sizes(&self) -> &Recurrent {
        &self.sizes
    }

    /// The search space.
    #[must_use]
    pub fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// All parameters.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// What every parameter is for, in the order of [`Parent::parameters`].
    #[must_use]
    pub fn kinds(&self) -> &[ParameterKind] {
        &self.kinds
    }

    /// Index of the parameter of a kind.
    ///
    /// # Panics
    /// For an edge that there is not.
    #[must_use]
    pub fn index(&self, kind: ParameterKind) -> usize {
        self.kinds.iter().position(|candidate| *candidate == kind).expect("an edge from 0 to 5")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::initial_values;
    use crate::random::Streams;

    #[test]
    fn parameters_are_the_formulas() {
        let sizes = Recurrent { vocabulary: 11, units: 3, ..Recurrent::paper() };
        let parent = Parent::new(sizes).unwrap();
        assert_eq!(parent.parameters().len(), 1 + 4 + 12 + 2);
        let total: usize = parent.parameters().iter().map(Parameter::len).sum();
        assert_eq!(total, 2 * 33 + 11 + 16 * 9);
        let edge = parent.index(ParameterKind::Cell(CellMatrix::Edge { edge: 5 }));
        assert_eq!(parent.parameters()[edge].name, "cell.edges.5.candidates.weight");
        let mut names: Vec<&str> = parent.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 19);
    }

    /// Uniform on ±range: of N values, the mean is within 5 standard errors of 0 and the mean square of `range²/3` (5 standard errors
    /// are exceeded once in 1.7 million).
    #[test]
    fn initial_values_are_uniform_and_distinct() {
        let sizes = Recurrent { vocabulary: 5_000, units: 300, initial_range: 0.2, ..Recurrent::paper() };
        let parent = Parent::new(sizes).unwrap();
        let of_trial = |trial| initial_values(parent.parameters(), &Streams::new(3), trial).collect::<Vec<_>>();
        let values = of_trial(1);
        for (parameter, values) in parent.parameters().iter().zip(&values) {
            assert_eq!(values.len(), parameter.len());
            assert!(values.iter().all(|value| value.abs() <= 0.2));
            let count = values.len() as f64;
            let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
            let square = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / count;
            // Variances of u and u²: r²/3 and r⁴·(1/5 − 1/9).
            assert!(mean.abs() <= 5.0 * 0.2 / (3.0 * count).sqrt(), "{}: mean {mean}", parameter.name);
            let error = 0.04 * (4.0 / 45.0 / count).sqrt();
            assert!((square - 0.04 / 3.0).abs() <= 5.0 * error, "{}: mean square {square}", parameter.name);
        }
        // The embedding takes two steps of the stream, so the next parameter does not begin inside it.
        let of = |parameter: usize, value: usize| values[parameter].iter().nth(value).unwrap().to_bits();
        assert_ne!(of(0, 1 << 20), of(1, 0));
        let starts: std::collections::HashSet<u32> = (0..values.len()).map(|parameter| of(parameter, 0)).collect();
        assert_eq!(starts.len(), values.len());
        assert_eq!(of_trial(1), values);
        assert_ne!(of_trial(2)[1], values[1]);
    }
}
