from .continual import (
    ContinualNorm2d as ContinualNorm2d,
    convert_continual as convert_continual,
    convert_group as convert_group,
)
from .convert import (
    convert_task_balanced as convert_task_balanced,
    revert_task_balanced as revert_task_balanced,
    set_task_balance as set_task_balance,
    task_balance as task_balance,
)
from .layers import (
    TaskBalancedBatchNorm1d as TaskBalancedBatchNorm1d,
    TaskBalancedBatchNorm2d as TaskBalancedBatchNorm2d,
    TaskBalancedBatchNorm3d as TaskBalancedBatchNorm3d,
)
from .partition import Partition as Partition, reshape_factor as reshape_factor
