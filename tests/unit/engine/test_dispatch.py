"""The entry to the engine."""

import torch

from mergekit_finance.engine import dispatch


def test_sign_balances_of_several_devices_are_added() -> None:
    assert dispatch.total_balance([3, torch.tensor(-5), 0, torch.tensor(7)]) == 5
