"""Pairs of forget and retain records: by seed and epoch, and empty ones."""

import pytest

from myosotis.unlearning.language.training.pairing import PairSampler


def test_pairs_depend_on_seed_and_epoch_and_deal_the_whole_deck(
    tokenizer, tmp_path, forget_records, retain_records, trainer_for
):
    sampler = trainer_for(tmp_path, tokenizer, retain_per_forget=3).pair_sampler
    assert sampler.pairs(0) == sampler.pairs(0)
    assert sampler.pairs(0) != sampler.pairs(1)
    forget = [index for index, _ in sampler.pairs(2)]
    assert sorted(forget) == list(range(len(forget_records)))
    dealt = [index for _, indices in sampler.pairs(2) for index in indices]
    assert len(dealt) == 3 * len(forget_records)
    assert {dealt.count(index) for index in range(len(retain_records))} == {4}


def test_empty_pairs_count_for_nothing(tokenizer, tmp_path, trainer_for):
    for method in ("ihl", "npo", "kl", "dpo"):
        trainer = trainer_for(tmp_path, tokenizer, method=method)
        batch = trainer.data_collator([(0, (1,)), (2, (3,))])
        padded = trainer.data_collator([(0, (1,)), (2, (3,)), (-1, (-1,))])
        assert trainer.compute_loss(trainer.model, padded).item() == pytest.approx(
            trainer.compute_loss(trainer.model, batch).item(), rel=1e-5
        )
    sampler = PairSampler(10, 4, 1, seed=0, multiple_of=8)
    assert len(sampler) == len(sampler.pairs(0)) == 16
    assert sampler.pairs(0)[10:] == [(-1, (-1,))] * 6
