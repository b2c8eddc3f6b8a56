"""What the study's numbers mean, with their uncertainty. Pure functions of arrays: no files, no hosts.

    totals        a task's aggregation as a function of sums over items
    scores        TaskScores: one task, its clusters, every model's statistics and right or wrong
    bootstrap     paired cluster bootstrap: replicate scores per task and model
    intervals     percentile intervals that allow for the number of clusters
    contrasts     scores, differences and other weighted sums of scores, with intervals
    outperform    Gain, OG, Macro-Gain, Macro-OG, with intervals and without
    influence     what each cluster contributes to a contrast; its standard error
    signflip      p of a contrast (Gain > 0, Macro-Gain > 0)
    mcnemar       p of OG > 0
    multiplicity  Benjamini-Hochberg, Holm
    power         minimum detectable effect, MIN_CLUSTERS, expected interval width
    correlation   Spearman's rho with a permutation p

The cluster (headline, report, conversation: `cluster_id` of a row) is the unit that is independent; n always
counts clusters. Scores are in [0, 1].
"""
