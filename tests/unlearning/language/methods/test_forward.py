"""Forward passes: the labelled positions of each row."""

import torch
from hypothesis import given, strategies as st

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language.methods.forward import labelled_first


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_labelled_positions_come_first_and_in_order(rows):
    labels = torch.tensor([[place + 1 if here else IGNORED for place, here in enumerate(row)] for row in rows])
    gathered = labels.gather(1, labelled_first(labels))
    for before, after in zip(labels.tolist(), gathered.tolist(), strict=True):
        wanted = [label for label in before if label != IGNORED]
        assert after[: len(wanted)] == wanted
        assert set(after[len(wanted) :]) <= {IGNORED}
