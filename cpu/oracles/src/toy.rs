//! The toy regression of section 5.1; its formula stands at [`advantage_nas::network::toy`].

use advantage_nas::network::toy::{IMAGE, KERNEL, OUTPUT, POSITIONS, Parameters, STRIDE, TAPS, Toy};
use advantage_nas::{Architecture, Error, OpTable, Result, Shape};
use ndarray::{Array2, Array3, Array4, ArrayView3, Axis};

use crate::{Mixture, window};

/// The student with its teacher.
#[derive(Clone, Debug)]
pub struct Network {
    /// The candidates' filters `f`, `[edges, candidates, taps]`.
    pub filters: Array3<f64>,
    /// The second stage's filters `v`, `[edges, positions]`.
    pub heads: Array2<f64>,
    teacher: Architecture,
}

/// Derivatives of every edge's share in the predictions.
#[derive(Clone, Debug)]
pub struct Slopes {
    /// In the candidates' weights, `[edges, candidates, batch]`.
    pub weights: Array3<f64>,
    /// In the constants `u`, `[edges, batch]`.
    pub ones: Array2<f64>,
}

impl Network {
    /// The network with these parameters.
    ///
    /// # Errors
    /// [`Error::Data`] for parameters of another network.
    pub fn new(toy: Toy, parameters: &Parameters) -> Result<Self> {
        let data = |problem: ndarray::ShapeError| Error::Data { what: "parameters", problem: problem.to_string() };
        let Toy { edges, candidates, .. } = toy;
        let filters = parameters.filters.to_shape((edges, candidates, TAPS)).map_err(data)?.into_owned();
        let heads = parameters.heads.to_shape((edges, POSITIONS)).map_err(data)?.into_owned();
        Ok(Self { filters, heads, teacher: parameters.teacher.clone() })
    }

    /// The outputs of all candidate filters, `O_i^k = f_i^k ∗ x`, `[edges, candidates, positions, batch]`, for images
    /// `[height, width, batch]`.
    ///
    /// # Panics
    /// For images of another size.
    #[must_use]
    pub fn outputs(&self, images: ArrayView3<'_, f32>) -> Array4<f64> {
        let (height, width, batch) = images.dim();
        assert_eq!((height, width), (IMAGE, IMAGE), "height and width of the images");
        let (edges, candidates, _) = self.filters.dim();
        let mut outputs = Array4::zeros((edges, candidates, POSITIONS, batch));
        for position in 0..POSITIONS {
            let (y, x) = (position / OUTPUT * STRIDE, position % OUTPUT * STRIDE);
            let patch = window(images, 0, y..y + KERNEL, x..x + KERNEL).mapv(f64::from);
            let patch =
                patch.into_shape_with_order((TAPS, batch)).expect("a patch has as many pixels as a filter has taps");
            for (edge, filters) in self.filters.outer_iter().enumerate() {
                let mut outputs = outputs.index_axis_mut(Axis(0), edge);
                outputs.index_axis_mut(Axis(1), position).assign(&filters.dot(&patch));
            }
        }
        outputs
    }

    /// `tanh(z)` of every edge, `[edges, positions, batch]`.
    fn hidden(&self, outputs: &Array4<f64>, mixture: &Mixture) -> Array3<f64> {
        let (edges, _, positions, batch) = outputs.dim();
        let mut hidden = Array3::zeros((edges, positions, batch));
        for (edge, mut z) in hidden.outer_iter_mut().enumerate() {
            if mixture.without == Some(edge) {
                continue;
            }
            z.fill(mixture.ones[edge]);
            for (weight, output) in
                mixture.weights.edge(edge).iter().zip(outputs.index_axis(Axis(0), edge).outer_iter())
            {
                z.scaled_add(*weight, &output);
            }
            z.mapv_inplace(f64::tanh);
        }
        hidden
    }

    /// The share of every edge in the predictions, `(1/|I|) Σ_p v_i[p] tanh(z_i[p])`, `[edges, batch]`.
    #[must_use]
    pub fn shares(&self, outputs: &Array4<f64>, mixture: &Mixture) -> Array2<f64> {
        let hidden = self.hidden(outputs, mixture);
        let mut shares = Array2::zeros((hidden.dim().0, hidden.dim().2));
        for (edge, mut share) in shares.outer_iter_mut().enumerate() {
            share.assign(&self.heads.row(edge).dot(&hidden.index_axis(Axis(0), edge)));
        }
        shares / self.heads.nrows() as f64
    }

    /// The derivatives of the [shares](Self::shares).
    #[must_use]
    pub fn slopes(&self, outputs: &Array4<f64>, mixture: &Mixture) -> Slopes {
        let (edges, candidates, _, batch) = outputs.dim();
        let mut slopes =
            Slopes { weights: Array3::zeros((edges, candidates, batch)), ones: Array2::zeros((edges, batch)) };
        let mut inner = self.hidden(outputs, mixture).mapv(|hidden| (1.0 - hidden * hidden) / edges as f64);
        for edge in 0..edges {
            let mut inner = inner.index_axis_mut(Axis(0), edge);
            inner *= &self.heads.row(edge).insert_axis(Axis(1));
            slopes.ones.row_mut(edge).assign(&inner.sum_axis(Axis(0)));
            for candidate in 0..candidates {
                let product = &inner * &outputs.index_axis(Axis(0), edge).index_axis(Axis(0), candidate);
                let mut slopes = slopes.weights.index_axis_mut(Axis(0), edge);
                slopes.row_mut(candidate).assign(&product.sum_axis(Axis(0)));
            }
        }
        slopes
    }

    /// The teacher's candidate at every edge.
    #[must_use]
    pub fn teacher(&self) -> Mixture {
        let (edges, candidates, _) = self.filters.dim();
        let shape = Shape::new(vec![candidates; edges]).expect("a network has edges and candidates");
        let weights = OpTable::from_fn(&shape, |edge, k| if k == self.teacher.choice(edge) { 1.0 } else { 0.0 });
        Mixture::new(&weights)
    }

    /// The loss, the mean over the minibatch of the squared error.
    #[must_use]
    pub fn loss(&self, outputs: &Array4<f64>, mixture: &Mixture) -> f64 {
        let prediction = |mixture| self.shares(outputs, mixture).sum_axis(Axis(0));
        let errors = prediction(mixture) - prediction(&self.teacher());
        errors.dot(&errors) / errors.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use advantage_nas::tolerance::{assert_all_close, assert_close};

    use super::*;

    const TOY: Toy = Toy { edges: 1, candidates: 2, batch: 2 };

    fn network(filters: Vec<f64>, heads: Vec<f64>, teacher: usize) -> Network {
        let shape = TOY.space().unwrap().shape().clone();
        let teacher = Architecture::new(&shape, [teacher]).unwrap();
        let filters = Array4::from_shape_vec((1, 2, 7, 7), filters).unwrap();
        let heads = Array3::from_shape_vec((1, 4, 4), heads).unwrap();
        Network::new(TOY, &Parameters { filters, heads, teacher }).unwrap()
    }

    /// An image with a single pixel meets the tap that lies on it, at every position whose patch reaches it.
    #[test]
    fn filters_move_by_their_stride() {
        let taps: Vec<f64> = (0..98).map(f64::from).collect();
        let network = network(taps, vec![0.0; 16], 0);
        let mut images = Array3::zeros((13, 13, 2));
        images[[2, 5, 1]] = 2.0;
        let outputs = network.outputs(images.view());
        // Row 2 is tap row 2 of positions in row 0, tap row 0 of those in row 1; column 5 is tap column 5, 3, 1 of columns 0, 1, 2.
        let mut expected = [0.0; 16];
        for (position, tap) in [(0, 19.0), (1, 17.0), (2, 15.0), (4, 5.0), (5, 3.0), (6, 1.0)] {
            expected[position] = 2.0 * tap;
        }
        assert_eq!(outputs.index_axis(Axis(3), 1).index_axis(Axis(0), 0).row(0).to_vec(), expected);
        assert!(outputs.index_axis(Axis(3), 0).iter().all(|value| *value == 0.0));
        assert_eq!(outputs[[0, 1, 4, 1]], 2.0 * (49.0 + 5.0));
    }

    /// Images of ones, a filter of `ln 3 / 98` and another of zeros, which is the teacher's: `tanh(ln 3 / 2) = 1/2` at each position.
    #[test]
    fn losses_and_slopes_by_hand() {
        let half = 3f64.ln() / 2.0;
        let filters = [vec![half / 49.0; 49], vec![0.0; 49]].concat();
        let network = network(filters, vec![1.0 / 8.0; 16], 1);
        let outputs = network.outputs(Array3::ones((13, 13, 2)).view());
        let shape = TOY.space().unwrap().shape().clone();
        let mixture = Mixture::new(&OpTable::from_values(&shape, vec![1.0, 0.0]).unwrap());
        assert_all_close(&network.shares(&outputs, &mixture).into_raw_vec_and_offset().0, &[1.0; 2], 1e-14, 0.0);
        assert_close(network.loss(&outputs, &mixture), 1.0, 1e-14, 0.0);
        assert_eq!(network.teacher().weights.values(), [0.0, 1.0]);
        assert_eq!(network.shares(&outputs, &network.teacher()).row(0).to_vec(), [0.0; 2]);
        // (1 − 1/4) · 2 of the positions' weights.
        let slopes = network.slopes(&outputs, &mixture);
        assert_all_close(&slopes.ones.row(0).to_vec(), &[1.5; 2], 1e-14, 0.0);
        assert_all_close(&slopes.weights.index_axis(Axis(0), 0).row(0).to_vec(), &[1.5 * half; 2], 1e-14, 0.0);
        assert_eq!(slopes.weights.index_axis(Axis(0), 0).row(1).to_vec(), [0.0; 2]);
        // The same as a constant beside nothing, and nothing is zero.
        let ones = Mixture { weights: OpTable::filled(&shape, 0.0), ones: vec![half], without: None };
        assert_close(network.loss(&outputs, &ones), 1.0, 1e-14, 0.0);
        assert_eq!(network.loss(&outputs, &Mixture { without: Some(0), ..ones }), 0.0);
    }

    /// Two edges are averaged, and slopes are the derivatives of the shares.
    #[test]
    fn slopes_are_central_differences() {
        let toy = Toy { edges: 2, candidates: 3, batch: 4 };
        let streams = advantage_nas::random::Streams::new(5);
        let network = Network::new(toy, &toy.parameters(&streams, 0).unwrap()).unwrap();
        let images = Array3::from_shape_fn((13, 13, 4), |(y, x, b)| ((y * 5 + x * 3 + b * 7) % 11) as f32 / 5.0 - 1.0);
        let outputs = network.outputs(images.view());
        let weights = OpTable::from_fn(toy.space().unwrap().shape(), |edge, k| 0.3 + edge as f64 - 0.4 * k as f64);
        let mixture = Mixture { ones: vec![0.1, -0.2], ..Mixture::new(&weights) };
        let slopes = network.slopes(&outputs, &mixture);
        let h = advantage_nas::tolerance::CENTRAL_STEP;
        for edge in 0..2 {
            let difference = |change: &dyn Fn(&mut Mixture, f64)| {
                let shares = |by| {
                    let mut moved = mixture.clone();
                    change(&mut moved, by);
                    network.shares(&outputs, &moved)
                };
                ((shares(h) - shares(-h)) / (2.0 * h)).row(edge).to_vec()
            };
            let near = |got: Vec<f64>, expected: Vec<f64>| assert_all_close(&got, &expected, 1e-7, 1e-9);
            near(slopes.ones.row(edge).to_vec(), difference(&|moved, by| moved.ones[edge] += by));
            for k in 0..3 {
                let got = slopes.weights.index_axis(Axis(0), edge).row(k).to_vec();
                near(got, difference(&|moved, by| moved.weights[(edge, k)] += by));
            }
        }
    }

    #[test]
    fn other_parameters_are_refused() {
        let parameters = TOY.parameters(&advantage_nas::random::Streams::new(0), 0).unwrap();
        assert!(matches!(Network::new(Toy { edges: 2, ..TOY }, &parameters), Err(Error::Data { .. })));
    }
}
