"""The published scores the product is measured against, by name."""

from __future__ import annotations

from benchmarks.error_detection.baselines import features, learned, logits, validity
from benchmarks.error_detection.baselines.geometry import Geometry
from benchmarks.error_detection.baselines.method import Method, Rows, Score, plain

__all__ = ["BASELINES", "REFERENCE_POOL", "Geometry", "Method", "Rows", "Score"]

BASELINES: dict[str, Method] = {
    "msp": Method(plain(logits.msp), "Hendrycks & Gimpel, ICLR 2017"),
    "msp_ts": Method(logits.fit_scaled_msp, "Guo et al., ICML 2017; tuned for AURC: Cattelan & Silva, UAI 2024"),
    "margin": Method(plain(logits.margin), "Scheffer et al., IDA 2001"),
    "logit_margin": Method(plain(logits.logit_margin), "Streeter, 2018; Cattelan & Silva, UAI 2024"),
    "geometric_margin": Method(logits.fit_geometric_margin, "Liang et al., TMLR 2024"),
    "entropy": Method(plain(logits.entropy), "Shannon; Settles, 2009"),
    "gini": Method(plain(logits.gini), "Granese et al. (DOCTOR alpha), NeurIPS 2021"),
    "doctor": Method(logits.fit_doctor, "Granese et al. (DOCTOR alpha, temperature tuned), NeurIPS 2021"),
    "gen": Method(logits.fit_gen, "Liu et al., CVPR 2023"),
    "energy": Method(plain(logits.energy), "Liu et al., NeurIPS 2020"),
    "max_logit": Method(plain(logits.max_logit), "Hendrycks et al., ICML 2022"),
    "p_norm": Method(logits.fit_p_norm, "Cattelan & Silva, UAI 2024"),
    "rel_u": Method(logits.fit_rel_u, "Dadalto et al., arXiv 2306.01710", cross_fit=True),
    "trust_score": Method(features.fit_trust_score, "Jiang et al., NeurIPS 2018"),
    "centroid_trust": Method(features.fit_centroid_trust, "Jiang et al., NeurIPS 2018, with class means"),
    "mahalanobis": Method(features.fit_mahalanobis, "Lee et al., NeurIPS 2018"),
    "relative_mahalanobis": Method(features.fit_relative_mahalanobis, "Ren et al., arXiv 2106.09022"),
    "knn_distance": Method(features.fit_knn_distance, "Sun et al., ICML 2022"),
    "vim": Method(features.fit_vim, "Wang et al., CVPR 2022"),
    "nnguide": Method(features.fit_nnguide, "Park et al., ICCV 2023"),
    "sirc": Method(features.fit_sirc, "Xia & Bouganis, ACCV 2022"),
    "confidnet": Method(learned.fit_confidnet, "Corbiere et al., NeurIPS 2019 (head only)", cross_fit=True),
    "dirichlet": Method(learned.fit_dirichlet, "Shen et al., AAAI 2023", cross_fit=True),
    "conformal": Method(validity.fit_conformal, "Vovk et al., 2005"),
    "venn_abers": Method(validity.fit_venn_abers, "Vovk et al., NeurIPS 2015", is_proba=True),
}
"""Every published score, cheapest first within its family; ties on val go to the earlier one."""

REFERENCE_POOL = (
    "msp", "entropy", "gini", "gen", "max_logit", "energy", "logit_margin", "geometric_margin", "trust_score",
    "centroid_trust", "mahalanobis", "relative_mahalanobis", "knn_distance", "vim", "nnguide",
)  # fmt: skip
"""The scores among which the reference values of the research note chose their best on val."""
