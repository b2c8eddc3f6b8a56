"""Estimates, intervals and tests of a study's scores. Pure functions of arrays, without files or hosts.

    totals        a task's aggregation as a function of sums over items
    scores        TaskScores: one task, its clusters, and each model's statistics and right answers
    bootstrap     paired cluster bootstrap: replicate scores per task and model
    intervals     percentile intervals that allow for the number of clusters
    contrasts     scores, differences and other weighted sums of scores, with intervals
    outperform    Gain, OG, Macro-Gain and Macro-OG, with or without intervals
    flips         items that one model answers right and another wrong
    grids         the best score and the spread of a hyperparameter grid
    influence     contributions of clusters to a contrast, and its standard error
    signflip      p-value of a contrast (Gain > 0, Macro-Gain > 0)
    mcnemar       p-value of OG > 0
    multiplicity  Benjamini-Hochberg, Holm
    power         minimum detectable effect, MIN_CLUSTERS, expected interval width
    successive_rejects  the rounds of a search: items, and settings that are kept
    correlation   Spearman's rho with a permutation p-value

Clusters (headlines, reports or conversations; `cluster_id` of a row) are independent of each other, items of
one cluster are not. n always counts clusters. Scores are in [0, 1].
"""
