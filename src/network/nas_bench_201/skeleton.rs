//! The network around the cells, and what a stand-alone network costs.

use super::cell::{Cell, Operation};
use super::data::{CHANNELS, IMAGE};
use crate::error::{Error, Result};

/// The skeleton: a 3×3 stem with batch norm, three stages of equal cells with `channels`, `2·channels` and `4·channels` channels,
/// between them a residual block of stride 2, at the end batch norm, ReLU, global average pooling and a linear layer.
///
/// The residual block is ReLU, 3×3 convolution of stride 2, batch norm, ReLU, 3×3 convolution, batch norm, beside it 2×2 average
/// pooling and a 1×1 convolution. Convolutions have no bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skeleton {
    /// Cells `N` of every stage.
    pub cells: usize,
    /// Channels `C` of the first stage.
    pub channels: usize,
    /// Number of classes.
    pub classes: usize,
}

/// What a stand-alone network costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Trained numbers: convolutions, scale and shift of every batch norm, the linear layer with its bias.
    pub parameters: u64,
    /// FLOPs of one image as NAS-Bench-201 counts them: one per multiply-accumulate of convolutions and the linear layer, and one
    /// per bias. Pooling, batch norm, ReLU and sums are not counted.
    pub flops: u64,
}

impl Cost {
    fn convolution(kernel: u64, input: u64, output: u64, size: u64) -> Self {
        let weights = kernel * kernel * input * output;
        Self { parameters: weights, flops: weights * size * size }
    }

    fn batch_norm(channels: u64) -> Self {
        Self { parameters: 2 * channels, flops: 0 }
    }

    fn times(self, factor: u64) -> Self {
        Self { parameters: factor * self.parameters, flops: factor * self.flops }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self { parameters: 0, flops: 0 }, |sum, cost| Self {
            parameters: sum.parameters + cost.parameters,
            flops: sum.flops + cost.flops,
        })
    }
}

impl Skeleton {
    /// Number of stages.
    pub const STAGES: usize = 3;

    /// NAS-Bench-201's for CIFAR-10: five cells a stage, 16 channels, ten classes.
    #[must_use]
    pub fn paper() -> Self {
        Self { cells: 5, channels: 16, classes: 10 }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`Error::Setting`] for cells, channels or classes outside 1 to 4096.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("the number of cells of a stage", self.cells),
            ("the number of channels", self.channels),
            ("the number of classes", self.classes),
        ];
        for (name, size) in sizes {
            if !(1..=4096).contains(&size) {
                return Err(Error::Setting { name, expected: "from 1 to 4096", got: size.to_string() });
            }
        }
        Ok(())
    }

    /// Channels of a stage, counted from 0.
    #[must_use]
    pub fn stage_channels(&self, stage: usize) -> usize {
        self.channels << stage
    }

    /// Height and width of the images of a stage, counted from 0.
    #[must_use]
    pub fn stage_size(stage: usize) -> usize {
        IMAGE >> stage
    }

    /// Parameters and FLOPs of the network that NAS-Bench-201 trains for a cell. All its batch norms have scale and shift, unlike
    /// those of a supernet's candidates.
    ///
    /// # Errors
    /// As [`Skeleton::check`].
    pub fn cost(&self, cell: &Cell) -> Result<Cost> {
        self.cost_at(cell, IMAGE)
    }

    fn cost_at(&self, cell: &Cell, image: usize) -> Result<Cost> {
        self.check()?;
        let channels = |stage: usize| self.stage_channels(stage) as u64;
        let size = |stage: usize| (image >> stage) as u64;
        let stem = [Cost::convolution(3, CHANNELS as u64, channels(0), size(0)), Cost::batch_norm(channels(0))];
        let cells = (0..Self::STAGES).map(|stage| {
            let operation = |operation: &Operation| match *operation {
                Operation::Convolution { kernel } => [
                    Cost::convolution(kernel as u64, channels(stage), channels(stage), size(stage)),
                    Cost::batch_norm(channels(stage)),
                ]
                .into_iter()
                .sum(),
                Operation::Zero | Operation::Skip | Operation::AveragePooling => Cost { parameters: 0, flops: 0 },
            };
            cell.operations().iter().map(operation).sum::<Cost>().times(self.cells as u64)
        });
        let blocks = (1..Self::STAGES).flat_map(|stage| {
            let (input, output, size) = (channels(stage - 1), channels(stage), size(stage));
            [
                Cost::convolution(3, input, output, size),
                Cost::batch_norm(output),
                Cost::convolution(3, output, output, size),
                Cost::batch_norm(output),
                Cost::convolution(1, input, output, size),
            ]
        });
        let last = channels(Self::STAGES - 1);
        let linear = (last + 1) * self.classes as u64;
        let head = [Cost::batch_norm(last), Cost { parameters: linear, flops: linear }];
        Ok(stem.into_iter().chain(cells).chain(blocks).chain(head).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(skeleton: Skeleton, image: usize, cell: &str) -> (u64, u64) {
        let cost = skeleton.cost_at(&cell.parse().unwrap(), image).unwrap();
        (cost.parameters, cost.flops)
    }

    #[test]
    fn costs_are_the_published_ones() {
        // NAS-Bench-201's cost tables list millions of parameters and of FLOPs: 1.531546 and 220.11969 (the largest cell),
        // 0.073306 and 7.78305 (the smallest), 0.129306 and 15.64737 for two 1×1 convolutions, of which the pooling costs nothing;
        // on CIFAR-100 0.079156 and 7.7889 to 1.537396 and 220.12554; on ImageNet16-120, of 16×16 pixels, 1.9534 to 55.03756.
        let largest = Cell::uniform(Operation::CONVOLUTION_3X3).unwrap().to_string();
        let smallest = Cell::uniform(Operation::Zero).unwrap().to_string();
        let index_0 = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|";
        let paper = Skeleton::paper();
        assert_eq!(cost(paper, IMAGE, &largest), (1_531_546, 220_119_690));
        assert_eq!(cost(paper, IMAGE, &smallest), (73_306, 7_783_050));
        assert_eq!(cost(paper, IMAGE, index_0), (129_306, 15_647_370));
        assert_eq!(paper.cost(&largest.parse().unwrap()).unwrap().flops, 220_119_690);
        let cifar100 = Skeleton { classes: 100, ..paper };
        assert_eq!(cost(cifar100, IMAGE, &smallest), (79_156, 7_788_900));
        assert_eq!(cost(cifar100, IMAGE, &largest), (1_537_396, 220_125_540));
        let imagenet = Skeleton { classes: 120, ..paper };
        assert_eq!(cost(imagenet, 16, &smallest).1, 1_953_400);
        assert_eq!(cost(imagenet, 16, &largest).1, 55_037_560);
    }

    #[test]
    fn costs_of_a_small_network_by_hand() {
        // N = 1, C = 1, 2 classes, a single 5×5 convolution: weights 25·(1 + 4 + 16), norms 2·(1 + 2 + 4).
        let skeleton = Skeleton { cells: 1, channels: 1, classes: 2 };
        let cell = "|none~0|+|none~0|none~1|+|nor_conv_5x5~0|none~1|none~2|";
        let stem = 27 + 2;
        let blocks = (18 + 4 + 36 + 4 + 2) + (72 + 8 + 144 + 8 + 8);
        let head = 8 + 10;
        assert_eq!(cost(skeleton, IMAGE, cell).0, stem + 25 * 21 + 14 + blocks + head);
        let flops = 27 * 1024 + 25 * (1024 + 4 * 256 + 16 * 64) + (18 + 36 + 2) * 256 + (72 + 144 + 8) * 64 + 10;
        assert_eq!(cost(skeleton, IMAGE, cell).1, flops);
    }

    #[test]
    fn nonsense_is_rejected() {
        let cell = Cell::uniform(Operation::Skip).unwrap();
        let paper = Skeleton::paper();
        for skeleton in [
            Skeleton { cells: 0, ..paper },
            Skeleton { channels: 0, ..paper },
            Skeleton { classes: 0, ..paper },
            Skeleton { channels: 4097, ..paper },
        ] {
            assert!(matches!(skeleton.cost(&cell), Err(Error::Setting { .. })));
        }
        assert_eq!((paper.stage_channels(2), Skeleton::stage_size(2)), (64, 8));
    }
}
