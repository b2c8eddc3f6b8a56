"""The order in which a race asks for items: nested, whole clusters, all tasks at any time."""

from mergekit_finance.study.subsets import item_order

CLUSTERS = {
    "a": {f"d/{k}": [k] for k in range(12)},
    "b": {f"e/{k}": [2 * k, 2 * k + 1] for k in range(3)},
    "twin": {f"d/{k}": [k] for k in range(12)},
}


def test_each_subset_contains_the_smaller_ones_and_no_more_items_than_allowed():
    order = item_order(CLUSTERS, seed=0)
    assert (order.count, order.least) == (30, 4)
    before = set()
    for count in range(4, 31):
        items = order.first(count)
        now = {(task, k) for task, rows in items.positions.items() for k in rows}
        assert before <= now and items.count == len(now) <= count
        before = now
    assert len(before) == 30


def test_clusters_stay_together_and_every_task_has_its_share():
    order = item_order(CLUSTERS, seed=0)
    for count in range(4, 31):
        positions = order.first(count).positions
        assert set(positions) == set(CLUSTERS)
        assert len(positions["b"]) % 2 == 0
        shares = [len(rows) / sum(map(len, CLUSTERS[task].values())) for task, rows in positions.items()]
        assert max(shares) - min(shares) <= 1 / 3


def test_every_task_is_in_a_subset_that_is_too_small_for_all():
    assert item_order(CLUSTERS, seed=0).first(1).count == 4


def test_tasks_that_share_clusters_have_them_in_the_same_order():
    positions = item_order(CLUSTERS, seed=3).first(14).positions
    fewer, more = sorted((set(positions["a"]), set(positions["twin"])), key=len)
    assert fewer <= more


def test_the_seed_decides_the_order_and_the_order_of_tasks_does_not():
    order = item_order(CLUSTERS, seed=0)
    assert item_order(dict(reversed(CLUSTERS.items())), seed=0) == order
    assert item_order(CLUSTERS, seed=1).first(10) != order.first(10)
    assert item_order(CLUSTERS, seed=0).first(10).digest == order.first(10).digest
    assert order.first(10).digest != order.first(14).digest
