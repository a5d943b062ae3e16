//! The methods by name, and how each is built.

use std::fmt;
use std::str::FromStr;

use super::{
    AdvantageBaseline, AdvantageKind, AdvantageNas, AdvantageSettings, Darts, Enas, EnasSettings, Gdas, GdasSettings,
    Nasp, Parsec, ParsecSettings, ProxylessNas, Reinforce, ReinforceSettings, Snas, SnasSettings, Strategy,
    ThetaSettings,
};
use crate::error::{Error, Result};
use crate::estimator::ZeroRule;
use crate::random::{Purpose, Streams};
use crate::space::SearchSpace;

/// A search method: those of Table 1, what the experiments compare them with, and two of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// REINFORCE with a moving-average baseline, as in the paper's experiments.
    Reinforce,
    /// REINFORCE without a baseline, exactly Eq. (4).
    ReinforcePlain,
    /// AdvantageNAS with the first-order advantage, Eq. (7).
    AdvantageNas,
    /// AdvantageNAS with the exact advantage, Eq. (6).
    AdvantageExact,
    /// AdvantageNAS with the optimal baseline (claim C15).
    AdvantageOptimal,
    /// ENAS: an LSTM controller trained by REINFORCE.
    Enas,
    /// PARSEC: importance-weighted maximum likelihood over sampled architectures.
    Parsec,
    /// ProxylessNAS: two sampled candidates per edge.
    #[serde(rename = "proxylessnas")]
    ProxylessNas,
    /// GDAS: straight-through Gumbel-softmax.
    Gdas,
    /// DARTS: the softmax mixture itself.
    Darts,
    /// SNAS: Gumbel-softmax mixtures.
    Snas,
    /// NASP: proximal iterations.
    Nasp,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 12] = [
        Method::Reinforce,
        Method::ReinforcePlain,
        Method::AdvantageNas,
        Method::AdvantageExact,
        Method::AdvantageOptimal,
        Method::Enas,
        Method::Parsec,
        Method::ProxylessNas,
        Method::Gdas,
        Method::Darts,
        Method::Snas,
        Method::Nasp,
    ];

    /// The name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::Reinforce => "reinforce",
            Method::ReinforcePlain => "reinforce-plain",
            Method::AdvantageNas => "advantage-nas",
            Method::AdvantageExact => "advantage-exact",
            Method::AdvantageOptimal => "advantage-optimal",
            Method::Enas => "enas",
            Method::Parsec => "parsec",
            Method::ProxylessNas => "proxylessnas",
            Method::Gdas => "gdas",
            Method::Darts => "darts",
            Method::Snas => "snas",
            Method::Nasp => "nasp",
        }
    }

    /// What the method is, in a line.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Method::Reinforce => "Eq. (4) with a moving-average baseline, as in the experiments",
            Method::ReinforcePlain => "Eq. (4) as printed, no baseline",
            Method::AdvantageNas => "Eq. (7), the first-order advantage of every edge",
            Method::AdvantageExact => "Eq. (6), the exact advantage of every edge",
            Method::AdvantageOptimal => "Eq. (7) with the variance-optimal baseline",
            Method::Enas => "an LSTM controller trained by REINFORCE",
            Method::Parsec => "importance weights over sampled architectures",
            Method::ProxylessNas => "two sampled candidates per edge",
            Method::Gdas => "straight-through Gumbel-softmax",
            Method::Darts => "gradient of the softmax mixture",
            Method::Snas => "gradient of Gumbel-softmax mixtures",
            Method::Nasp => "proximal iterations on all candidates",
        }
    }

    /// Builds the strategy of one trial for a search space. Initial parameters of a strategy, where it has random ones, are
    /// drawn from the trial's own stream.
    ///
    /// # Errors
    /// [`Error::Setting`] for hyperparameters outside their range.
    pub fn build(
        self,
        space: &SearchSpace,
        settings: &MethodSettings,
        streams: &Streams,
        trial: u32,
    ) -> Result<Box<dyn Strategy>> {
        let (shape, theta) = (space.shape(), settings.theta);
        let reinforce = |baseline_decay| Reinforce::new(shape, theta, ReinforceSettings { baseline_decay });
        let advantage = |kind, baseline| {
            let (zero_rule, decay) = (settings.zero_rule, settings.average_decay);
            AdvantageNas::new(space, theta, AdvantageSettings { kind, zero_rule, decay, baseline })
        };
        let chosen = if settings.baseline { AdvantageBaseline::EdgeAverage } else { AdvantageBaseline::None };
        Ok(match self {
            Method::Reinforce => Box::new(reinforce(Some(settings.average_decay))?),
            Method::ReinforcePlain => Box::new(reinforce(None)?),
            Method::AdvantageNas => Box::new(advantage(AdvantageKind::FirstOrder, chosen)?),
            Method::AdvantageExact => Box::new(advantage(AdvantageKind::Exact, chosen)?),
            Method::AdvantageOptimal => Box::new(advantage(AdvantageKind::FirstOrder, AdvantageBaseline::Optimal)?),
            Method::Enas => Box::new(Enas::new(shape, settings.enas, &mut streams.at(Purpose::Strategy, trial, 0))?),
            Method::Parsec => Box::new(Parsec::new(shape, theta, settings.parsec)?),
            Method::ProxylessNas => Box::new(ProxylessNas::new(shape, theta)?),
            Method::Gdas => Box::new(Gdas::new(shape, theta, settings.gdas)?),
            Method::Darts => Box::new(Darts::new(shape, theta)?),
            Method::Snas => Box::new(Snas::new(shape, theta, settings.snas)?),
            Method::Nasp => Box::new(Nasp::new(shape, theta)?),
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| Error::UnknownName {
            what: "method",
            got: name.to_owned(),
            known: Self::ALL.map(Method::name).join(", "),
        })
    }
}

/// Hyperparameters of all methods; each reads those that it has.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodSettings {
    /// The update of `θ`.
    pub theta: ThetaSettings,
    /// Decay of the moving averages that serve as baselines and for footnote 4.
    pub average_decay: f64,
    /// AdvantageNAS: what the advantage of a drawn zero operation is set to (footnote 4).
    pub zero_rule: ZeroRule,
    /// AdvantageNAS: whether every edge's moving average of its advantage is subtracted.
    pub baseline: bool,
    /// PARSEC.
    pub parsec: ParsecSettings,
    /// GDAS.
    pub gdas: GdasSettings,
    /// SNAS.
    pub snas: SnasSettings,
    /// ENAS, whose controller has an optimiser of its own.
    pub enas: EnasSettings,
}

impl MethodSettings {
    /// The settings of the toy regression (section 5.1).
    #[must_use]
    pub fn toy() -> Self {
        Self {
            theta: ThetaSettings::toy(),
            average_decay: 0.95,
            zero_rule: ZeroRule::WorstOfOthers,
            baseline: false,
            parsec: ParsecSettings { samples: 8 },
            gdas: GdasSettings { first_temperature: 10.0, last_temperature: 0.1 },
            snas: SnasSettings { lowest_temperature: 1e-3 },
            enas: EnasSettings::default(),
        }
    }
}
