"""Learning a stream of tasks without forgetting the earlier ones."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.continual.memory import ExemplarMemory, herding
    from myosotis.continual.metrics import (
        accuracy_curve,
        average_incremental_accuracy,
        backward_transfer,
        final_accuracy,
        forgetting,
        forward_transfer,
        intransigence,
        learning_accuracy,
        worst_case_accuracy,
    )
    from myosotis.continual.scenario import Scenario, Task, class_incremental, data_incremental, domain_incremental
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "memory": "ExemplarMemory herding",
            "metrics": "accuracy_curve average_incremental_accuracy backward_transfer final_accuracy "
            "forgetting forward_transfer intransigence learning_accuracy worst_case_accuracy",
            "scenario": "Scenario Task class_incremental data_incremental domain_incremental",
        },
    )

__all__ = [
    "ExemplarMemory",
    "Scenario",
    "Task",
    "accuracy_curve",
    "average_incremental_accuracy",
    "backward_transfer",
    "class_incremental",
    "data_incremental",
    "domain_incremental",
    "final_accuracy",
    "forgetting",
    "forward_transfer",
    "herding",
    "intransigence",
    "learning_accuracy",
    "worst_case_accuracy",
]
