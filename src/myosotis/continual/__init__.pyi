from .memory import ExemplarMemory as ExemplarMemory, herding as herding
from .metrics import (
    accuracy_curve as accuracy_curve,
    average_incremental_accuracy as average_incremental_accuracy,
    backward_transfer as backward_transfer,
    final_accuracy as final_accuracy,
    forgetting as forgetting,
    forward_transfer as forward_transfer,
    intransigence as intransigence,
    learning_accuracy as learning_accuracy,
    worst_case_accuracy as worst_case_accuracy,
)
from .scenario import (
    Scenario as Scenario,
    Task as Task,
    class_incremental as class_incremental,
    data_incremental as data_incremental,
    domain_incremental as domain_incremental,
)
