"""The order of the runs: what may begin, when, and what it can know."""

import pytest

from myosotis.protocol.schedule import Schedule

DRAWS = {
    "er": [{"training.epochs": 1}, {"training.epochs": 2}, {"training.epochs": 3}],
    "icarl": [{"training.learning_rate": 0.1}, {"training.learning_rate": 0.2}, {"training.learning_rate": 0.3}],
}


def outcome(score, first=0.0):
    figures = {"average_incremental_accuracy": score, "final_accuracy": score, "first_task_accuracy": first}
    cost = {"seconds": 1.0, "steps": 1, "images": 1}
    cost |= {"parameters_training": 1, "parameters_inference": 1, "exemplar_bytes": 1}
    return {"metrics": figures, "matrix": [[score]], "failure": None, "cost": cost}


@pytest.fixture
def schedule(protocol):
    def make(results, not_run=None, **options):
        options = {"methods": list(DRAWS), "trials": 3, "seeds": 2, "evaluation_seeds": 2, **options}
        config = protocol(**options)
        draws = {name: DRAWS[name][: config.trials] for name in config.methods}
        return Schedule(config, draws, lambda job: {"train images": job.data.train.folder}, results, not_run or {})

    return make


def described(units):
    return [(unit.phase, unit.method, unit.trial, unit.seed) for unit in units]


def finish(results, units, score=lambda unit: 0.1 * unit.trial):
    results |= {unit.key: outcome(score(unit)) for unit in units}


def test_a_method_is_evaluated_when_its_own_trials_have_ended(schedule):
    """All methods waited for the last trial of the slowest."""
    results = {}
    plan = schedule(results, conventional=False)
    trials = plan.due()
    assert described(trials) == [
        ("tuning", name, trial, seed) for name in DRAWS for trial in range(3) for seed in range(2)
    ]
    finish(results, [unit for unit in trials if unit.method == "icarl"][:-1])
    assert plan.due() == []
    finish(results, [unit for unit in trials if unit.method == "icarl"])
    evaluation = plan.due()
    assert set(described(evaluation)) == {("evaluation", "icarl", 2, 0), ("evaluation", "icarl", 2, 1)} | {
        ("evaluation", "icarl", 0, seed)
        for seed in range(2)  # by the first task alone: of ties the first
    }
    assert plan.due() == []
    finish(results, evaluation)
    assert plan.due() == []
    assert not plan.complete
    finish(results, [unit for unit in trials if unit.method == "er"])
    finish(results, plan.due())
    assert plan.due() == []
    assert plan.complete
    assert list(plan.figures()) == list(DRAWS)


def test_a_choice_is_frozen_before_any_run_on_the_evaluation_stream(schedule):
    """Trials of the conventional protocol, which see that stream, come after it."""
    results = {}
    plan = schedule(results, methods=["er"])
    trials = plan.due()
    assert {unit.phase for unit in trials} == {"tuning"}
    assert {unit.inputs["train images"] for unit in trials} == {"a"}
    finish(results, trials)
    rest = plan.due()
    assert {unit.phase for unit in rest} == {"evaluation", "conventional"}
    assert {unit.inputs["train images"] for unit in rest} == {"c"}
    assert sum(unit.phase == "conventional" for unit in rest) == 6
    # The best there is another one.
    finish(results, rest, lambda unit: 0.9 if unit.trial == 0 else 0.2)
    assert plan.due() == []
    figures = plan.figures()["er"]
    assert figures.selected.trial == 2
    assert figures.conventional.mean == pytest.approx(0.9)


def test_pruned_trials_have_no_further_seeds(schedule):
    results = {}
    plan = schedule(results, methods=["er"], prune={"keep": 0.5}, conventional=False)
    first = plan.due()
    assert described(first) == [("tuning", "er", trial, 0) for trial in range(3)]
    finish(results, first)
    second = plan.due()
    assert described(second) == [("tuning", "er", trial, 1) for trial in (1, 2)]
    finish(results, second)
    finish(results, plan.due())
    assert plan.due() == []
    assert plan.figures()["er"].finished_trials == [1, 2]


@pytest.mark.parametrize("options", [{}, {"prune": {}}, {"conventional": False}, {"trials": 1, "seeds": 1}])
def test_where_all_results_are_there_nothing_waits(schedule, options):
    results = {}
    plan = schedule(results, **options)
    while not plan.complete:
        finish(results, plan.due())
    again = schedule(results, **options)
    assert {unit.key for unit in again.due()} == set(results)
    assert again.complete
    assert again.figures() == plan.figures()


def test_a_method_that_does_not_fit_the_memory_is_left_out(schedule):
    results, not_run = {}, {"another": "reason"}
    plan = schedule(results, not_run, conventional=False)
    trials = plan.due()
    large = [unit for unit in trials if unit.method == "icarl"][:2]
    not_run |= {unit.key: f"reason {number}" for number, unit in enumerate(large)}
    finish(results, [unit for unit in trials if unit not in large])
    rest = plan.due()
    assert {unit.method for unit in rest} == {"er"}
    finish(results, rest)
    assert plan.due() == []
    assert plan.complete
    assert list(plan.figures()) == ["er"]
    assert plan.left_out() == {"icarl": {"runs": 2, "reason": "reason 0"}}
