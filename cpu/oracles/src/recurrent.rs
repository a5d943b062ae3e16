//! The recurrent network of section 5.3; its formula stands at [`advantage_nas::network::recurrent`].

use advantage_nas::Result;
use advantage_nas::network::recurrent::{EDGES, NODES, Operation, Parent};
use ndarray::{Array1, Array2, Array3, ArrayD, ArrayView1, ArrayView2, Axis, Ix1, Ix2, Zip};

use crate::{Mixture, cross_entropy, expect_shapes};

/// The nodes `(from, to)` of every edge.
const ENDS: [(usize, usize); EDGES] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];

/// The parent network with its weights.
#[derive(Clone, Debug)]
pub struct Network {
    parent: Parent,
    /// All parameters, in the order of [`Parent::parameters`] and with their shapes.
    pub parameters: Vec<ArrayD<f64>>,
}

/// A minibatch with everything that is not a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The words, `[steps, batch]`.
    pub inputs: Array2<u32>,
    /// The words that follow them, `[steps, batch]`.
    pub targets: Array2<u32>,
    /// Factors of the embeddings and of what the output layer reads, `[steps, batch, units]` each.
    pub masks: [Array3<f64>; 2],
    /// The state before it, `[batch, units]`.
    pub state: Array2<f64>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn apply(operation: Operation, u: f64) -> f64 {
    match operation {
        Operation::Identity => u,
        Operation::Tanh => u.tanh(),
        Operation::Sigmoid => sigmoid(u),
        Operation::Relu if u < 0.0 => 0.0,
        Operation::Relu => u,
        Operation::Zero => 0.0,
    }
}

/// `from + gate ⊙ (to − from)`
fn interpolate(from: &Array2<f64>, to: &Array2<f64>, gate: &Array2<f64>) -> Array2<f64> {
    from + gate * (to - from)
}

impl Network {
    /// The network with these parameters, in the order of [`Parent::parameters`].
    ///
    /// # Errors
    /// [`Error::Data`](advantage_nas::Error::Data) or [`Error::Length`](advantage_nas::Error::Length) for parameters of another network.
    pub fn new(parent: Parent, parameters: Vec<ArrayD<f64>>) -> Result<Self> {
        expect_shapes(parent.parameters(), &parameters)?;
        Ok(Self { parent, parameters })
    }

    /// What the network is built from.
    #[must_use]
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    fn parameter(&self, name: &str) -> &ArrayD<f64> {
        let index = self.parent.parameters().iter().position(|parameter| parameter.name == name);
        &self.parameters[index.unwrap_or_else(|| panic!("there is no parameter {name}"))]
    }

    fn matrix(&self, name: &str) -> ArrayView2<'_, f64> {
        self.parameter(name).view().into_dimensionality::<Ix2>().expect("its shape was checked")
    }

    /// `W x` of every row.
    fn product(&self, name: &str, x: &Array2<f64>) -> Array2<f64> {
        x.dot(&self.matrix(name).t())
    }

    /// Embeddings of words, `[batch, units]`.
    ///
    /// # Panics
    /// For a word outside the vocabulary.
    #[must_use]
    pub fn embeddings(&self, words: ArrayView1<'_, u32>) -> Array2<f64> {
        let words: Vec<usize> = words.iter().map(|word| *word as usize).collect();
        self.matrix("embedding.weight").select(Axis(0), &words)
    }

    /// The state after words with these embeddings, `[batch, units]` all.
    #[must_use]
    pub fn cell(&self, embeddings: &Array2<f64>, state: &Array2<f64>, mixture: &Mixture) -> Array2<f64> {
        let gate = self.product("cell.input_gate.weight", embeddings) + self.product("cell.state_gate.weight", state);
        let value = self.product("cell.input.weight", embeddings) + self.product("cell.state.weight", state);
        let mut nodes = vec![interpolate(state, &value.mapv(f64::tanh), &gate.mapv(sigmoid))];
        for node in 1..NODES {
            let mut sum = Array2::zeros(state.dim());
            for (edge, (from, _)) in ENDS.into_iter().enumerate().filter(|(_, (_, to))| *to == node) {
                let source = &nodes[from];
                let gate = self.product(&format!("cell.edges.{edge}.gate.weight"), source).mapv(sigmoid);
                let u = self.product(&format!("cell.edges.{edge}.candidates.weight"), source);
                let mut z = Array2::zeros(u.dim());
                if mixture.without != Some(edge) {
                    z += mixture.ones[edge];
                    for (operation, weight) in Operation::ALL.into_iter().zip(mixture.weights.edge(edge)) {
                        z.scaled_add(*weight, &u.mapv(|u| apply(operation, u)));
                    }
                }
                sum += &interpolate(source, &z, &gate);
            }
            nodes.push(sum / node as f64);
        }
        (&nodes[1] + &nodes[2] + &nodes[3]) / 3.0
    }

    /// Cross-entropies of the words that follow, `[batch]`, from what the output layer reads, `[batch, units]`.
    ///
    /// # Panics
    /// For a word outside the vocabulary.
    #[must_use]
    pub fn cross_entropies(&self, outputs: &Array2<f64>, targets: ArrayView1<'_, u32>) -> Array1<f64> {
        let bias = self.parameter("output.bias").view().into_dimensionality::<Ix1>().expect("its shape was checked");
        let logits = self.product("output.weight", outputs) + bias;
        Zip::from(logits.rows()).and(targets).map_collect(|logits, target| cross_entropy(logits, *target as usize))
    }

    /// The loss of a segment, and the state after it, `[batch, units]`.
    ///
    /// # Panics
    /// For words outside the vocabulary, and arrays of other sizes.
    #[must_use]
    pub fn pass(&self, segment: &Segment, mixture: &Mixture) -> (f64, Array2<f64>) {
        let mut state = segment.state.clone();
        let mut loss = 0.0;
        let [of_embeddings, of_outputs] = &segment.masks;
        for (step, (inputs, targets)) in segment.inputs.outer_iter().zip(segment.targets.outer_iter()).enumerate() {
            let embeddings = self.embeddings(inputs) * of_embeddings.index_axis(Axis(0), step);
            state = self.cell(&embeddings, &state, mixture);
            let outputs = &state * &of_outputs.index_axis(Axis(0), step);
            loss += self.cross_entropies(&outputs, targets).sum() / inputs.len() as f64;
        }
        (loss, state)
    }

    /// The mean cross-entropy of a whole text in one stream without dropout, from the state of zeros; the last word is followed by the
    /// first.
    ///
    /// # Panics
    /// For words outside the vocabulary.
    #[must_use]
    pub fn evaluate(&self, text: &[u32], mixture: &Mixture) -> f64 {
        let mut state = Array2::zeros((1, self.parent.sizes().units));
        let mut loss = 0.0;
        for (word, next) in text.iter().zip(text.iter().cycle().skip(1)) {
            state = self.cell(&self.embeddings(ArrayView1::from(&[*word])), &state, mixture);
            loss += self.cross_entropies(&state, ArrayView1::from(&[*next])).sum();
        }
        loss / text.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use advantage_nas::OpTable;
    use advantage_nas::network::recurrent::Recurrent;
    use advantage_nas::tolerance::{assert_all_close, assert_close};
    use ndarray::arr2;

    use super::*;

    const SIZES: Recurrent =
        Recurrent { vocabulary: 3, units: 1, batch: 1, steps: 2, dropout: 0.0, initial_range: 0.1 };

    fn network(sizes: Recurrent, value: impl Fn(&str) -> f64) -> Network {
        let parent = Parent::new(sizes).unwrap();
        let values = |name: &str, shape: &[usize]| ArrayD::from_elem(shape, value(name));
        let parameters =
            parent.parameters().iter().map(|parameter| values(&parameter.name, &parameter.shape)).collect();
        Network::new(parent, parameters).unwrap()
    }

    /// The same operation on every edge.
    fn all(network: &Network, candidate: usize) -> Mixture {
        let shape = network.parent().space().shape();
        Mixture::new(&OpTable::from_fn(shape, |_, k| if k == candidate { 1.0 } else { 0.0 }))
    }

    /// Gates of ½ halve `h` at node 0, and every edge what it reads: nodes of `h/4`, `3h/16`, `5h/32`.
    #[test]
    fn a_cell_of_zeros_by_hand() {
        let network = network(SIZES, |_| 0.0);
        let (x, h) = (arr2(&[[1.0]]), arr2(&[[1.0]]));
        let after = |mixture: &Mixture| network.cell(&x, &h, mixture)[[0, 0]];
        let zero = all(&network, 4);
        assert_close(after(&zero), (1.0 / 4.0 + 3.0 / 16.0 + 5.0 / 32.0) / 3.0, 1e-15, 0.0);
        // Of W_h = 0 all operations but the sigmoid are zero; its ½ is a constant of the edge.
        for candidate in [0, 1, 3] {
            assert_eq!(after(&all(&network, candidate)), after(&zero));
        }
        let halves = Mixture { ones: vec![0.5; 6], ..zero.clone() };
        assert_close(after(&all(&network, 2)), after(&halves), 1e-15, 0.0);
        assert!(after(&halves) > after(&zero));
        // ½·u on 2→3, averaged over three edges, and over three nodes.
        let mut one = zero.clone();
        one.ones[5] = 0.9;
        assert_close(after(&one) - after(&zero), 0.45 / 9.0, 1e-13, 0.0);
        one.without = Some(5);
        assert_eq!(after(&one), after(&zero));
    }

    /// With open gates a state is what the operations make of it.
    #[test]
    fn operations_by_hand() {
        for (state, expected) in [
            (0.25, [0.25, 0.25f64.tanh(), sigmoid(0.25), 0.25, 0.0]),
            (-2.0, [-2.0, -2f64.tanh(), sigmoid(-2.0), 0.0, 0.0]),
        ] {
            for (candidate, expected) in expected.into_iter().enumerate() {
                assert_close(apply(Operation::ALL[candidate], state), expected, 1e-15, 0.0);
            }
        }
        assert_eq!(sigmoid(0.0), 0.5);
        assert_close(sigmoid(3f64.ln()), 0.75, 1e-15, 0.0);
        // σ(800) = 1: node 0 is tanh(W_xh e + W_hh h), and the identity with W_h = 1 keeps it from node to node.
        let network = network(SIZES, |name| match name {
            "cell.input_gate.weight" => 800.0,
            "cell.input.weight" | "cell.state.weight" => 1.0,
            _ if name.ends_with("candidates.weight") => 1.0,
            _ => 0.0,
        });
        let after = network.cell(&arr2(&[[1.0]]), &arr2(&[[0.5]]), &all(&network, 0));
        assert_close(after[[0, 0]], 1.5f64.tanh(), 1e-15, 0.0);
    }

    /// Words of several streams keep to their rows; the masks act where they should.
    #[test]
    fn segments_by_hand() {
        let sizes = Recurrent { batch: 2, ..SIZES };
        let mut network = network(sizes, |name| match name {
            "cell.input_gate.weight" => 800.0,
            "cell.input.weight" => 1.0,
            _ if name.ends_with("candidates.weight") => 1.0,
            _ => 0.0,
        });
        let index =
            |name: &str| network.parent().parameters().iter().position(|parameter| parameter.name == name).unwrap();
        let (embedding, output, bias) = (index("embedding.weight"), index("output.weight"), index("output.bias"));
        network.parameters[embedding] = arr2(&[[1.0], [2.0], [3.0]]).into_dyn();
        network.parameters[output] = arr2(&[[0.0], [1.0], [0.0]]).into_dyn();
        network.parameters[bias] = ndarray::arr1(&[0.0, 0.0, 3f64.ln()]).into_dyn();
        let masks = [arr2(&[[1.0, 2.0], [0.5, 1.0]]), arr2(&[[1.0, 0.0], [3.0, 1.0]])];
        let segment = Segment {
            inputs: arr2(&[[0, 1], [2, 2]]),
            targets: arr2(&[[1, 2], [0, 1]]),
            masks: masks.map(|mask| mask.insert_axis(Axis(2))),
            state: arr2(&[[7.0], [-7.0]]),
        };
        let (loss, state) = network.pass(&segment, &all(&network, 0));
        // States: tanh of embedding times mask. Logits: 0, state times mask, ln 3.
        let entropy = |l: f64, target: usize| (4.0 + l.exp()).ln() - [0.0, l, 3f64.ln()][target];
        let expected =
            entropy(1f64.tanh(), 1) + entropy(0.0, 2) + entropy(3.0 * 1.5f64.tanh(), 0) + entropy(3f64.tanh(), 1);
        assert_close(loss, expected / 2.0, 1e-14, 0.0);
        assert_all_close(&state.column(0).to_vec(), &[1.5f64.tanh(), 3f64.tanh()], 1e-14, 0.0);
        // Of a text, word by word: 0 is followed by 2, and 2 by 0.
        let expected = entropy(1f64.tanh(), 2) + entropy(3f64.tanh(), 0);
        assert_close(network.evaluate(&[0, 2], &all(&network, 0)), expected / 2.0, 1e-14, 0.0);
    }

    #[test]
    fn other_parameters_are_refused() {
        let network = network(SIZES, |_| 0.0);
        let parent = Parent::new(Recurrent { units: 2, ..SIZES }).unwrap();
        assert!(Network::new(parent, network.parameters.clone()).is_err());
    }
}
