//! The ledger: every statement of the paper that can be true or false, the verdict, and the function that reaches it again.
//!
//! One file per part of the paper. A verdict is reached by the code that an [`Estimators`] provides, at run time; nothing in here
//! knows the outcome of a check before it is made.

mod evidence;
mod improvement;
mod other_methods;
mod policy;
mod unbiased;
mod variance;
mod zero_and_baseline;

pub use evidence::{ALPHA, Check, Evidence, Kind};
pub use improvement::{BoundSearch, search_bound};

use serde::Serialize;

use crate::error::Result;
use crate::estimators::Estimators;

/// What we found about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// True as stated.
    True,
    /// True under conditions that the paper does not state, or in another form.
    Conditional,
    /// False as stated.
    False,
    /// A statement about running time, memory or experiments.
    Measured,
}

impl Verdict {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::True => "true",
            Verdict::Conditional => "conditional",
            Verdict::False => "false",
            Verdict::Measured => "measured",
        }
    }
}

/// How much work the evidence may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Seed of all random instances and samples.
    pub seed: u64,
    /// How many times the usual number of instances and draws.
    pub factor: u64,
}

impl Effort {
    /// The usual effort: every claim within seconds.
    #[must_use]
    pub fn usual(seed: u64) -> Self {
        Self { seed, factor: 1 }
    }

    /// Twenty times the usual.
    #[must_use]
    pub fn long(seed: u64) -> Self {
        Self { seed, factor: 20 }
    }

    /// `count` times the factor.
    #[must_use]
    pub fn times(&self, count: u64) -> u64 {
        count * self.factor
    }
}

/// One claim.
pub struct Claim<E> {
    /// Its number in the ledger.
    pub id: &'static str,
    /// Where it stands in the paper.
    pub place: &'static str,
    /// What is claimed.
    pub statement: &'static str,
    /// What we found.
    pub verdict: Verdict,
    /// The verdict in words, with the conditions.
    pub finding: &'static str,
    /// What produces the evidence; `None` for what is measured elsewhere.
    pub evidence: Option<fn(&E, &Effort) -> Result<Evidence>>,
}

/// The whole ledger, over the code of `E`.
#[must_use]
pub fn ledger<E: Estimators>() -> Vec<Claim<E>> {
    let claim = |id, place, statement, verdict, finding, evidence: fn(&E, &Effort) -> Result<Evidence>| Claim {
        id,
        place,
        statement,
        verdict,
        finding,
        evidence: Some(evidence),
    };
    let measured = |id, place, statement, finding| Claim {
        id,
        place,
        statement,
        verdict: Verdict::Measured,
        finding,
        evidence: None,
    };
    vec![
        claim(
            "C1",
            "Eq. (1)",
            "an edge is a weighted average of its candidates: the weights sum to one",
            Verdict::Conditional,
            "holds for one-hot, softmax and Gumbel-softmax weights, not for the two gates of weight 1 of ProxylessNAS",
            policy::weights_sum_to_one,
        ),
        claim(
            "C2",
            "Eq. (2)",
            "with the softmax policy, the gradient of log p(a) is a - mu",
            Verdict::True,
            "true",
            policy::score,
        ),
        claim("C3", "Eqs. (3), (4)", "REINFORCE is unbiased", Verdict::True, "true", policy::reinforce_is_unbiased),
        claim(
            "C4",
            "4.1",
            "J is at most max R, and its supremum over theta is max R",
            Verdict::True,
            "true",
            policy::supremum,
        ),
        claim(
            "C5",
            "Eq. (5), Thm 4.1",
            "one step improves log J at least by the bound with eps^2/2",
            Verdict::Conditional,
            "true but loose by a factor 2: eps^2/4 holds and is best possible; R >= 0, J > 0 is enough",
            improvement::bound,
        ),
        claim(
            "C5b",
            "4, introduction",
            "the expected objective improves monotonically, so the search converges",
            Verdict::False,
            "does not follow at constant eps: R = (3, 2), eps = 1/2, mu_1 = 9/10 loses; with the optimal baseline it gains",
            improvement::monotone,
        ),
        claim(
            "C6",
            "Thm 4.2",
            "the advantage of Eq. (6) gives an unbiased estimate",
            Verdict::True,
            "true for any R and any baseline b(s_i, V), if edges are independent, a is independent of V and drawn from mu",
            unbiased::advantage,
        ),
        claim(
            "C6b",
            "4.3",
            "a state-dependent baseline is not unbiased in general",
            Verdict::False,
            "false for the paper's own product policy: every baseline that does not look at a_i is unbiased",
            unbiased::state_dependent_baseline,
        ),
        claim(
            "C7",
            "Eq. (7)",
            "Eq. (7) equals Eq. (6) for linear rewards",
            Verdict::True,
            "true for every multi-affine reward",
            unbiased::first_order_is_exact,
        ),
        claim(
            "C7b",
            "Eq. (7)",
            "Eq. (7) approximates Eq. (6) for general rewards",
            Verdict::Conditional,
            "error = int_0^1 t phi''(t) dt, bias = L e; for squared loss it is unbiased for J - sum E||O_i||^2 and can point away",
            unbiased::first_order_error,
        ),
        claim(
            "C8",
            "4.4",
            "the squared gradient norm is sum r_j^2 mu_j^2 (1 - mu_j)^2",
            Verdict::False,
            "it is sum mu_j^2 (r_j - mean r)^2",
            variance::gradient_norm,
        ),
        claim(
            "C9",
            "4.4",
            "Var[delta_adv] = sum mu_j r_j^2 (1 - 2 mu_j + ||mu||^2)",
            Verdict::Conditional,
            "that is the second moment; the variance only where the gradient is zero",
            variance::advantage_variance,
        ),
        claim(
            "C10",
            "4.4",
            "Var[delta_base] = Var[delta_adv] + (1 - ||mu_i||^2) sum_{k != i} sum_j (r_k^j)^2 mu_k^j",
            Verdict::Conditional,
            "misses 2MT + (1 - q) sum_{k != l} mean r_k mean r_l; true on average over independent zero-mean rewards",
            variance::reinforce_variance,
        ),
        claim(
            "C11",
            "4.4",
            "the advantage reduces the variance",
            Verdict::Conditional,
            "iff E_s[(R(s,0) - R~(s))^2] <= E_s[R~(s)^2]; fails for r_1 = (2,0), r_2 = (-1,0)",
            variance::reduction,
        ),
        claim(
            "C12",
            "4.4",
            "the variance gap grows linearly with the number of edges",
            Verdict::Conditional,
            "linearly for zero-mean rewards, quadratically otherwise: (1 - q)[(N - 1)s^2 + (N^2 - 1)m^2]",
            variance::growth,
        ),
        measured(
            "C13",
            "4.3",
            "Eq. (7) costs no additional computation",
            "one backward pass and one dot product per edge, against a forward pass for REINFORCE: cargo bench --bench toy_step",
        ),
        claim(
            "C14",
            "footnote 4",
            "the zero operation's advantage may be replaced by the worst of the others'",
            Verdict::Conditional,
            "biased by c mu_z (e_z - mu): unbiased iff c = 0; c > 0 promotes the zero operation, c < 0 can move the optimum",
            zero_and_baseline::zero_operation,
        ),
        claim(
            "C15",
            "beyond the paper",
            "b*(s) = sum_j w_j R(s, e_j) is the optimal baseline",
            Verdict::True,
            "true; for two candidates and linear rewards the variance is exactly 0; running averages of past samples keep it unbiased",
            zero_and_baseline::optimal_baseline,
        ),
        claim(
            "C16",
            "Table 1",
            "ProxylessNAS estimates the gradient of J",
            Verdict::Conditional,
            "exactly for two candidates; biased for three and more; with the rescaling still first-order ascent",
            other_methods::proxylessnas,
        ),
        claim(
            "C17",
            "Table 1",
            "GDAS estimates the gradient of J",
            Verdict::False,
            "biased for every temperature; with unevaluated outputs taken as ones not even invariant to a constant reward",
            other_methods::gdas,
        ),
        claim(
            "C18",
            "Table 1",
            "PARSEC estimates the gradient of J",
            Verdict::False,
            "biased for every K; K = 1 gives 0; many samples give the gradient of log E e^R",
            other_methods::parsec,
        ),
        claim(
            "C19",
            "Table 1",
            "DARTS follows the gradient of J",
            Verdict::Conditional,
            "exactly and without variance for every multi-affine reward; not otherwise",
            other_methods::darts,
        ),
        measured(
            "C20",
            "Table 1",
            "dense methods need memory for every candidate, sparse ones for one",
            "on the CPU: from 2 to 32 candidates sparse ones need the same beside weights and optimiser, dense ones eleven times as much: \
             paper/results/memory, advnas reproduce memory",
        ),
        measured(
            "C21",
            "Figure 1",
            "AdvantageNAS is faster than REINFORCE, PARSEC and GDAS",
            "toy regression: paper/results/figure-1, advnas reproduce figure-1",
        ),
        measured(
            "C22",
            "Table 2, Figure 2, Appendices F to H",
            "results on CIFAR-10",
            "searches in NAS-Bench-201's cell",
        ),
        measured("C23", "Table 3, Appendix I", "results on Penn Treebank", "searches of the recurrent cell"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_one_word() {
        let words = [Verdict::True, Verdict::Conditional, Verdict::False, Verdict::Measured].map(Verdict::name);
        assert_eq!(words, ["true", "conditional", "false", "measured"]);
    }

    #[test]
    fn effort_multiplies() {
        assert_eq!((Effort::usual(3).times(150), Effort::long(3).times(150)), (150, 3000));
        assert_eq!((Effort::usual(3).seed, Effort::long(4).seed), (3, 4));
    }
}
